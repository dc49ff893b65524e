"""timm backbones: the features are timm's own, motion is seen, and what is wrong is one line."""

import socket
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import save_file
from timm.data import resolve_model_data_config

from tests.worldmodel.toys import noise, stirred
from worldmodel import checkpoint
from worldmodel.architecture import Architecture
from worldmodel.errors import CheckpointError, ConfigError, ShapeError, WorldModelError
from worldmodel.interop.load import load
from worldmodel.model import WorldModel
from worldmodel.nn.frame_encoder import FrameEncoder
from worldmodel.objectives.masks import AllButOne, MaskMixture
from worldmodel.objectives.objective import Objective
from worldmodel.objectives.regularisers import SIGReg
from worldmodel.objectives.time_steps import TimeSteps

SIZE = 64
MOST = 30e6  # parameters


def seen_by_timm(name, frames, **options):
    """Frames b t c h w -> feature maps (b t) n c, as a user of timm alone gets them."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0, **options).eval()
    config = resolve_model_data_config(model)
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    features = model.forward_features((frames.flatten(0, 1) - mean) / std)
    if features.ndim == 4:
        return rearrange(features, "b c h w -> b (h w) c")
    return features[:, model.num_prefix_tokens :]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {"img_size": SIZE}),  # mean and spread 0.5
        ("test_resnet", {}),  # ImageNet's
    ],
)
@torch.no_grad()
def test_the_features_are_those_of_timm(name, options):
    frames = noise(2, 4, 3, SIZE, SIZE)
    each = seen_by_timm(name, frames, **options)
    each = F.layer_norm(each, each.shape[-1:])
    torch.manual_seed(0)
    encoder = FrameEncoder(name, size=SIZE).eval()
    tokens = rearrange(encoder(frames), "b (t n) d -> b t n d", t=2)
    first, second = rearrange(each, "(b t i) n c -> i b t n c", b=2, i=2)
    width = encoder.width // 2
    assert torch.allclose(tokens[..., :width], (first + second) / 2, atol=1e-5)
    assert torch.allclose(tokens[..., width:], second - first, atol=1e-5)


@torch.no_grad()
def test_motion_is_seen_and_stillness_is_none():
    torch.manual_seed(0)
    encoder = FrameEncoder("test_resnet").eval()
    still = noise(1, 1, 3, SIZE, SIZE).expand(-1, 2, -1, -1, -1)
    moving = torch.stack([still[:, 0], still[:, 0].roll(5, dims=-1)], dim=1)
    motion = slice(encoder.width // 2, None)
    assert encoder(still)[..., motion].abs().max() < 1e-5
    there, back = encoder(moving)[..., motion], encoder(moving.flip(1))[..., motion]
    assert there.abs().mean() > 0.01
    assert torch.allclose(there, -back, atol=1e-5)


def test_time_steps_are_seen_alone():
    encoder = FrameEncoder("test_resnet").eval()
    frames = noise(1, 4, 3, SIZE, SIZE)
    changed = frames.clone()
    changed[:, 2:] = 0
    before, after = (rearrange(encoder(x), "1 (t n) d -> t n d", t=2) for x in (frames, changed))
    assert torch.allclose(before[0], after[0], atol=1e-5)
    assert not torch.allclose(before[1], after[1], atol=1e-2)


def test_an_earlier_stage_is_finer():
    shapes = [
        (FrameEncoder("resnet18", stage=stage, size=SIZE).grid_of(2, SIZE, SIZE))
        for stage in (-1, -2, -3)
    ]
    assert shapes == [(1, 2, 2), (1, 4, 4), (1, 8, 8)]


def test_pixels_that_are_hidden_become_the_mean_colour():
    encoder = FrameEncoder("test_resnet").eval()
    frames = noise(1, 2, 3, SIZE, SIZE)
    frames[..., :32, :32] = encoder.mean  # place 0 of 2 x 2
    keep = torch.tensor([[1, 2, 3]])
    assert torch.allclose(encoder(frames, keep=keep), encoder(frames)[:, 1:], atol=1e-5)


def test_measuring_the_grid_changes_nothing():
    encoder = FrameEncoder("test_resnet")
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.backbone.bn1.eval()  # a part that is frozen by hand
    modes = [module.training for module in encoder.modules()]
    assert encoder.grid_of(4, 96, 128) == (2, 3, 4)
    assert [module.training for module in encoder.modules()] == modes and True in modes
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


# Refusals


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "resnet19"}, ["no backbone 'resnet19'", "did you mean 'resnet18'"]),
        ({"name": "qqqqqqqq"}, ["no backbone 'qqqqqqqq'", "timm.list_models()"]),
        ({"name": "hf-hub:a/b"}, ["no backbone 'hf-hub:a/b'"]),
        ({"name": "resnet18.a1_in1"}, ["no weights 'a1_in1'", "did you mean 'a1_in1k'"]),
        ({"name": "test_resnet", "stage": 9}, ["has 5 stages", "-5 and 4", "got 9"]),
        ({"name": "test_resnet", "tubelet_frames": 0}, ["tubelet_frames", "at least 1"]),
        ({"name": "coatnet_pico_rw_224", "size": 65}, ["65 x 65", "model.size=224"]),
        ({"name": "test_vit", "size": 7}, ["7 x 7", "patches of 16 x 16", "model.size=16"]),
        ({"name": "test_vit", "size": 60}, ["60 x 60", "model.size=48 or 64"]),
        ({"name": "eva02_tiny_patch14_224", "size": 64}, ["of 14 x 14", "model.size=56 or 70"]),
        ({"name": "convnext_atto", "size": 62}, ["of 4 x 4", "model.size=60 or 64"]),
    ],
)
def test_what_cannot_be_built_is_one_line(arguments, words):
    with pytest.raises(WorldModelError) as caught:
        FrameEncoder(**arguments)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    assert all(word in message for word in words), message


def test_frames_of_another_size_than_the_tables_are_refused():
    encoder = FrameEncoder("vit_tiny_patch16_224")
    with pytest.raises(ShapeError, match="patch16_224 cannot take frames of 64 x 64 pixels .*=224"):
        encoder(noise(1, 2, 3, 64, 64))


# Weights


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No network, and an empty cache of weights in the folder that is returned."""
    import huggingface_hub.constants

    def refuse(*_args, **_kwargs):
        raise OSError("the network was asked")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path / "cache"


