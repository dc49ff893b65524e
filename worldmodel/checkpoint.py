"""Saving and loading, without ever executing what a file says: safetensors and JSON.

A model is a folder: `model.json` says how to build it, `model.safetensors` holds the weights. A
training state is one safetensors file. Keys are matched strictly; every error names the file.
"""

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from worldmodel.errors import CheckpointError, ConfigError, nearest
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

# What text that is no description of a model ends in: no JSON, wrong keys and types, sizes that
# nothing can be built with.
_NOT_A_DESCRIPTION = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, OSError,
    ConfigError,
)  # fmt: skip


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


def load_own(path: Path | str, *, device: torch.device | str = "cpu") -> WorldModel:
    """Read a model of this package from its folder, the folder of its run, or its JSON file.

    Args:
        path: for example `runs/quickstart`.
        device: where the weights go.

    Returns:
        The model, ready to use (evaluation mode).

    Raises:
        CheckpointError: there is no model of ours, it is of another version, truncated, or its
            keys do not fit.
        ConfigError: there is no such device here.
    """
    path = Path(path)
    folder = _own_folder(path) or _no_model(path)
    weights = folder / "model.safetensors"
    tensors = read_tensors(weights)
    model = _build(folder / "model.json", tensors, weights)
    _fit(tensors, model, weights)
    return placed(model, device)


def placed(model: WorldModel, device: torch.device | str) -> WorldModel:
    """The model ready to use, where its weights shall be."""
    try:
        return model.to(device).eval()
    except (RuntimeError, AssertionError) as cause:  # PyTorch has several ways of saying so
        reason = str(cause).splitlines()[0]
        raise ConfigError(
            f"device={device}: does not work here ({reason}); try device=cpu"
        ) from cause


def is_own(path: Path) -> bool:
    """Whether `path` names a model that this package has written."""
    return _own_folder(path) is not None


def _own_folder(path: Path) -> Path | None:
    """The folder of a model of ours that `path` names; None if it names none."""
    path = path.parent if path.name in ("model.json", "model.safetensors") else path
    folders = (folder for folder in (path, path / "model") if (folder / "model.json").is_file())
    return next(folders, None)


def _no_model(path: Path) -> NoReturn:
    if path.is_file():
        raise CheckpointError(
            f"{path}: is a file of no kind that is read here; a model is a folder with "
            "model.safetensors and model.json (ours) or config.json (Hugging Face's); a V-JEPA "
            "file ends in .pt, .pth or .tar"
        )
    raise CheckpointError(
        f"{path}: holds no model (no model.json of ours, no config.json of Hugging Face's); name a "
        "run folder such as runs/quickstart, let its training finish first, or fetch the whole "
        "folder again"
    )


def _build(path: Path, tensors: Mapping[str, Tensor], weights: Path) -> WorldModel:
    """The model that a file describes, after its sizes have been found to be those of `tensors`.

    Built without memory first: a damaged number must not ask for more than the weights have.
    """
    try:
        description = json.loads(path.read_text(), parse_constant=_no_number)
        version = description["format_version"]
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{path}: model format {version}, this version reads {FORMAT_VERSION}; "
                "load it with the version that wrote it"
            )
        if any(depth > len(tensors) for depth in _depths(description)):
            raise ValueError("more blocks than there are weights")
        with torch.device("meta"):
            _check_places(tensors, rebuild(description, path).state_dict(), weights)
        return rebuild(description, path)
    except _NOT_A_DESCRIPTION as cause:
        raise CheckpointError(
            f"{path}: is not the description of a model ({_brief(cause)}); train the model again"
        ) from cause


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _depths(description: Any) -> Iterator[int]:
    """Every `depth` in a description, however deep inside."""
    if isinstance(description, dict):
        for name, value in description.items():
            yield from [value] if name == "depth" else _depths(value)


