"""Saving and loading models and training states as safetensors and JSON; no file is executed.

A model is a folder: `model.json` says how to build it, `model.safetensors` holds the weights. A
training state is one safetensors file. Keys are matched strictly; every error names the file.
"""

import inspect
import json
import math
import os
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worldmodel.errors import CheckpointError, ConfigError, ShapeError, WorldModelError, nearest
from worldmodel.model import PARTS, WorldModel
from worldmodel.nn.across_ranks import parted, whole
from worldmodel.nn.encoder import Encoder
from worldmodel.nn.frame_predictor import FrameActionPredictor
from worldmodel.nn.frame_tokens import FrameTokens
from worldmodel.runs.processes import is_first
from worldmodel.storage.files import whole_file
from worldmodel.storage.plain_types import check_value
from worldmodel.storage.tensors import (
    FORMAT_VERSION,
    read_tensors,
    read_tensors_and_header,
    save_tensors,
    write_safetensors,
)

NOT_A_DESCRIPTION = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, OSError,
    ConfigError,
)  # fmt: skip
"""Raised by what does not describe a model: no JSON, wrong keys and types, impossible sizes."""

# Whole numbers in a description are at least 1, but for these.
_LEAST = {
    "extra": 0, "action_dim": 0, "proprioception": 0, "stage": -math.inf, "VideoViT.levels": 0,
    "AttentiveClassifier.depth": 0,
}  # fmt: skip
# No weight has these sizes: they are held against the memory of this machine.
_WITHOUT_WEIGHTS = ("size", "sincos_grid", "masked_predictor.window", "masked_predictor.seen")