def put_weights(cache: Path, repository: str, weights: dict[str, torch.Tensor]) -> None:
    """Lay weights into a cache as a download of them would."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    save_file(weights, snapshot / "model.safetensors")


def test_weights_that_cannot_be_had_are_one_line(offline):
    with pytest.raises(ConfigError) as caught:
        FrameEncoder("test_resnet.r160_in1k", pretrained=True)
    message = str(caught.value)
    assert "\n" not in message and message.startswith("test_resnet.r160_in1k: its weights cannot")
    assert "hf download timm/test_resnet.r160_in1k" in message and "pretrained=false" in message


def test_weights_that_timm_never_had_are_one_line(offline):
    name = next(x for x in timm.list_models("resnet*") if not timm.list_pretrained(f"{x}.*"))
    with pytest.raises(ConfigError, match=f"{name}: its weights cannot be had .*pretrained=false"):
        FrameEncoder(name, pretrained=True)


def test_a_cut_file_of_weights_is_one_line(offline):
    put_weights(offline, "timm/test_resnet.r160_in1k", {"x": torch.zeros(3)})
    file = next(offline.rglob("model.safetensors"))
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ConfigError, match="its weights cannot be had .*pretrained=false"):
        FrameEncoder("test_resnet", pretrained=True)


@torch.no_grad()
def test_pretrained_weights_are_used_and_a_saved_model_needs_them_no_more(offline, tmp_path):
    weights = stirred(timm.create_model("test_resnet"), scale=0.1).state_dict()
    put_weights(offline, "timm/test_resnet.r160_in1k", weights)
    encoder = FrameEncoder("test_resnet", pretrained=True).eval()
    assert torch.equal(encoder.backbone.conv1[0].weight, weights["conv1.0.weight"])
    checkpoint.save(WorldModel(encoder, size=SIZE), tmp_path / "model")
    next(offline.rglob("model.safetensors")).unlink()
    again = load(tmp_path / "model").encoder
    frames = noise(1, 2, 3, SIZE, SIZE)
    assert torch.equal(again(frames), encoder(frames))
    assert again.spec["name"] == "test_resnet" and again.spec["pretrained"] is False


def test_a_saved_model_of_another_width_is_refused():
    encoder = FrameEncoder("test_resnet")
    assert FrameEncoder(**encoder.spec).width == encoder.spec["width"] == encoder.width
    with pytest.raises(ShapeError, match=f"tokens of width {encoder.width}, not of 7 "):
        FrameEncoder("test_resnet", width=7)


@pytest.mark.slow
def test_a_backbone_that_cannot_be_measured_without_memory_comes_back(tmp_path):
    encoder = FrameEncoder(
        "gemma4_vit_167m_enc", size=96, stage=0
    )  # its limits of clamps are infinite
    checkpoint.save(WorldModel(encoder.eval(), size=96), tmp_path)
    again = load(tmp_path).encoder
    frames = noise(1, 2, 3, 96, 96)
    with torch.inference_mode():
        assert torch.equal(again(frames), encoder(frames))


def test_a_saved_model_of_an_unknown_backbone_is_refused(tmp_path):
    checkpoint.save(WorldModel(FrameEncoder("test_resnet"), size=SIZE), tmp_path)
    path = tmp_path / "model.json"
    path.write_text(path.read_text().replace("test_resnet", "test_resnets"))
    with pytest.raises(CheckpointError, match="did you mean 'test_resnet'"):
        load(tmp_path)
    path.write_text(path.read_text().replace("FrameEncoder", "FramesEncoder"))
    with pytest.raises(CheckpointError, match="did you mean 'FrameEncoder'"):
        load(tmp_path)


# Training


def time_steps(sizes: Architecture) -> Objective:
    masks = MaskMixture([AllButOne()], [1])
    return TimeSteps(sizes, masks=masks, regulariser=SIGReg(num_slices=16))


def take_a_step(name: str, make: Callable[[Architecture], Objective] = time_steps) -> None:
    """One step of learning from noise, at 32 pixels or else the backbone's own size."""
    torch.manual_seed(0)
    try:
        encoder = FrameEncoder(name, size=32, tubelet_frames=1)
    except ShapeError:
        encoder = FrameEncoder(name, tubelet_frames=1)
    size = encoder.spec["size"] or encoder.own_size
    sizes = Architecture(encoder=encoder, size=size, latent_width=16, extra_width=16)
    objective = make(sizes).train()
    before = {key: p.detach().clone() for key, p in encoder.named_parameters()}
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-3, weight_decay=0)
    generator = torch.Generator().manual_seed(0)
    loss = objective(noise(2, 2, 3, size, size), step=0, generator=generator).total
    assert loss.isfinite()
    loss.backward()
    optimiser.step()
    moved = []
    for key, p in encoder.named_parameters():
        assert p.isfinite().all(), f"{key} is not finite"
        slope = 0.0 if p.grad is None else p.grad.abs().max().item()
        moved.append(not torch.equal(p, before[key]))
        assert moved[-1] == (slope > 0) or 0 < slope < 1e-6, key  # too small for AdamW's epsilon
    # The scale of a branch often starts at zero, and the branch then has no gradient yet.
    assert sum(moved) > len(moved) / 10, f"{sum(moved)} of {len(moved)} weights have learned"