def _brief(cause: BaseException) -> str:
    text = " ".join(repr(cause).split())
    return text if len(text) < 200 else f"{text[:200]}..."


def rebuild(description: Mapping[str, Any], path: Path | str = "model") -> WorldModel:
    """A new model of the same shape, with the weights it is born with; see `WorldModel.spec`."""
    parts: dict[str, Any] = {}
    for part, spec in description["parts"].items():
        parts[part] = _part(PARTS[_known(part, PARTS, path)], spec, path)
    encoder = _part(Encoder.registry, description["encoder"], path)
    size, action_dim = description["size"], description["action_dim"]
    for name, number, least in (("size", size, 1), ("action_dim", action_dim, 0)):
        check_value(name, number, int)
        if number < least:
            raise ConfigError(f"{name} must be at least {least}, got {number}")
    return WorldModel(encoder, size=size, action_dim=action_dim, **parts)


def _part(
    classes: Mapping[str, Callable[..., Any]], spec: Mapping[str, Any], path: Path | str
) -> Any:
    """Build what `spec` names; only classes that are listed here can be named."""
    key = "class" if "class" in spec else "name"  # see `WorldModel.spec`
    arguments = {word: value for word, value in spec.items() if word != key}
    built = classes[_known(spec[key], classes, path)]
    accepted = inspect.signature(built).parameters
    for word, value in arguments.items():
        if word in accepted:  # what is not is refused by the call
            check_value(word, value, accepted[word].annotation)
    if arguments.get("pretrained"):
        raise ConfigError("pretrained is true, but a saved model brings its weights")
    return built(**arguments)


def _known(name: str, choices: Iterable[str], path: Path | str) -> str:
    if name not in set(choices):
        raise CheckpointError(f"{path}: names '{name}', unknown here; {nearest(name, choices)}")
    return name


def _fit(tensors: Mapping[str, Tensor], module: nn.Module, path: Path) -> None:
    """Put the tensors into the module; each key must have its place and each place its key."""
    born = module.state_dict()
    _check_places(tensors, born, path)
    for name, tensor in tensors.items():
        place = born[name]
        placed = tensor.to(place)  # what is finite as float64 need not be so as float32
        # Limits of a clamp are infinite in a new model already, and stay so.
        if placed.is_floating_point() and not (placed.isfinite() | (placed == place)).all():
            raise CheckpointError(f"{path}: {name} holds NaN or infinite weights; train again")
    module.load_state_dict(tensors, strict=True)


def _check_places(
    tensors: Mapping[str, Tensor], places: Mapping[str, Tensor], path: Path
) -> None:  # fmt: skip
    """Refuse tensors that are not those of the places, by name and shape."""
    missing, extra = sorted(places.keys() - tensors.keys()), sorted(tensors.keys() - places.keys())
    if missing or extra:
        raise CheckpointError(
            f"{path}: does not fit its model: {len(missing)} keys missing {missing[:3]}, "
            f"{len(extra)} left over {extra[:3]}; the two files are not of one model"
        )
    for name, place in places.items():
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
    """Write what a training needs to go on: weights, the optimiser's moments, the step."""
    tensors = {f"weights.{name}": value for name, value in modules.state_dict().items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
    save_tensors(tensors, {"step": str(step), "elapsed": repr(elapsed)}, path)


def load_training(
    path: Path, *, modules: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[int, float]:
    """Put a training state back; returns the step to go on with and the seconds spent so far.

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
    """Moments are those of parameters that there are; what is not used in a loss has none."""
    shapes = [p.shape for group in optimiser.param_groups for p in group["params"]]
    names = set().union(*state.values())
    whole = all(
        index < len(shapes)
        and set(moments) == names
        and all(value.shape == shapes[index] for k, value in moments.items() if k != "step")
        for index, moments in state.items()
    )
    if not whole:
        raise CheckpointError(
            f"{path}: the optimiser's state is not that of this model; remove it to train from "
            "the start"
        )