def save(model: WorldModel, folder: Path | str) -> Path:
    """Write a model: `model.safetensors` and then `model.json`, each whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / "model.safetensors") as temporary:
        write_safetensors(model.state_dict(), temporary)
    description = {"format_version": FORMAT_VERSION, **model.spec()}
    with whole_file(folder / "model.json") as temporary:
        temporary.write_text(json.dumps(description, indent=1))
    return folder


def load_own(path: Path | str) -> WorldModel:
    """Read a model of this package from its folder, the folder of its run, or its JSON file.

    Raises:
        CheckpointError: there is no model of ours, it is of another version, truncated, or its
            sizes or keys do not fit.
    """
    path = Path(path)
    folder = _own_folder(path)
    if folder is None and path.is_file():
        raise CheckpointError(
            f"{path}: is not a kind of file that is read here; a model is a folder with "
            "model.safetensors and model.json (ours) or config.json (Hugging Face's); a V-JEPA "
            "file ends in .pt, .pth or .tar"
        )
    if folder is None:
        raise CheckpointError(
            f"{path}: holds no model (no model.json of ours, no config.json of Hugging Face's); "
            "name a run folder such as runs/quickstart, let its training finish first, or fetch "
            "the whole folder again"
        )
    weights = folder / "model.safetensors"
    tensors = read_tensors(weights)
    model = _build(folder / "model.json", tensors, weights)
    _fit(tensors, model, weights)
    return model


def placed(model: WorldModel, device: torch.device | str) -> WorldModel:
    """The model ready to use, with its weights on `device`."""
    try:
        return model.to(device).eval()
    except (RuntimeError, AssertionError) as cause:  # PyTorch has several ways of saying so
        reason = str(cause).splitlines()[0]
        raise ConfigError(
            f"device={device}: does not work here ({reason}); try device=cpu"
        ) from cause


def is_own(path: Path) -> bool:
    """True if `path` names a model that this package has written."""
    return _own_folder(path) is not None


def _own_folder(path: Path) -> Path | None:
    """The folder of a model of ours that `path` names; None if it names none."""
    path = path.parent if path.name in ("model.json", "model.safetensors") else path
    folders = (folder for folder in (path, path / "model") if (folder / "model.json").is_file())
    return next(folders, None)


def _build(path: Path, tensors: Mapping[str, Tensor], weights: Path) -> WorldModel:
    """The model that a file describes, once its sizes are found to be those of `tensors`."""
    try:
        description = json.loads(path.read_text())
        version = description["format_version"]
        if type(version) is not int or version != FORMAT_VERSION:
            raise CheckpointError(
                f"{path}: model format {version}, this version reads {FORMAT_VERSION}; "
                "load it with the version that wrote it, or train the model again"
            )
        _check_keys_and_shapes(tensors, outline(description, tensors).state_dict(), weights)
        model = rebuild(description)
        _check_frame_size(model)
        return model
    except NOT_A_DESCRIPTION as cause:
        reason = str(cause) if isinstance(cause, WorldModelError) else repr(cause)
        raise CheckpointError(
            f"{path}: is not the description of a model ({reason[:300]}); train the model again"
        ) from cause


def outline(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> WorldModel:
    """The model without memory: a damaged size must not ask for more than the weights have.

    Raises:
        ConfigError: a size is ruled out by the weights or by this machine's memory; it names the
            key, the value and the rule. Or one of `NOT_A_DESCRIPTION`.
    """
    _check_sizes(description, tensors)
    with torch.device("meta"):
        model = rebuild(description)
    predictor = model.masked_predictor
    for key, part in (("encoder", model.encoder), ("parts.masked_predictor", predictor)):
        if part is not None and (grid := part.spec.get("sincos_grid")):
            _check_memory(f"{key}.sincos_grid", grid, math.prod(grid) * part.spec["width"])
    if predictor is not None and (window := predictor.spec.get("window")):
        frames = window * model.tubelet_frames
        _check_memory("parts.masked_predictor.window", window, frames * 3 * model.size**2)
    return model


def _check_sizes(description: Any, tensors: Mapping[str, Tensor], key: str = "") -> None:
    """Refuse whole numbers that are larger than the weights allow, before anything is built."""
    if isinstance(description, dict):
        for name, value in description.items():
            _check_sizes(value, tensors, f"{key}.{name}".removeprefix("."))
    elif isinstance(description, list):
        for value in description:
            _check_sizes(value, tensors, key)
    elif type(description) is int and not key.endswith(_WITHOUT_WEIGHTS):
        most, what = sum(tensor.numel() for tensor in tensors.values()), "numbers in all weights"
        if key.endswith("depth"):
            most, what = len(tensors), "tensors of weights"
        if description > most:
            raise ConfigError(f"{key}={description}, but there are {most} {what}")


def _check_memory(key: str, value: Any, numbers: int) -> None:
    """Refuse a size that no weight has, where `numbers` of 32 bits take a 32nd of memory.

    They are frames or positions, and a network makes many times as much of them.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 32
    if 4 * numbers > memory:
        raise ConfigError(
            f"{key}={value} takes {4 * numbers / 2**30:.3g} GiB, more than the "
            f"{memory / 2**30:.3g} GiB that are allowed on this machine"
        )


def _check_frame_size(model: WorldModel) -> None:
    """Refuse a size of frames that the encoder cannot cut, or that gives other tokens than trained.

    Raises:
        ConfigError: names the size.
    """
    try:
        _, h, w = model.encoder.grid_of(model.tubelet_frames, model.size, model.size)
    except ShapeError as cause:
        raise ConfigError(f"size={model.size}: {cause}") from cause
    head, predictor = model.head, model.masked_predictor
    trained = [] if head is None else [head.spec.get("tokens", h * w)]
    if isinstance(head, FrameTokens):
        trained = [math.prod(head.grid)]
        _check_token_states(model, head)
    if head is not None and head.per_token and predictor is not None:
        trained.append(predictor.spec.get("latents", h * w))
    for tokens in trained:
        if tokens != h * w:
            raise ConfigError(
                f"size={model.size} gives {h * w} tokens in a time step, its weights are for "
                f"{tokens}"
            )


def _check_token_states(model: WorldModel, head: FrameTokens) -> None:
    """Refuse states of tokens that the encoder does not make or the predictor does not take."""
    acting = model.action_predictor
    takes = {"token_width": {model.encoder.width}, "proprioception": {head.extra}}
    if isinstance(acting, FrameActionPredictor):
        takes["token_width"].add(acting.token_width)
        takes["proprioception"].add(acting.proprioception)
    for name, widths in takes.items():
        said = head.spec[name]
        if widths != {said}:
            other = next(iter(widths - {said}))
            raise ConfigError(f"parts.head.{name}={said}, but another part is made for {other}")


