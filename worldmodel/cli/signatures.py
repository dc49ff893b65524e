"""The settings that a `_target_` in a configuration takes: the arguments of what it names.

Defaults live in code only. A configuration names choices; the rest is filled in here from the
signatures, and names and plain types are checked before anything is built.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from worldmodel.cli.parsed_signatures import read
from worldmodel.errors import ConfigError, nearest
from worldmodel.storage.plain_types import PLAIN, alternatives, check_value

# Handed to a verb by the command line when its function asks for them.
RUN_KEYS = ("name", "runs_dir", "seed", "device", "threads", "existing", "loggers")
SPECIAL = frozenset({"_target_", "_convert_", "_recursive_", "_partial_", "_args_"})


def parameters(target: str) -> dict[str, inspect.Parameter]:
    """The arguments that a configuration may give to `target`, by name.

    Raises:
        ConfigError: nothing of that name can be found.
    """
    return {
        name: parameter
        for name, parameter in read(target).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_POSITIONAL and name != "run"
    }


def fill_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the plain defaults of every `_target_` written out.

    A setting that is a dataclass needs no `_target_`: it is the one of its argument's annotation.
    """
    filled = dict(settings)
    if "_target_" in settings:
        for name, parameter in parameters(settings["_target_"]).items():
            default, of = parameter.default, dataclass_of(parameter.annotation)
            if of and isinstance(filled.get(name), Mapping):
                filled[name] = {"_target_": of, **filled[name]}
            elif default is None or isinstance(default, (*PLAIN, Mapping)):
                filled.setdefault(name, default)
            elif default is parameter.empty and of and not settings.get("_partial_"):
                filled.setdefault(name, {"_target_": of})
    return {key: _map(value, fill_defaults) for key, value in filled.items()}


def dataclass_of(annotation: Any) -> str | None:
    """The full name of the dataclass that an argument takes, or None."""
    kinds = [kind for kind in alternatives(annotation) or () if isinstance(kind, type)]
    found = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
    return f"{found[0].__module__}.{found[0].__qualname__}" if len(found) == 1 else None


def known_keys(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key that the settings have or their targets accept, with its annotation."""
    accepted = parameters(settings["_target_"]) if "_target_" in settings else {}
    for name in dict.fromkeys((*settings, *accepted)):
        if name in SPECIAL:
            continue
        yield f"{prefix}{name}", accepted[name].annotation if name in accepted else Any
        child = settings.get(name)
        if child is None and name in accepted:
            child = {"_target_": of} if (of := dataclass_of(accepted[name].annotation)) else None
        if isinstance(child, Mapping):
            yield from known_keys(child, f"{prefix}{name}.")


def check(settings: Mapping[str, Any], prefix: str = "") -> None:
    """Refuse unknown, missing and mistyped arguments of every target in the settings.

    Raises:
        ConfigError: names the key, the rule and the nearest or needed value.
    """
    target = settings.get("_target_")
    accepted = parameters(target) if target else {}
    if target:
        for key in settings:
            if key in SPECIAL or key in accepted or (not prefix and key in RUN_KEYS):
                continue
            raise ConfigError(f"{prefix}{key}: {target} has no such setting; "
                              f"{nearest(key, accepted)}")  # fmt: skip
        for name, parameter in accepted.items():
            key = f"{prefix}{name}"
            if name in settings:
                check_value(key, settings[name], parameter.annotation)
            elif parameter.default is parameter.empty and not (
                settings.get("_partial_") or (not prefix and name in RUN_KEYS)
            ):
                raise ConfigError(f"{key} is missing: {target} needs it; add {key}=...")
    for key, value in settings.items():
        _map(value, lambda child, path=f"{prefix}{key}.": check(child, path))  # type: ignore[misc]


def _map(value: Any, change: Callable[[Mapping[str, Any]], Any]) -> Any:
    """`change` applied to the mappings directly in `value`."""
    if isinstance(value, Mapping):
        return change(value)
    if isinstance(value, list):
        return [_map(item, change) for item in value]
    return value
