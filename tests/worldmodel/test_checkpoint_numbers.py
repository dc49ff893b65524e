"""Every number in `model.json` is held against the weights and against what memory can hold."""

import json
import resource

import pytest
import torch

from tests.worldmodel.toys import stirred
from worldmodel.checkpoint import rebuild, save
from worldmodel.errors import CheckpointError
from worldmodel.interop.load import load
from worldmodel.model import PARTS
from worldmodel.nn.encoder import Encoder

# PyTorch warns of layers without numbers, which are refused afterwards.
pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element")

WRONG = [0, -1, 10**12, 1e308, True, "8", None]
VIT = {"name": "VideoViT", "width": 24, "depth": 2, "heads": 2, "patch": 8, "tubelet_frames": 2}
TOKENS = {
    "name": "TokenPredictor", "token_width": 24, "width": 12, "depth": 1, "heads": 2,
    "mask_tokens": 2, "window": 3, "seen": 2, "mlp_width": 20, "norm_eps": 1e-6,
}  # fmt: skip
MODELS = {
    "states": {
        "size": 16, "action_dim": 2, "encoder": VIT, "parts": {
            "head": {"name": "StateHead", "tokens": 4, "token_width": 24, "dim": 8, "extra": 4,
                     "narrow": 4, "hidden": 16},
            "masked_predictor": {"name": "MaskedPredictor", "latents": 1, "seen_width": 12,
                                 "target_width": 8, "width": 16},
            "action_predictor": {"name": "ActionTransformer", "state_dim": 12, "action_dim": 4,
                                 "width": 16, "depth": 1, "heads": 4, "window": 2, "least": 2},
        },
    },
    "frames": {
        "size": 16, "action_dim": 2, "action_block": 3,
        "encoder": {"name": "ConvEncoder", "width": 8, "depth": 2}, "parts": {
            "head": {"name": "StateHead", "tokens": 16, "token_width": 8, "dim": 8, "extra": 0,
                     "narrow": 4, "hidden": 16},
            "action_predictor": {"name": "StateMLP", "state_dim": 8, "action_dim": 6,
                                 "width": 16, "depth": 1, "window": 2},
        },
    },
    "ensemble": {
        "size": 16, "action_dim": 2, "action_block": 1,
        "encoder": {"name": "ConvEncoder", "width": 8, "depth": 2}, "parts": {
            "head": {"name": "StateHead", "tokens": 16, "token_width": 8, "dim": 8, "extra": 0,
                     "narrow": 4, "hidden": 16},
            "action_predictor": {"name": "Ensemble", "state_dim": 8, "action_dim": 2,
                                 "kind": "ActionTransformer", "members": 2, "width": 16, "depth": 1,
                                 "window": 2, "least": 2},
        },
    },
    "rollouts": {
        "size": 16, "action_dim": 2, "encoder": VIT, "parts": {
            "head": {"name": "StateHead", "tokens": 4, "token_width": 24, "dim": 8, "extra": 4,
                     "narrow": 4, "hidden": 16},
            "action_predictor": {"name": "RolloutTransformer", "state_dim": 12, "action_dim": 4,
                                 "width": 24, "depth": 1, "heads": 4, "window": 8, "least": 1},
        },
    },
    "lewm": {
        "size": 16, "action_dim": 2, "action_block": 1,
        "encoder": {"name": "ClassTokenViT", "width": 24, "depth": 2, "heads": 2, "patch": 8,
                    "size": 16, "mlp_width": 40, "norm_eps": 1e-12},
        "parts": {
            "head": {"name": "ClassTokenHead", "token_width": 24, "dim": 12, "hidden": 20},
            "action_predictor": {"name": "LeWMPredictor", "state_dim": 12, "action_dim": 2,
                                 "depth": 1, "heads": 2, "head_width": 8, "mlp_width": 28,
                                 "action_width": 5, "action_hidden": 18, "project_hidden": 22,
                                 "window": 3, "least": 1},
        },
    },
    "latents of tokens": {
        "size": 16, "action_dim": 0, "encoder": VIT, "parts": {
            "head": {"name": "TokenHead", "token_width": 24, "dim": 8, "hidden": 16},
            "masked_predictor": {"name": "MaskedPredictor", "latents": 4, "seen_width": 8,
                                 "target_width": 8, "width": 16},
        },
    },
    "hidden tokens": {
        "size": 16, "action_dim": 0, "encoder": VIT, "parts": {
            "head": {"name": "TokenHead", "token_width": 24, "dim": 8, "hidden": 16},
            "masked_predictor": TOKENS | {"target_width": 8, "rope": "default"},
        },
    },
    "memory, and a name of before": {
        "size": 16, "action_dim": 2, "encoder": VIT, "parts": {
            "head": {"name": "StateHead", "tokens": 4, "token_width": 24, "dim": 8, "extra": 4,
                     "narrow": 4, "hidden": 16},
            "masked_predictor": {"name": "CausalPredictor", "latents": 1, "seen_width": 12,
                                 "target_width": 8, "horizons": [1, 2], "width": 16, "depth": 1,
                                 "heads": 2},
            "action_predictor": {"name": "ActionPredictor", "state_dim": 12, "action_dim": 4,
                                 "width": 16, "depth": 1, "heads": 4, "window": 2},
        },
    },
    "v-jepa 1": {
        "size": 16, "action_dim": 0,
        "encoder": VIT | {"sincos_grid": [2, 2, 2], "mlp_width": 40, "norm_eps": 1e-6},
        "parts": {
            "masked_predictor": TOKENS | {"sincos_grid": [2, 2, 2]},
            "classifier": {"name": "AttentiveClassifier", "width": 24, "classes": 2, "heads": 2,
                           "depth": 1, "norm_eps": 1e-6, "labels": ["falls", "rises"]},
        },
    },
    "v-jepa 2.1, 2-ac": {
        "size": 16, "action_dim": 3, "action_block": 1,
        "encoder": VIT | {"levels": [0, 1], "images": True, "rope": "vjepa2.1"},
        "parts": {
            "masked_predictor": TOKENS | {"levels": 2, "kinds": True, "rope": "vjepa2.1"},
            "head": {"name": "FrameTokens", "grid": [2, 2], "token_width": 24, "proprioception": 2,
                     "told": "joints", "still": True},
            "action_predictor": {
                "name": "FrameActionPredictor", "token_width": 24, "action_dim": 3,
                "proprioception": 2, "width": 12, "depth": 1, "heads": 2, "mlp_width": 20,
                "norm_eps": 1e-6, "window": 2, "least": 1, "motion": "learned",
            },
        },
    },
    "flow": {
        "size": 16, "action_dim": 0, "encoder": VIT, "parts": {
            "flow_head": {"name": "FlowHead", "token_width": 24, "levels": 2, "width": 4,
                          "hidden": 8, "reach": 1},
        },
    },
    "timm": {
        "size": 64, "action_dim": 0, "parts": {},
        "encoder": {"class": "FrameEncoder", "name": "test_vit", "size": 64, "stage": -1,
                    "tubelet_frames": 2, "width": 128},
    },
}  # fmt: skip