def rebuild(description: Mapping[str, Any]) -> WorldModel:
    """A new model of the same shape, with fresh weights; see `WorldModel.spec`."""
    if "frame_predictor" in description["parts"]:
        raise ConfigError(
            "V-JEPA 2-AC's predictor was another part in earlier versions: make it again from the "
            ".pt file, with worldmodel export"
        )
    encoder = _part(Encoder.registry, description["encoder"], "encoder")
    parts: dict[str, Any] = {
        part: _part(PARTS[_known(part, PARTS)], spec, f"parts.{part}")
        for part, spec in description["parts"].items()
    }
    numbers = {key: description[key] for key in ("size", "action_dim")}
    if "action_block" in description:
        numbers["action_block"] = description["action_block"]
    for name, number in numbers.items():
        _check_argument(name, number, int, least=_LEAST.get(name, 1))
    choices = description.get("action_choices")
    _check_argument("action_choices", choices, Sequence[int] | None, least=1)
    return WorldModel(encoder, **numbers, action_choices=choices, **parts)


def _part(classes: Mapping[str, Callable[..., Any]], spec: Mapping[str, Any], key: str) -> Any:
    """Build what `spec` names; only classes that are listed here can be named."""
    name = "class" if "class" in spec else "name"  # see `WorldModel.spec`
    arguments = {word: value for word, value in spec.items() if word != name}
    built = classes[_known(spec[name], classes)]
    accepted = inspect.signature(built).parameters
    for word, value in arguments.items():
        if word in accepted:  # others are refused by the call
            least = _LEAST.get(f"{spec[name]}.{word}", _LEAST.get(word, 1))
            _check_argument(f"{key}.{word}", value, accepted[word].annotation, least=least)
    if arguments.get("pretrained"):
        raise ConfigError("pretrained is true, but a saved model brings its weights")
    return built(**arguments)


def _check_argument(key: str, value: Any, annotation: Any, *, least: float) -> None:
    """Refuse a value of another type than the argument's, and a number that is out of range.

    Raises:
        ConfigError: names the key, the value and the rule.
    """
    allowed = typing.get_args(annotation) or (annotation,)
    for kind in (annotation, *allowed):
        if value is not None and typing.get_origin(kind) in (list, Sequence):
            if not isinstance(value, list | tuple):
                raise ConfigError(f"{key}={value} must be a list")
            for item in value:
                _check_argument(key, item, typing.get_args(kind)[0], least=least)
            return
    if value is None and type(None) not in allowed:
        raise ConfigError(f"{key} is null, which it must not be")
    check_value(key, value, annotation)
    if key.rpartition(".")[2] == "size" and value is not None:
        _check_memory(key, value, 3 * value**2)
    if type(value) is int and int in allowed and value < least:
        raise ConfigError(f"{key}={value} must be at least {least}")
    if key.endswith(".norm_eps") and not 0 < value < 1:
        raise ConfigError(f"{key}={value} must lie between 0 and 1")


def _known(name: str, choices: Iterable[str]) -> str:
    if name not in set(choices):
        raise ConfigError(f"it names '{name}', unknown here; {nearest(name, choices)}")
    return name


def _fit(tensors: Mapping[str, Tensor], module: nn.Module, path: Path) -> None:
    """Copy the tensors into the module; every key must fit and every weight must have one."""
    fresh = module.state_dict()
    _check_keys_and_shapes(tensors, fresh, path)
    for name, tensor in tensors.items():
        place = fresh[name]
        placed = tensor.to(place.dtype)  # finite float64 may be infinite as float32
        if not placed.is_floating_point() or placed.isfinite().all():
            continue
        # The limits of a clamp are infinite in a new model too, and stay so.
        if not (placed.isfinite() | (placed == whole(place).to(placed.device))).all():
            raise CheckpointError(f"{path}: {name} holds NaN or infinite weights; train again")
    module.load_state_dict({k: parted(v, fresh[k]) for k, v in tensors.items()}, strict=True)


