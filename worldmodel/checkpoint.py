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
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from worldmodel.errors import CheckpointError, ConfigError, ShapeError, WorldModelError, nearest
from worldmodel.model import PARTS, WorldModel
from worldmodel.nn.encoder import Encoder
from worldmodel.storage.files import whole_file
from worldmodel.storage.plain_types import check_value
from worldmodel.storage.tensors import (
    FORMAT_VERSION,
    read_tensors,
    read_tensors_and_header,
    save_tensors,
    write_safetensors,
)

# Raised by text that does not describe a model: no JSON, wrong keys and types, sizes that nothing
# can be built with.
_NOT_A_DESCRIPTION = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, OSError,
    ConfigError,
)  # fmt: skip
# Whole numbers in a description are at least 1, but for these.
_LEAST = {
    "extra": 0, "action_dim": 0, "stage": -math.inf, "VideoViT.levels": 0,
    "AttentiveClassifier.depth": 0,
}  # fmt: skip
# No weight has these sizes: they are held against the memory of this machine.
_WITHOUT_WEIGHTS = (
    "size", "encoder.size", "encoder.sincos_grid", "parts.masked_predictor.sincos_grid",
    "parts.masked_predictor.window", "parts.masked_predictor.seen",
)  # fmt: skip
# A frame may take this share of memory: a network makes more of it.
_SHARE = 1 / 32


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
    folder = _own_folder(path) or _no_model(path)
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


def _no_model(path: Path) -> NoReturn:
    if path.is_file():
        raise CheckpointError(
            f"{path}: is not a kind of file that is read here; a model is a folder with "
            "model.safetensors and model.json (ours) or config.json (Hugging Face's); a V-JEPA "
            "file ends in .pt, .pth or .tar"
        )
    raise CheckpointError(
        f"{path}: holds no model (no model.json of ours, no config.json of Hugging Face's); name a "
        "run folder such as runs/quickstart, let its training finish first, or fetch the whole "
        "folder again"
    )


def _build(path: Path, tensors: Mapping[str, Tensor], weights: Path) -> WorldModel:
    """The model that a file describes, once its sizes are found to be those of `tensors`.

    Built without memory first: a damaged number must not ask for more than the weights have.
    """
    try:
        description = json.loads(path.read_text())
        version = description["format_version"]
        if type(version) is not int or version != FORMAT_VERSION:
            raise CheckpointError(
                f"{path}: model format {version}, this version reads {FORMAT_VERSION}; "
                "load it with the version that wrote it, or train the model again"
            )
        check_sizes(description, tensors)
        with torch.device("meta"):
            outline = rebuild(description, path)
        check_windows(outline)
        _check_keys_and_shapes(tensors, outline.state_dict(), weights)
        model = rebuild(description, path)
        _check_frame_size(model)
        return model
    except _NOT_A_DESCRIPTION as cause:
        raise CheckpointError(
            f"{path}: is not the description of a model ({_brief(cause)}); train the model again"
        ) from cause


def check_sizes(description: Any, tensors: Mapping[str, Tensor], key: str = "") -> None:
    """Refuse whole numbers in a description that its weights or this machine's memory rule out.

    Raises:
        ConfigError: names the key, the value and the rule.
    """
    inside: Iterable[tuple[Any, Any]] = ()
    if isinstance(description, dict):
        inside = ((f"{key}.{name}".removeprefix("."), x) for name, x in description.items())
    elif isinstance(description, list):
        inside = ((key, x) for x in description)
    for name, value in inside:
        check_sizes(value, tensors, name)
    if type(description) is not int:
        return
    if key in ("size", "encoder.size"):
        _check_memory(key, description, 3 * description**2, share=_SHARE)
    if key in _WITHOUT_WEIGHTS:
        return
    if key.endswith("depth") and description > len(tensors):
        raise ConfigError(f"{key}={description}, but there are {len(tensors)} tensors of weights")
    numbers = sum(tensor.numel() for tensor in tensors.values())
    if description > numbers:
        raise ConfigError(f"{key}={description}, but the weights are {numbers} numbers in all")


def _check_memory(key: str, value: Any, numbers: int, *, share: float = 1.0) -> None:
    """Refuse a size that no weight has, where this machine cannot hold what it asks for.

    Args:
        key: of the size, for the message.
        value: of the size, for the message.
        numbers: of 32 bits, that the size asks for.
        share: of this machine's memory that they may take.
    """
    memory = share * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if 4 * numbers > memory:
        raise ConfigError(
            f"{key}={value} takes {4 * numbers / 2**30:.3g} GiB, more than the "
            f"{memory / 2**30:.3g} GiB that are allowed on this machine"
        )


