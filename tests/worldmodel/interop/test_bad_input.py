"""Checkpoints that are not what they say: one line, the name, what to do; nothing is executed."""

import io
import json
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.worldmodel.interop import makers
from tests.worldmodel.interop.makers import HINTS
from worldmodel.checkpoint import save
from worldmodel.errors import CheckpointError, ConfigError, printable
from worldmodel.interop import vjepa
from worldmodel.interop.export import export
from worldmodel.interop.load import load


def refused(path, *words, names=None, read=load):
    with pytest.raises(CheckpointError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700 + len(str(path))
    assert printable(str(names or path)) in message
    for word in words:
        assert word in message


def small():
    return makers.checkpoint(makers.encoder(), makers.predictor())


# .pt


class Trap:
    """Unpickling it leaves a trace."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return (Path.touch, (Path(self.trace),))


@pytest.mark.parametrize("suffix", vjepa.SUFFIXES)
@pytest.mark.parametrize("plain", [True, False])
def test_a_pickle_with_code_is_refused_and_never_executed(tmp_path, suffix, plain):
    path, trace = tmp_path / f"trap{suffix}", tmp_path / "executed"
    held = small() | {"opt": Trap(trace)}
    if plain:
        path.write_bytes(pickle.dumps({"encoder": Trap(trace)}, protocol=2))
    else:
        torch.save(held, path)
    refused(path, "was not executed")
    assert not trace.exists()
    pickle.loads(pickle.dumps(Trap(trace)))  # the trap works
    assert trace.exists()


def test_a_size_of_frames_that_no_memory_holds(tmp_path):
    path = tmp_path / "large.pt"
    torch.save(small(), path)
    hints = replace(HINTS, size=16 * 10**9)
    refused(path, "size=16000000000 takes", read=lambda p: vjepa.read(p, hints))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_file(tmp_path, share):
    path = tmp_path / "cut.pt"
    torch.save(small(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path, "fetch" if share else "is empty (0 bytes)")


def test_no_damaged_byte_of_an_archives_list_gives_another_error(tmp_path):
    path = tmp_path / "damaged.pt"
    torch.save({"model": {"a": torch.zeros(2)}}, path)
    whole = path.read_bytes()
    for at in range(whole.index(b"PK\1\2"), len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        refused(path)


@pytest.mark.parametrize("content", [b"\0" * 1000, b"weights " * 100, os.urandom(1000), b"PK\3\4"])
def test_what_is_no_checkpoint_at_all(tmp_path, content):
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    refused(path, "not a complete PyTorch file")


def test_folders_pipes_links_and_forbidden_files(tmp_path):
    (tmp_path / "folder.pt").mkdir()
    refused(tmp_path / "folder.pt", "is a folder")
    os.mkfifo(tmp_path / "pipe.pt")
    refused(tmp_path / "pipe.pt", "is a pipe")
    (tmp_path / "loop.pt").symlink_to(tmp_path / "loop.pt")
    refused(tmp_path / "loop.pt", "no such checkpoint")
    refused(tmp_path / "nothing.pt", "no such checkpoint")


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 5000 + ".pt", "a\0b.pt"])
def test_names_that_no_file_can_have(tmp_path, name, capsys):
    refused(tmp_path / name, "cannot be looked at", names=str(tmp_path / name)[:200])
    with pytest.raises(CheckpointError, match="cannot be looked at"):
        export(model=str(tmp_path / name), output=str(tmp_path / "out"))


def test_a_folder_that_may_not_be_looked_into(tmp_path, monkeypatch):
    look = os.stat

    def forbidden(path, **options):
        if str(path).startswith(f"{tmp_path / 'closed'}/"):
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, **options)

    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "stat", forbidden)  # root may look into every folder
    for name in ("closed", "closed/model.json", "closed/vitl.pt"):
        refused(tmp_path / name, "cannot be looked at (Permission denied)")


def test_what_is_said_of_a_checkpoint_must_be_possible(tmp_path):
    path = tmp_path / "c.pt"
    torch.save(small(), path)
    assert load(path, heads=2, predictor_heads=2, size=32).size == 32
    for said in ({"heads": 0}, {"predictor_heads": -1}, {"size": 0}, {"heads": 2.0}):
        with pytest.raises(ConfigError, match="must be a whole number above 0"):
            load(path, **said)
    with pytest.raises(ConfigError, match="family=3: must be text"):
        load(path, family=3)
    with pytest.raises(CheckpointError, match="44 x 44 pixels do not divide into its patches of 8"):
        load(path, heads=2, predictor_heads=2, size=44)
    save(load(path, heads=2, predictor_heads=2), tmp_path / "ours")
    with pytest.raises(CheckpointError, match="is a model of ours: leave out family"):
        load(tmp_path / "ours", heads=2)


@pytest.mark.parametrize(
    "held, words",
    [
        ([1, 2], "holds list, not a dictionary"),
        ({}, "holds no encoder"),
        ({"model": {"weight": torch.ones(2)}}, "holds no encoder (there are model)"),
        ({"target_encoder": torch.ones(3)}, "no patch_embed.proj.weight"),
        ({"target_encoder": 3}, "target_encoder holds int, not weights"),
        ({"target_encoder": {"x": 3}}, "x holds int, not a dense tensor"),
        ({"target_encoder": {3: torch.ones(2)}}, "3 holds Tensor"),
        ({"target_encoder": {"x": torch.ones(2).to_sparse()}}, "not a dense tensor"),
        ({"target_encoder": {"x": torch.ones(1).expand(10**9)}}, "more than the file holds"),
        ({"encoder": {"module.x": torch.ones(2), "x": torch.ones(2)}}, "holds x twice"),
        ({"encoder": {"x": torch.ones(2)}}, "no patch_embed.proj.weight"),
        ({"classifiers": [{}]}, "attentive probes and no encoder"),
    ],
)
def test_dictionaries_of_something_else(tmp_path, held, words):
    path = tmp_path / "other.pt"
    torch.save(held, path)
    refused(path, words)


def test_weights_that_are_whole_numbers(tmp_path):
    held = small()
    held["target_encoder"]["module.backbone.norm.bias"] = torch.ones(48, dtype=torch.int64)
    torch.save(held, tmp_path / "c.pt")
    refused(tmp_path / "c.pt", "torch.int64, not weights", read=lambda p: vjepa.read(p, HINTS))


def test_weights_that_are_infinite_as_float32(tmp_path):
    held = small()
    held["target_encoder"]["module.backbone.norm.bias"] = torch.ones(48, dtype=torch.float64)
    torch.save(held, tmp_path / "c.pt")
    assert vjepa.read(tmp_path / "c.pt", HINTS)[0].encoder.norm.bias.dtype == torch.float32
    held["target_encoder"]["module.backbone.norm.bias"] *= 1e300
    torch.save(held, tmp_path / "c.pt")
    refused(tmp_path / "c.pt", "holds NaN or infinite weights", read=lambda p: vjepa.read(p, HINTS))


def test_files_of_before_zip_archives_are_read(tmp_path):
    path = tmp_path / "old.pt"
    torch.save(small(), path, _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(path)
    assert vjepa.read(path, HINTS)[1].family == "V-JEPA 2"


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_small_archive_that_would_unpack_to_a_large_one(tmp_path, method):
    plain, packed = tmp_path / "plain.pt", tmp_path / "packed.pt"
    torch.save({"encoder": {"x": torch.zeros(10**6)}}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w") as target:
        for member in source.infolist():
            large = member.file_size > 10**5
            kind = method if large else zipfile.ZIP_STORED
            target.writestr(member.filename, source.read(member), compress_type=kind)
    assert packed.stat().st_size < 10**5
    refused(packed, "is a compressed archive, which PyTorch does not write")


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("damaged", [False, True])
def test_torchscript_is_named_and_not_run(tmp_path, damaged):
    path = tmp_path / "scripted.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    if damaged:
        path.write_bytes(path.read_bytes()[:-30])
        refused(path, "not a complete PyTorch file")
    else:
        refused(
            path, "is a TorchScript program, which is not run; save the model's state dictionary"
        )


def test_a_pickle_that_asks_for_a_terabyte_gets_none(tmp_path):
    class Greedy:
        def __reduce__(self):
            return (bytearray, (10**12,))

    path = tmp_path / "greedy.pt"
    torch.save({"encoder": Greedy()}, path)
    refused(path)


def test_the_same_numbers_under_many_names_are_not_copied_for_each(tmp_path):
    held = small()
    weights = held["target_encoder"]
    numbers = torch.zeros(max(value.numel() for value in weights.values()))
    held["target_encoder"] = {k: numbers[: v.numel()].view(v.shape) for k, v in weights.items()}
    path = tmp_path / "same.pt"
    torch.save(held | {"encoder": {}, "predictor": {}}, path)
    refused(path, "it gives some numbers several times")


@pytest.mark.parametrize("value", [{"x": torch.ones(3)}, torch.ones(2, 2)])
def test_weights_of_no_known_part_are_not_dropped(tmp_path, value):
    path = tmp_path / "c.pt"
    torch.save(small() | {"teacher": value}, path)
    refused(path, "'teacher' holds weights of no part that is known (those are ema_encoder, ")


def test_what_is_said_to_know_of_actions_has_a_predictor_that_does(tmp_path):
    path = tmp_path / "c.pt"
    for held in (small(), {"target_encoder": makers.encoder()}):
        torch.save(held, path)
        with pytest.raises(CheckpointError, match="no predictor that knows of actions"):
            load(path, family="vjepa2-ac", heads=2, predictor_heads=2)


def test_a_key_cannot_write_lines_of_the_report(tmp_path):
    path = tmp_path / "c.pt"
    torch.save(small() | {"lr\n  9 keys\x1b[31m": 1e-3}, path)
    lines = vjepa.read(path, makers.HINTS)[1].text().split("\n")
    assert all(line.isprintable() for line in lines)
    assert sum("lr\\n  9 keys\\x1b[31m" in line for line in lines) == 1


# Hugging Face


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("transformers")
    makers.hf_model(classified=True).save_pretrained(tmp_path / "hf")
    return tmp_path / "hf"


def change(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"model_type": "vit"}, "of model_type 'vit'"),
        ({"model_type": ["x"] * 1000}, "of model_type"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'; only 'gelu'"),
        ({"qkv_bias": False}, "qkv_bias is False"),
        ({"in_chans": 1}, "in_chans is 1"),
        ({"hidden_size": "wide"}, "hidden_size is 'wide'"),
        ({"hidden_size": -1}, "hidden_size is -1"),
        ({"hidden_size": 10**9}, "no Hugging Face vjepa2 model has its sizes"),
        ({"hidden_size": 10**4}, "asks for"),
        ({"hidden_size": 2**40}, "must be a number above 0"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, but the weights have 2"),
        ({"num_pooler_layers": 3}, "num_pooler_layers is 3, but the weights have 1"),
        ({"num_attention_heads": 7}, "no Hugging Face vjepa2 model has its sizes"),
        ({"mlp_ratio": 1e300}, "mlp_ratio is 1e+300"),
        ({"mlp_ratio": 0.001}, "encoder.mlp_width=0 must be at least 1"),
        ({"crop_size": 33}, "frames of 33 x 33 pixels do not divide"),
        ({"crop_size": 2**30}, "size=1073741824 takes 1.29e+10 GiB"),
        ({"patch_size": [8, 16]}, "patch_size is [8, 16]"),
        ({"id2label": {"0": "a", "1": "b"}}, "id2label does not name the 5 classes"),
        ({"id2label": ["a", "b", "c", "d", "e"]}, "id2label does not name the 5 classes"),
        ({"pred_num_mask_tokens": 4}, "mask_tokens has shape (3, 1, 1, 24)"),
    ],
)
def test_configurations(folder, changes, words):
    change(folder, **changes)
    refused(folder, words, names=folder)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"model_type": ', "\udcff", "[" * 10**5])
def test_json_that_is_no_configuration(folder, text):
    (folder / "config.json").write_text(text, errors="surrogateescape")
    refused(folder, "is not the configuration of a model", names=folder / "config.json")


def test_json_that_begins_with_a_mark_of_its_byte_order(folder, shards):
    for path in (folder / "config.json", shards[0]):
        path.write_text(path.read_text(), encoding="utf-8-sig")
    assert load(folder).size == 32


def test_weights_without_their_configuration(folder):
    (folder / "config.json").unlink()
    refused(folder, "holds no model (no model.json of ours, no config.json of Hugging Face's)")
    refused(folder / "model.safetensors", "model.json (ours) or config.json (Hugging Face's)")


def test_weights_that_are_missing_cut_or_spoilt(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    key = "vjepa2.encoder.layernorm.weight"
    for spoilt, words in (
        ({k: v for k, v in tensors.items() if k != key}, f"1 keys missing ({key})"),
        (tensors | {"stowaway": torch.ones(2)}, "1 keys left over (stowaway)"),
        (tensors | {key: torch.full((48,), torch.nan)}, f"{key} holds NaN"),
        (tensors | {key: torch.ones(47)}, f"{key} has shape (47,)"),
        (tensors | {key: torch.full((48,), 1e300, dtype=torch.float64)}, f"{key} holds NaN or inf"),
        (tensors | {"a\nb": torch.ones(2)}, "1 keys left over (a\\nb)"),
    ):
        save_file(spoilt, path)
        refused(folder, words, names=path)
    for weight in (torch.tensor(1.0), torch.ones(48)):
        save_file(tensors | {"classifier.weight": weight}, path)
        refused(folder, "classifier.weight has shape (", names=folder / "config.json")
    save_file(tensors, path)
    path.write_bytes(path.read_bytes()[:-1])
    refused(folder, "not a complete safetensors file", "; fetch it again", names=path)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12\n")
    refused(folder, "is a pointer of Git LFS", names=path)
    path.unlink()
    refused(folder, "no model.safetensors; save the model again")
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"1")
    refused(folder, "has model-00001-of-00002.safetensors but no model.safetensors.index.json")


@pytest.fixture
def shards(folder):
    """The same weights in two files and an index; returns the index's path and the index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {key: f"part-{i % 2}.safetensors" for i, key in enumerate(sorted(tensors))}
    for name in set(places.values()):
        save_file({key: tensors[key] for key in tensors if places[key] == name}, folder / name)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return path, places


def test_shards_that_are_missing_or_not_as_their_index_says(folder, shards):
    path, places = shards
    key = min(places)
    for spoilt, words, names in (
        (places | {key: "part-1.safetensors"}, "1 keys are not as", folder / "part-0"),
        (places | {key: "gone.safetensors"}, "no such file", folder / "gone.safetensors"),
        (places | {key: "../part-0.safetensors"}, "files of its own folder", path),
        (places | {key: "part-0.bin"}, "files of its own folder", path),
        (places | {key: "a" * 300 + ".safetensors"}, "File name too long", folder / ("a" * 60)),
        (places | {key: "a\nb.safetensors"}, "no such file", folder / "a\nb.safetensors"),
        (places | {key: 3}, "is not an index of weights", path),
        ([], "is not an index of weights", path),
    ):
        path.write_text(json.dumps({"weight_map": spoilt}))
        refused(folder, words, names=names)


def claim(path, shape, *, end):
    """A safetensors file whose header claims a tensor of that shape."""
    header = {"vjepa2.x": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 16)


@pytest.mark.parametrize("shape, end", [([10**12], 4 * 10**12), ([10**12], 16), ([2**63], 16)])
def test_a_header_that_claims_a_trillion_numbers(folder, shape, end):
    claim(folder / "model.safetensors", shape, end=end)
    refused(folder, "not a complete safetensors file", names=folder / "model.safetensors")


def test_a_header_that_is_larger_than_its_file(folder):
    path = folder / "model.safetensors"
    path.write_bytes((10**15).to_bytes(8, "little") + b"{}")
    refused(folder, "not a complete safetensors file", names=path)
    assert io.BytesIO(path.read_bytes()).read(8)[-1] == 0