def _check_keys_and_shapes(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path
) -> None:  # fmt: skip
    """Refuse tensors whose names, types or shapes differ from those in `expected`."""
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys())
    if missing or extra:
        raise CheckpointError(
            f"{path}: does not fit its model: {len(missing)} keys missing {missing[:3]}, "
            f"{len(extra)} left over {extra[:3]}; the two files are not of one model"
        )
    for name, place in expected.items():
        kinds = [t.dtype if not t.is_floating_point() else float for t in (tensors[name], place)]
        if kinds[0] != kinds[1]:
            raise CheckpointError(
                f"{path}: {name} holds {tensors[name].dtype}, the model needs {place.dtype}; it "
                "was changed since it was saved: fetch or train it again"
            )
        if place.shape != tensors[name].shape:
            raise CheckpointError(
                f"{path}: {name} has shape {tuple(tensors[name].shape)}, the model needs "
                f"{tuple(place.shape)}; the two files are not of one model"
            )


@dataclass(frozen=True)
class TrainingPosition:
    """How far a training has come."""

    step: int = 0  # the next one
    elapsed: float = 0.0  # seconds spent so far
    skipped: int = 0  # steps so far that changed nothing, for want of a finite gradient
    skipped_in_a_row: int = 0  # of them, the last ones

    def after(self, *, skipped: bool) -> "TrainingPosition":
        """The position after one more step."""
        return TrainingPosition(
            self.step + 1, self.elapsed, self.skipped + skipped,
            self.skipped_in_a_row + 1 if skipped else 0,
        )  # fmt: skip


def save_training(
    path: Path, *, modules: nn.Module, optimiser: torch.optim.Optimizer, position: TrainingPosition
) -> None:
    """Write what a training needs to resume: weights, the optimiser's moments, the position.

    Several processes call this together, and the first one writes. Tensors are whole in the file,
    so that any number of processes goes on from it; PyTorch's distributed checkpoints are not used,
    because reading one unpickles its list of contents.
    """
    tensors = {f"weights.{name}": value for name, value in modules.state_dict().items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
    for name, value in tensors.items():  # one after the other: nobody but the first keeps them
        tensor = whole(value)
        tensors[name] = tensor.cpu() if is_first() else value
    if is_first():
        save_tensors(tensors, {name: repr(x) for name, x in asdict(position).items()}, path)


def load_training(
    path: Path, *, modules: nn.Module, optimiser: torch.optim.Optimizer
) -> TrainingPosition:
    """Restore a training state; returns the position that it was saved at.

    Raises:
        CheckpointError: the file is truncated or belongs to another model.
    """
    tensors, header = read_tensors_and_header(path)
    if header.get("format_version") != str(FORMAT_VERSION):
        raise CheckpointError(
            f"{path}: training state of format {header.get('format_version')}, this version reads "
            f"{FORMAT_VERSION}; remove it to train from the start"
        )
    weights = {k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights")}
    _fit(weights, modules, path)
    state: dict[int, dict[str, Tensor]] = {}
    try:
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, moment = name.split(".")
                state.setdefault(int(index), {})[moment] = value
        position = TrainingPosition(
            int(header["step"]), float(header["elapsed"]), int(header["skipped"]),
            int(header["skipped_in_a_row"]),
        )  # fmt: skip
    except (KeyError, ValueError) as cause:
        raise CheckpointError(
            f"{path}: is not a training state ({cause!r}); remove it to train from the start"
        ) from cause
    _check_moments(state, optimiser, path)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for number, values in state.items():
        for name, value in values.items():
            values[name] = value if name == "step" else parted(value, parameters[number])
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
    return position


def _check_moments(
    state: dict[int, dict[str, Tensor]], optimiser: torch.optim.Optimizer, path: Path
) -> None:
    """Refuse moments of other parameters; a parameter that no loss uses has none."""
    shapes = [p.shape for group in optimiser.param_groups for p in group["params"]]
    names = set().union(*state.values())
    if not all(
        index < len(shapes)
        and set(moments) == names
        and all(value.shape == shapes[index] for k, value in moments.items() if k != "step")
        for index, moments in state.items()
    ):
        raise CheckpointError(
            f"{path}: the optimiser's state is not that of this model; remove it to train from "
            "the start"
        )