def check_windows(model: WorldModel) -> None:
    """Refuse windows and grids of positions that this machine cannot hold; see `check_sizes`."""
    encoder, predictor = model.encoder, model.masked_predictor
    for key, part in (("encoder", encoder), ("parts.masked_predictor", predictor)):
        if part is not None and (grid := part.spec.get("sincos_grid")):
            _check_memory(f"{key}.sincos_grid", grid, math.prod(grid) * part.spec["width"])
    window = 0 if predictor is None else predictor.spec.get("window", 0)
    frames = window * model.tubelet_frames
    _check_memory("parts.masked_predictor.window", window, frames * 3 * model.size**2)


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
    if head is not None and head.per_token and predictor is not None:
        trained.append(predictor.spec.get("latents", h * w))
    for tokens in trained:
        if tokens != h * w:
            raise ConfigError(
                f"size={model.size} gives {h * w} tokens in a time step, its weights are for "
                f"{tokens}"
            )


def _brief(cause: BaseException) -> str:
    text = str(cause) if isinstance(cause, WorldModelError) else " ".join(repr(cause).split())
    return text if len(text) < 300 else f"{text[:300]}..."


def rebuild(description: Mapping[str, Any], path: Path | str = "model") -> WorldModel:
    """A new model of the same shape, with fresh weights; see `WorldModel.spec`."""
    parts: dict[str, Any] = {}
    for part, spec in description["parts"].items():
        parts[part] = _part(PARTS[_known(part, PARTS, path)], spec, path, f"parts.{part}")
    encoder = _part(Encoder.registry, description["encoder"], path, "encoder")
    size, action_dim = description["size"], description["action_dim"]
    for name, number in (("size", size), ("action_dim", action_dim)):
        _check_argument(name, number, int, least=_LEAST.get(name, 1))
    return WorldModel(encoder, size=size, action_dim=action_dim, **parts)


def _part(
    classes: Mapping[str, Callable[..., Any]], spec: Mapping[str, Any], path: Path | str, key: str
) -> Any:
    """Build what `spec` names; only classes that are listed here can be named."""
    name = "class" if "class" in spec else "name"  # see `WorldModel.spec`
    arguments = {word: value for word, value in spec.items() if word != name}
    built = classes[_known(spec[name], classes, path)]
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
    if type(value) is int and int in allowed and value < least:
        raise ConfigError(f"{key}={value} must be at least {least}")
    if float in allowed and not abs(value) <= torch.finfo(torch.float32).max:
        raise ConfigError(f"{key}={value} must be finite as a number of 32 bits")
    if key.endswith(".norm_eps") and not 0 < value < 1:
        raise ConfigError(f"{key}={value} must lie between 0 and 1")


def _known(name: str, choices: Iterable[str], path: Path | str) -> str:
    if name not in set(choices):
        raise CheckpointError(f"{path}: names '{name}', unknown here; {nearest(name, choices)}")
    return name


def _fit(tensors: Mapping[str, Tensor], module: nn.Module, path: Path) -> None:
    """Copy the tensors into the module; every key must fit and every weight must have one."""
    fresh = module.state_dict()
    _check_keys_and_shapes(tensors, fresh, path)
    for name, tensor in tensors.items():
        place = fresh[name]
        placed = tensor.to(place)  # finite float64 may be infinite as float32
        # The limits of a clamp are infinite in a new model too, and stay so.
        if placed.is_floating_point() and not (placed.isfinite() | (placed == place)).all():
            raise CheckpointError(f"{path}: {name} holds NaN or infinite weights; train again")
    module.load_state_dict(tensors, strict=True)


def _check_keys_and_shapes(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path
) -> None:  # fmt: skip
    """Refuse tensors whose names, types or shapes differ from those in `expected`."""
    missing, extra = (
        sorted(expected.keys() - tensors.keys()),
        sorted(tensors.keys() - expected.keys()),
    )
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


def save_training(
    path: Path, *, modules: nn.Module, optimiser: torch.optim.Optimizer, step: int, elapsed: float
) -> None:
    """Write what a training needs to resume: weights, the optimiser's moments, the step."""
    tensors = {f"weights.{name}": value for name, value in modules.state_dict().items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
    save_tensors(tensors, {"step": str(step), "elapsed": repr(elapsed)}, path)


def load_training(
    path: Path, *, modules: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[int, float]:
    """Restore a training state; returns the next step and the seconds spent so far.

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
        step, elapsed = int(header["step"]), float(header["elapsed"])
    except (KeyError, ValueError) as cause:
        raise CheckpointError(
            f"{path}: is not a training state ({cause!r}); remove it to train from the start"
        ) from cause
    _check_moments(state, optimiser, path)
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
    return step, elapsed


def _check_moments(
    state: dict[int, dict[str, Tensor]], optimiser: torch.optim.Optimizer, path: Path
) -> None:
    """Refuse moments of other parameters; a parameter that no loss uses has none."""
    shapes = [p.shape for group in optimiser.param_groups for p in group["params"]]
    names = set().union(*state.values())
    valid = all(
        index < len(shapes)
        and set(moments) == names
        and all(value.shape == shapes[index] for k, value in moments.items() if k != "step")
        for index, moments in state.items()
    )
    if not valid:
        raise CheckpointError(
            f"{path}: the optimiser's state is not that of this model; remove it to train from "
            "the start"
        )
