import json
import math
import os
import pickle
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import worldmodel
from tests.worldmodel.toys import noise, seeded, small, small_model
from worldmodel.checkpoint import TrainingPosition, load_training, rebuild, save, save_training
from worldmodel.errors import CheckpointError, ConfigError
from worldmodel.interop.load import load
from worldmodel.model import WorldModel
from worldmodel.nn.frame_encoder import FrameEncoder
from worldmodel.storage.tensors import read_tensors_and_header, save_tensors
from worldmodel.types import Clip, History

CLIP = Clip(noise(1, 4, 3, 16, 16), torch.arange(4, dtype=torch.float64)[None])

POSITION = TrainingPosition(3, elapsed=1.25, skipped=2, skipped_in_a_row=1)


@pytest.fixture
def folder(tmp_path):
    return save(small_model(), tmp_path / "run" / "model")


def change_json(folder, change):
    path = folder / "model.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


def change_weights(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def refused(path, *words, names=None, read=load):
    """Loading gives one line that names the file and holds the words."""
    with pytest.raises(CheckpointError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(names or path) in message
    for word in words:
        assert word in message


# Models


@pytest.mark.parametrize("per_token", [False, True])
def test_a_model_comes_back_as_it_was(tmp_path, per_token):
    model = small_model(per_token=per_token)
    model.action_mean += 0.25
    # Batch statistics are part of what was learnt.
    model.head.train()(model.encoder(noise(4, 2, 3, 16, 16)))
    save(model.eval(), tmp_path)
    again = worldmodel.load(tmp_path)
    assert not again.training
    assert again.spec() == model.spec()
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert torch.equal(model.latents(CLIP), again.latents(CLIP))
    if not per_token:
        past = History(model.states(CLIP)[0], torch.ones(1, 4))
        plans = torch.randn(2, 3, 4, generator=seeded())
        assert torch.equal(model.rollout(past, plans), again.rollout(past, plans))


def test_parts_that_are_not_there_stay_away(tmp_path):
    again = load(save(WorldModel(small().encoder, size=16), tmp_path))
    assert again.head is again.masked_predictor is again.action_predictor is None


def test_a_model_is_found_by_its_folder_its_run_or_its_files(folder):
    for path in (folder, folder.parent, folder / "model.json", str(folder.parent)):
        assert load(path).state_dim == 16


def test_saving_over_a_model_replaces_it_and_leaves_no_rest(folder):
    save(small_model(action_dim=3), folder)
    assert load(folder).action_dim == 3 and load(folder).action_choices is None
    change_json(folder, lambda d: d.update(action_choices=[2, 1]))
    assert load(folder).action_choices == (2, 1)
    assert load(save(load(folder), folder)).action_choices == (2, 1)
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "model.safetensors"]


# What is not a model


def test_no_model(tmp_path):
    refused(tmp_path, "holds no model")
    refused(tmp_path / "nowhere", "holds no model", "training finish first")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "holds no model")


def test_half_a_model(folder):
    (folder / "model.safetensors").unlink()
    refused(folder, "no such file", names=folder / "model.safetensors")


def test_a_pointer_that_git_has_left_in_place_of_weights(folder):
    path = folder / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12\n")
    refused(folder, "is a pointer of Git LFS", "run git lfs pull", names=path)


