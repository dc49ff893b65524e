"""Out again: transformers loads what is exported and gives the same, or one line says why not."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

import worldmodel as wm
from tests.worldmodel.interop import makers
from tests.worldmodel.interop.makers import HINTS, hf_model, normalised
from tests.worldmodel.toys import noise, small_model
from worldmodel import interop
from worldmodel.cli.app import main
from worldmodel.errors import ConfigError
from worldmodel.interop import to_huggingface, vjepa
from worldmodel.interop.export import export
from worldmodel.storage import tensors
from worldmodel.types import Clip, Mask

pytest.importorskip("transformers")


def clip():
    return Clip(noise(2, 8, 3, 32, 32), torch.arange(8, dtype=torch.float64).expand(2, -1))


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "small.pt"
    torch.save(makers.checkpoint(makers.encoder(), makers.predictor(masks=10)), path)
    return path


@pytest.mark.parametrize("classified", [False, True])
@torch.inference_mode()
def test_there_and_back_the_weights_are_the_same_to_the_bit(tmp_path, classified):
    theirs = hf_model(classified=classified, mlp_ratio=2.9375)
    theirs.save_pretrained(tmp_path / "theirs")
    for source, output, format in (
        ("theirs", "ours", "worldmodel"),
        ("ours", "again", "hf"),
        ("again", "ours again", "worldmodel"),
    ):
        assert export(model=str(tmp_path / source), output=str(tmp_path / output),
                      format=format) == 0  # fmt: skip
    for one, other in (("theirs", "again"), ("ours", "ours again")):
        a, b = (load_file(tmp_path / name / "model.safetensors") for name in (one, other))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)
    again, problems = type(theirs).from_pretrained(tmp_path / "again", output_loading_info=True)
    assert not any(problems.values())
    pixels = normalised(clip().frames)
    if classified:
        assert torch.allclose(again.eval()(pixels).logits, theirs(pixels).logits, atol=1e-5)
        return
    assert torch.allclose(again.eval()(pixels).last_hidden_state,
                          theirs(pixels).last_hidden_state, atol=1e-5)  # fmt: skip


@torch.inference_mode()
def test_a_v_jepa_file_becomes_a_transformers_folder(checkpoint, tmp_path, capsys):
    words = [f"model={checkpoint}", "format=hf", f"output={tmp_path / 'hf'}", "size=32"]
    assert main(["export", *words, "heads=2", "predictor_heads=2"]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{tmp_path / 'hf'}\n"
    assert "4 x target_encoder.blocks.*.attn.qkv" in shown.err and "0 unknown" in shown.err
    from transformers import VJEPA2Model

    theirs = VJEPA2Model.from_pretrained(tmp_path / "hf").eval()
    ours, _ = vjepa.read(checkpoint, HINTS)
    ids = torch.arange(64).expand(2, -1)
    expected = theirs(
        normalised(clip().frames), context_mask=[ids[:, :30]], target_mask=[ids[:, 30:]]
    )
    assert torch.allclose(ours.encode(clip()).tokens, expected.last_hidden_state, atol=1e-4)
    filled = ours.fill_in(clip(), Mask(ids[:, :30], ids[:, 30:]), context="masked_after")
    assert torch.allclose(filled, expected.predictor_output.last_hidden_state, atol=1e-4)


def test_a_v_jepa_file_becomes_a_model_of_ours_with_its_keys_beside(checkpoint, tmp_path):
    output = tmp_path / "deep" / "ours"
    export(model=str(checkpoint), output=str(output), heads=2, predictor_heads=2, size=32)
    model, _ = vjepa.read(checkpoint, HINTS)
    assert wm.load(output).spec() == model.spec()
    rows = (output / "keys.csv").read_text().splitlines()
    assert rows[0] == "theirs,ours,note"
    assert "target_encoder.norm.bias,encoder.norm.bias," in rows
    assert 'opt,,"of the training, not of the model"' in rows
    assert sorted(p.name for p in output.parent.iterdir()) == ["ours"]


def test_what_transformers_cannot_be_is_said_in_a_line(tmp_path):
    def reason(model):
        return to_huggingface.why_not(model)

    assert "pixels=imagenet, this encoder pixels=change" in reason(small_model())
    for held, words in (
        (makers.checkpoint_1(), "has no sincos_grid=[4, 4, 4]"),
        (makers.checkpoint_21(), "has no levels=[0, 1]"),
        (makers.checkpoint_ac(), "always has a predictor of tokens"),
    ):
        torch.save(held, tmp_path / "other.pt")
        model, _ = vjepa.read(tmp_path / "other.pt", HINTS)
        assert words in reason(model)
        with pytest.raises(ConfigError, match="format=hf: .*; export it with format=worldmodel"):
            to_huggingface.write(model, tmp_path / "hf")
    torch.save(makers.checkpoint(makers.encoder(), makers.predictor()), tmp_path / "other.pt")
    model, _ = vjepa.read(tmp_path / "other.pt", HINTS)
    assert reason(model) is None
    model.head = small_model().head
    assert "no place for the head" in reason(model)


def test_an_export_that_fails_leaves_nothing(checkpoint, tmp_path):
    torch.save(makers.checkpoint_ac(), checkpoint)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="format=hf"):
        export(model=str(checkpoint), output=str(tmp_path / "hf"), format="hf", heads=2,
               predictor_heads=2)  # fmt: skip
    assert sorted(tmp_path.iterdir()) == before
    for name in ("hf", "n1/n2/hf"):
        with pytest.raises(ConfigError, match="format=hf"):
            export(model=str(checkpoint), output=str(tmp_path / name), format="hf", heads=2,
                   predictor_heads=2)  # fmt: skip
    assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(ConfigError, match="is there already"):  # before the model is read
        export(model=str(tmp_path / "nothing.pt"), output=str(tmp_path))
    with pytest.raises(ConfigError, match="is there already"):
        export(model=str(checkpoint), output=str(tmp_path), heads=2, predictor_heads=2)


@pytest.mark.parametrize(
    "name, words",
    [
        ("small.pt/sub", "Not a directory"),
        ("loop/sub", "Too many levels of symbolic links"),
        ("/dev/null/x", "Not a directory"),
        ("/proc/nothing/x", "No such file or directory"),
        ("x" * 256, "File name too long"),
    ],
)
def test_an_output_that_cannot_be_made_is_one_line(checkpoint, tmp_path, name, words):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=rf"cannot be .* \({words}\); \w+ ") as caught:
        export(model=str(checkpoint), output=str(tmp_path / name), heads=2, predictor_heads=2)
    assert "\n" not in str(caught.value) and sorted(tmp_path.iterdir()) == before


def test_an_output_may_have_a_name_as_long_as_names_can_be(checkpoint, tmp_path):
    output = tmp_path / ("x" * 255)
    export(model=str(checkpoint), output=str(output), heads=2, predictor_heads=2, size=32)
    assert wm.load(output).size == 32


def test_an_output_whose_name_is_no_text_is_told_as_it_is(checkpoint, tmp_path):
    output = os.fsencode(tmp_path) + b"/caf\xe9"
    words = [f"model={checkpoint}", b"output=" + output, "heads=2", "predictor_heads=2"]
    done = subprocess.run(
        [sys.executable, "-m", "worldmodel", "export", *words], capture_output=True, check=True,
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
    )  # fmt: skip
    assert done.stdout == output + b"\n" and os.path.isdir(output)


@pytest.mark.parametrize("format", ["worldmodel", "hf"])
def test_a_disk_without_room_is_one_line(tmp_path, monkeypatch, capsys, format):
    def no_room(*args):
        raise SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    hf_model().save_pretrained(tmp_path / "hf")
    monkeypatch.setattr(tensors, "save_file", no_room)
    words = [f"model={tmp_path / 'hf'}", f"output={tmp_path / 'out'}", f"format={format}"]
    capsys.readouterr()
    assert main(["export", *words]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("worldmodel: ") and "No space left on device; make room" in last
    assert [p.name for p in tmp_path.iterdir()] == ["hf"]


def test_on_the_command_line_too_an_error_is_one_line(tmp_path, capsys):
    path = tmp_path / "cut.pt"
    path.write_bytes(b"PK")
    assert main(["export", f"model={path}", f"output={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"worldmodel: {path}: not a complete PyTorch file")
    assert error.count("\n") == 1


def test_settings_that_say_what_the_files_say_are_refused(tmp_path):
    hf_model().save_pretrained(tmp_path / "hf")
    wm.save(small_model(), tmp_path / "ours")
    for name, words in (("hf", "config.json says"), ("ours", "is a model of ours")):
        with pytest.raises(wm.WorldModelError, match=words):
            export(model=str(tmp_path / name), output=str(tmp_path / "out"), heads=2)
    with pytest.raises(ConfigError, match="say worldmodel or hf"):
        export(model=str(tmp_path / "hf"), output=str(tmp_path / "out"), format="onnx")


@pytest.mark.parametrize("changes", [{}, {"layer_norm_eps": 1e-5}, {"mlp_ratio": 4.0}])
def test_config_says_what_the_model_is(tmp_path, changes):
    theirs = hf_model(classified=True, **changes)
    theirs.save_pretrained(tmp_path / "theirs")
    export(model=str(tmp_path / "theirs"), output=str(tmp_path / "again"), format="hf")
    a, b = (json.loads((tmp_path / n / "config.json").read_text()) for n in ("theirs", "again"))
    assert {k: a[k] for k in b if k not in ("dtype",)} == {k: b[k] for k in b if k != "dtype"}
    assert interop.recognise(tmp_path / "again") is not None