def numbers(description, path=()):
    """The path to every number in a description, and its value."""
    items = description.items() if isinstance(description, dict) else enumerate(description)
    for name, value in items:
        if isinstance(value, dict | list):
            yield from numbers(value, (*path, name))
        if type(value) in (int, float) and name != "format_version":
            yield (*path, name), value


def changed(description, path, value):
    copy = json.loads(json.dumps(description))
    inside = copy
    for name in path[:-1]:
        inside = inside[name]
    inside[path[-1]] = value
    return copy


@pytest.mark.parametrize("kind", MODELS)
def test_every_number_is_checked(tmp_path, kind):
    torch.manual_seed(0)
    folder = save(stirred(rebuild(MODELS[kind])), tmp_path)
    file = folder / "model.json"
    written = json.loads(file.read_text())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = []
    for path, right in numbers(written):
        key = [name for name in path if isinstance(name, str)][-1]
        for wrong in WRONG:
            if type(wrong) is type(right) and wrong == right:
                continue
            file.write_text(json.dumps(changed(written, path, wrong)))
            try:
                load(folder)
            except CheckpointError as refusal:
                message = str(refusal)
            else:
                read.append((path, wrong))
                continue
            assert "\n" not in message and str(folder) in message and len(message) < 600
            if wrong in (0, None) and names_weights(message):
                continue  # it may be that in another model
            assert key in message, message
            assert ("null" if wrong is None else f"{wrong}") in message, message
    # A width that is not said is measured.
    assert read == ([(("encoder", "width"), None)] if kind == "timm" else [])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024  # KiB


