"""What a `_target_` in a configuration accepts: read from the signature of what it names.

Defaults live in code only. A configuration names choices; here the rest is filled in from the
signatures, and keys and plain types are checked before anything is built.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hydra.utils import get_object

from worldmodel.errors import ConfigError, nearest
from worldmodel.storage.plain_types import PLAIN, check_value

# Handed to a verb by the command line when its function asks for them.
RUN_KEYS = ("name", "runs_dir", "seed", "device", "threads", "existing")
_SPECIAL = frozenset({"_target_", "_convert_", "_recursive_", "_partial_", "_args_"})


def parameters(target: str) -> dict[str, inspect.Parameter]:
    """The arguments that a configuration may give to `target`, by name.

    Raises:
        ConfigError: nothing of that name can be imported.
    """
    try:
        called: Callable[..., Any] = get_object(target)
    except Exception as cause:  # hydra raises bare Exceptions around the import's own
        raise ConfigError(f"_target_ {target}: cannot be imported ({cause})") from cause
    found = inspect.signature(called).parameters
    return {
        name: parameter
        for name, parameter in found.items()
        if parameter.kind is not inspect.Parameter.VAR_POSITIONAL and name != "run"
    }


def fill_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the plain defaults of every `_target_` written out."""
    filled = dict(settings)
    if "_target_" in settings:
        for name, parameter in parameters(settings["_target_"]).items():
            if parameter.default is None or isinstance(parameter.default, tuple(PLAIN)):
                filled.setdefault(name, parameter.default)
    return {key: _map(value, fill_defaults) for key, value in filled.items()}


def known_keys(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every dotted key that the settings have or their targets accept."""
    names = [key for key in settings if key not in _SPECIAL]
    if "_target_" in settings:
        names += [name for name in parameters(settings["_target_"]) if name not in settings]
    for name in names:
        yield f"{prefix}{name}"
        child = settings.get(name)
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
            if key in _SPECIAL or key in accepted or (not prefix and key in RUN_KEYS):
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