def test_weights_that_are_infinite_as_float32(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    key = "encoder.norm.bias"
    save_file(tensors | {key: torch.full((24,), 1e300, dtype=torch.float64)}, path)
    refused(folder, f"{key} holds NaN or infinite weights", names=path)


class Trap:
    """Unpickling it leaves a trace."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return (Path.touch, (Path(self.trace),))


@pytest.mark.parametrize("place", ["model.pt", "model/model.safetensors", "model/model.json"])
def test_a_pickle_is_refused_and_never_executed(folder, tmp_path, place):
    trace = tmp_path / "executed"
    path = folder.parent / place
    path.write_bytes(pickle.dumps(Trap(trace)))
    refused(path if place == "model.pt" else folder, names=path)
    torch.save({"model": Trap(trace)}, path)
    refused(path if place == "model.pt" else folder, names=path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Trap(trace)))  # the trap works
    assert trace.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_truncated_files(folder, name, share):
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(folder, "train the model again", names=path)


def test_weights_of_text(folder):
    (folder / "model.safetensors").write_text("weights" * 100)
    refused(folder, "not a complete safetensors file", names=folder / "model.safetensors")


@pytest.mark.parametrize("version", [0, 1, 3, "2", None])
def test_another_version(folder, version):
    change_json(folder, lambda d: d.update(format_version=version))
    refused(folder, f"format {version}", "reads 2", names=folder / "model.json")


def test_a_description_without_version(folder):
    change_json(folder, lambda d: d.pop("format_version"))
    refused(folder, "not the description", names=folder / "model.json")


@pytest.mark.parametrize("text", ["[]", "3", '"model"', "null", "{}", "\udcff", "[" * 100_000])
def test_json_that_describes_no_model(folder, text):
    (folder / "model.json").write_text(text, errors="surrogateescape")
    refused(folder, "not the description", names=folder / "model.json")


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda d: d["encoder"].update(name="VideoVit"), ["'VideoVit'", "did you mean 'VideoViT'"]),
        (lambda d: d["encoder"].update(name="os.system"), ["'os.system'", "choose from"]),
        (lambda d: d["parts"]["head"].update(name="Statehead"), ["did you mean 'StateHead'"]),
        (lambda d: d["parts"].update(hed=d["parts"].pop("head")), ["'hed'", "'head'"]),
    ],
)
def test_unknown_names(folder, change, words):
    change_json(folder, change)
    refused(folder, *words, names=folder / "model.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("encoder"),
        lambda d: d["encoder"].pop("name"),
        lambda d: d["encoder"].update(width="wide"),
        lambda d: d["encoder"].update(width=-4),
        lambda d: d["encoder"].update(heads=0),
        lambda d: d["encoder"].update(heads=5),
        lambda d: d["encoder"].update(surprise=1),
        lambda d: d.update(encoder="VideoViT"),
        lambda d: d.update(parts=["head"]),
        lambda d: d.update(action_dim="two"),
        lambda d: d.update(action_dim=-1),
        *[lambda d, x=x: d.update(action_choices=x) for x in (2, "2", [0, 2], [1.5, 0.5], [3])],
        *[lambda d, x=x: d.update(size=x) for x in (None, -16, 0, [16], 16.5, True)],
        *[lambda d, x=x: d["encoder"].update(norm_eps=x) for x in ("x", None, [1e-6], math.nan)],
    ],
)
def test_a_description_with_wrong_values(folder, change):
    change_json(folder, change)
    refused(folder, "not the description", names=folder / "model.json")


@pytest.mark.parametrize("device", ["blah", "cuda:999"])
def test_a_device_that_is_not_here(folder, device):
    with pytest.raises(ConfigError, match=f"device={device}: does not work here .*; try device=c"):
        load(folder, device=device)


def test_a_saved_model_fetches_nothing(tmp_path):
    encoder = FrameEncoder("test_vit", size=64)
    folder = save(WorldModel(encoder, size=64), tmp_path / "model")
    assert load(folder).encoder.name == "test_vit"
    change_json(folder, lambda d: d["encoder"].update(pretrained=True))
    refused(folder, "a saved model brings its weights", names=folder / "model.json")


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.int8, torch.complex64])
def test_weights_of_another_kind(folder, dtype):
    key = "encoder.norm.weight"
    change_weights(folder, lambda tensors: tensors.update({key: tensors[key].to(dtype)}))
    refused(folder, f"{key} holds {dtype}, the model needs torch.float32",
            names=folder / "model.safetensors")  # fmt: skip


def test_weights_of_another_precision_are_read(folder):
    key = "encoder.norm.weight"
    change_weights(folder, lambda tensors: tensors.update({key: tensors[key].half()}))
    assert load(folder).encoder.norm.weight.dtype == torch.float32


@pytest.mark.parametrize("what", ["width", "depth", "patch"])
def test_a_description_asks_for_no_more_memory_than_its_weights_have(folder, what):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    change_json(folder, lambda d: d["encoder"].update({what: 20_000}))
    refused(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB


def test_loading_draws_as_many_random_numbers_as_building(folder):
    """A seeded run that loads a model goes on as it always has."""
    model = load(folder)
    torch.manual_seed(0)
    load(folder)
    after = torch.rand(3)
    torch.manual_seed(0)
    rebuild(model.spec())
    assert torch.equal(after, torch.rand(3))


def test_keys_are_matched_strictly(folder):
    change_weights(folder, lambda t: t.pop("encoder.norm.weight"))
    refused(folder, "1 keys missing ['encoder.norm.weight']", names=folder / "model.safetensors")


def test_extra_keys(folder):
    change_weights(folder, lambda t: t.update(stowaway=torch.zeros(1)))
    refused(folder, "1 left over ['stowaway']", names=folder / "model.safetensors")


def test_another_shape(folder):
    change_weights(folder, lambda t: t.update({"encoder.norm.weight": torch.zeros(25)}))
    refused(folder, "encoder.norm.weight has shape (25,)", "(24,)")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(folder, bad):
    def spoil(tensors):
        tensors["encoder.norm.weight"][3] = bad

    change_weights(folder, spoil)
    refused(folder, "NaN or infinite", names=folder / "model.safetensors")


# Training states


def training(width=3):
    torch.manual_seed(0)
    modules = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 1))
    return modules, torch.optim.AdamW(modules.parameters(), lr=0.01)


def step(modules, optimiser, seed):
    x = torch.randn(8, 2, generator=seeded(seed))
    loss = (modules(x) - x.prod(1, keepdim=True)).square().mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def written(path):
    modules, optimiser = training()
    for seed in range(3):
        step(modules, optimiser, seed)
    save_training(path, modules=modules, optimiser=optimiser, position=POSITION)
    return modules, optimiser


def test_limits_that_are_born_infinite_stay_so(tmp_path):
    module = torch.nn.Linear(2, 2)
    module.register_buffer("limits", torch.tensor([-torch.inf, torch.inf, 1.0]))
    optimiser = torch.optim.AdamW(module.parameters())
    path = tmp_path / "state.safetensors"
    save_training(path, modules=module, optimiser=optimiser, position=POSITION)
    assert load_training(path, modules=module, optimiser=optimiser) == POSITION
    for spoilt in ([torch.inf, -torch.inf, 1.0], [-torch.inf, torch.inf, torch.inf],
                   [-torch.inf, torch.nan, 1.0]):  # fmt: skip
        module.limits.copy_(torch.tensor(spoilt))
        save_training(path, modules=module, optimiser=optimiser, position=POSITION)
        module.limits.copy_(torch.tensor([-torch.inf, torch.inf, 1.0]))
        with pytest.raises(CheckpointError, match="limits holds NaN or infinite"):
            load_training(path, modules=module, optimiser=optimiser)


def test_a_training_goes_on_as_if_it_had_not_stopped(tmp_path):
    path = tmp_path / "deep" / "training.safetensors"
    first = written(path)
    second = training()
    assert load_training(path, modules=second[0], optimiser=second[1]) == POSITION
    for modules, optimiser in (first, second):
        step(modules, optimiser, seed=3)
    for name, value in first[0].state_dict().items():
        assert torch.equal(value, second[0].state_dict()[name])


def test_a_training_state_of_another_model(tmp_path):
    path = tmp_path / "training.safetensors"
    written(path)
    modules, optimiser = training(width=5)
    refused(
        path, "has shape", read=lambda p: load_training(p, modules=modules, optimiser=optimiser)
    )


def test_a_truncated_training_state(tmp_path):
    path = tmp_path / "training.safetensors"
    modules, optimiser = written(path)
    path.write_bytes(path.read_bytes()[:-10])
    refused(
        path, "truncated", read=lambda p: load_training(p, modules=modules, optimiser=optimiser)
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, header: header.pop("step"),
        lambda tensors, header: header.update(step="three"),
        lambda tensors, header: tensors.update({"optimiser.exp_avg": torch.zeros(1)}),
        lambda tensors, header: tensors.update({"optimiser.x.exp_avg": torch.zeros(1)}),
    ],
)
def test_tensors_that_are_no_training_state(tmp_path, change):
    path = tmp_path / "training.safetensors"
    modules, optimiser = written(path)
    tensors, header = read_tensors_and_header(path)
    change(tensors, header)
    save_tensors(tensors, header, path)
    refused(
        path,
        "is not a training state",
        read=lambda p: load_training(p, modules=modules, optimiser=optimiser),
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors, header: header.update(format_version="0"), "of format 0, this version"),
        (lambda tensors, header: tensors.pop("optimiser.1.exp_avg"), "not that of this model"),
        (
            lambda tensors, header: tensors.update({"optimiser.0.exp_avg": torch.zeros(7, 7)}),
            "not that of this model",
        ),
        (
            lambda tensors, header: tensors.update({"optimiser.9.exp_avg": torch.zeros(1)}),
            "not that of this model",
        ),
    ],
)
def test_a_training_state_of_another_version_or_optimiser(tmp_path, change, words):
    path = tmp_path / "training.safetensors"
    modules, optimiser = written(path)
    tensors, header = read_tensors_and_header(path)
    change(tensors, header)
    save_tensors(tensors, header, path)
    refused(path, words, read=lambda p: load_training(p, modules=modules, optimiser=optimiser))


def test_tensors_come_back_with_their_header(tmp_path):
    path = tmp_path / "t.safetensors"
    values = torch.arange(6).view(2, 3).T  # not contiguous
    save_tensors({"a": values}, {"kinds": "[1]"}, path)
    tensors, header = read_tensors_and_header(path)
    assert torch.equal(tensors["a"], values)
    assert header == {"format_version": "2", "kinds": "[1]"}
    assert [p.name for p in tmp_path.iterdir()] == ["t.safetensors"]