def parameters(name: str) -> int:
    """Weights of a backbone without its classifier, counted without making them."""
    with torch.device("meta"):
        return sum(p.numel() for p in timm.create_model(name, num_classes=0).parameters())


def first_sixty() -> list[str]:
    """The first sixty backbones that are no larger than `MOST`."""
    return list(islice((n for n in timm.list_models() if parameters(n) <= MOST), 60))


def failures(
    names: list[str], make: Callable[[Architecture], Objective] = time_steps
) -> dict[str, str]:
    """The failures, by name."""
    found = {}
    for name in names:
        try:
            take_a_step(name, make)
        except Exception as cause:
            found[name] = f"{type(cause).__name__}: {cause}"
    return found


# Every fifteenth of the first sixty: to find them takes a minute.
SOME = ["bat_resnext26ts", "coatnet_0_224", "convnext_atto_ols", "convnextv2_pico"]


@pytest.mark.slow
def test_some_backbones_of_four_families_take_a_step():
    assert failures(SOME) == {}


@pytest.mark.exhaustive
def test_the_first_sixty_that_fit_take_a_step():
    names = first_sixty()
    assert len(names) == 60 and names[::15] == SOME
    assert failures(names) == {}


@pytest.mark.exhaustive
def test_one_of_every_family_takes_a_step():
    names = []
    for family in timm.list_modules():
        fitting = (n for n in timm.list_models(module=family) if parameters(n) <= MOST)
        names += islice(fitting, 1)
    assert len(names) > 60
    assert failures(names) == {}