def names_weights(message):
    return "the two files are not of one model" in message


@pytest.mark.parametrize(
    ("kind", "path", "value", "words"),
    [
        ("states", ("size",), 10**12, "size=1000000000000 takes 1.12e\\+16 GiB, more than the"),
        ("states", ("size",), 24, "size=24 gives 9 tokens in a time step, its weights are for 4"),
        ("latents of tokens", ("size",), 32, "size=32 gives 16 tokens .* weights are for 4"),
        ("v-jepa 1", ("size",), 20, "size=20: 2 frames of 20 x 20 pixels do not divide"),
        ("timm", ("size",), 60, "size=60: timm's test_vit cannot take frames of 60 x 60"),
        ("v-jepa 1", ("parts", "masked_predictor", "window"), 10**9, "window=1000000000 takes"),
        ("v-jepa 1", ("encoder", "sincos_grid"), [2, 10**12, 2], "encoder.sincos_grid=.* takes"),
        ("v-jepa 1", ("encoder", "sincos_grid"), 8, "encoder.sincos_grid=8 must be a list"),
        ("v-jepa 1", ("encoder", "norm_eps"), 1, "encoder.norm_eps=1 must lie between 0 and 1"),
        ("states", ("encoder", "depth"), 10**5, "encoder.depth=100000, but there are 98"),
        ("states", ("parts", "action_predictor", "heads"), 3, "action predictor's width must be"),
        ("v-jepa 1", ("parts", "classifier", "labels"), ["falls", 3], "labels=3 must be text"),
        ("states", ("format_version",), 1, "model format 1, this version reads 2; load it with"),
        ("states", ("format_version",), True, "model format True, this version reads 2"),
    ],
)
def test_each_refusal_says_the_rule(tmp_path, kind, path, value, words):
    torch.manual_seed(0)
    folder = save(rebuild(MODELS[kind]), tmp_path)
    file = folder / "model.json"
    file.write_text(json.dumps(changed(json.loads(file.read_text()), path, value)))
    with pytest.raises(CheckpointError, match=words) as caught:
        load(folder)
    assert str(file) in str(caught.value)


def test_every_class_that_a_description_may_name_is_tried():
    """A part that is added brings its numbers here."""
    named = {
        spec.get("class", spec["name"])
        for model in MODELS.values()
        for spec in (model["encoder"], *model["parts"].values())
    }
    known = [Encoder.registry, *PARTS.values()]
    ours = {name for one in known for name, cls in one.items() if "worldmodel" in cls.__module__}
    assert {name for name in ours if not name.startswith("_")} <= named


def test_a_predictor_of_frames_of_before_says_how_to_make_it_again(tmp_path):
    torch.manual_seed(0)
    folder = save(rebuild(MODELS["v-jepa 2.1, 2-ac"]), tmp_path)
    file = folder / "model.json"
    older = json.loads(file.read_text())
    older["parts"]["frame_predictor"] = older["parts"].pop("action_predictor")
    file.write_text(json.dumps(older))
    with pytest.raises(
        CheckpointError, match="make it again from the .pt file, with worldmodel ex"
    ):
        load(folder)
