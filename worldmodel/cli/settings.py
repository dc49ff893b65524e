"""The settings and choices that a verb has, and whether words on the command line fit them.

Names are checked against the configuration files and the source of what they name, without Hydra
and torch, so that a wrong one is answered at once. `compose` then makes settings of the words.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from worldmodel.cli.parsed_signatures import locate
from worldmodel.cli.signatures import SPECIAL, check, fill_defaults, known_keys
from worldmodel.errors import ConfigError, nearest
from worldmodel.storage.plain_types import check_value

CONFIGS = "worldmodel.configs"
_NOT_PLAIN = object()
_WORDS = ("true", "false", "null", "inf", "nan")  # that are no names in Hydra's grammar
_GLOBAL = "# @package _global_"  # first line of a choice that sets keys of the verb itself


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings that the verb or what it builds cannot take."""
    check(settings)
    if "seed" not in settings:
        return  # a verb that makes no run
    name = settings["name"]
    if not name or name[0] == "." or "/" in name or "\\" in name or "${" in name:
        raise ConfigError(
            f"name={name}: names a folder in runs_dir; take letters, digits, - and _ (a sweep adds "
            "the values of each run by itself)"
        )
    if settings["existing"] not in ("resume", "replace", "redo"):
        raise ConfigError(f"existing={settings['existing']}: say resume, replace or redo")
    if type(settings["seed"]) is not int or not 0 <= settings["seed"] < 2**31:
        raise ConfigError(f"seed={settings['seed']} must be a whole number from 0 to 2**31 - 1")


def check_words(verb: str, words: Sequence[str]) -> None:
    """Refuse `key=value` words whose key or choice does not exist, or whose value is no fit.

    Values that are not a plain number or name are left to Hydra's grammar.

    Raises:
        ConfigError: names the word and what was probably meant.
    """
    options = choices(verb)
    settings = fill_defaults(written(verb, picks(verb, words)))
    known = dict(known_keys(settings))
    for word in words:
        key, _, value = word.partition("=")
        if key.lstrip("+~") in options:
            continue
        if key in known:
            plain = _plain_value(value)
            if plain is not _NOT_PLAIN:
                check_value(key, plain, known[key])
        elif not key.startswith(("+", "~", "hydra")) and not _takes_any_key(key, settings, known):
            hint = nearest(key, {*known, *options}, listed_by=f"worldmodel {verb} --help")
            raise ConfigError(f"{word}: there is no setting '{key}'; {hint}")


def file_of(verb: str) -> str:
    """The name of a verb's configuration: data_check.yaml is that of `data check`."""
    return verb.replace(" ", "_")


def groups() -> set[str]:
    """The folders of configurations."""
    return {path.parent.name for path in _folder().glob("*/*.yaml")}


def choices(verb: str) -> dict[str, tuple[str, ...]]:
    """The groups that a verb chooses from, each with its options."""
    entries = [entry for entry in _read(file_of(verb)).get("defaults", []) if entry != "_self_"]
    return {
        name: tuple(sorted(path.stem for path in (_folder() / name).glob("*.yaml")))
        for entry in entries if isinstance(entry, dict) for name in entry
    }  # fmt: skip


def picks(verb: str, words: Sequence[str]) -> dict[str, str | None]:
    """The options that the words choose; the first of those that a sweep goes through.

    Raises:
        ConfigError: there is no such option.
    """
    groups, chosen = choices(verb), {}
    for word in words:
        key, _, value = word.partition("=")
        group = key.lstrip("+~")
        if group not in groups:
            continue
        options = [] if key.startswith("~") else _several(value)
        for option in options:
            if option not in (*groups[group], "null"):
                hint = nearest(option, groups[group])
                raise ConfigError(f"{word}: there is no {group} '{option}'; {hint}")
        chosen[group] = next((option for option in options[:1] if option != "null"), None)
    return chosen


def written(verb: str, chosen: Mapping[str, str | None]) -> dict[str, Any]:
    """The files of a verb and of these choices, merged; `${...}` stays as it is."""
    settings = _compose(file_of(verb), chosen)
    settings.pop("hydra", None)
    return settings


def dotted(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every key of nested mappings."""
    for key, value in settings.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{key}.")


def quoted(text: str) -> str:
    """Any text as a value in Hydra's grammar."""
    escaped = re.sub(
        r"(\\*)('|\Z)", lambda found: found[1] * 2 + found[2].replace("'", r"\'"), text
    )
    return f"'{escaped}'"


def _several(value: str) -> list[str]:
    value = value.removeprefix("choice(").removesuffix(")")
    return [part.strip().strip("'\"") for part in value.split(",")]


def _plain_value(text: str) -> Any:
    """A number or a name as Hydra's grammar reads it; `_NOT_PLAIN` where more is to be read."""
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"[+-]?[1-9]\d*|0", text):
        return int(text)
    if re.fullmatch(r"[+-]?\d+\.\d+", text):
        return float(text)
    is_name = re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII)
    return text if is_name and text.lower() not in _WORDS else _NOT_PLAIN


def _takes_any_key(key: str, settings: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """True if `key` is inside a mapping of no target, or inside what is unset and may be one."""
    if key.rpartition(".")[2] in SPECIAL:
        return True
    parent = key.rpartition(".")[0]
    while parent and parent not in known:
        parent = parent.rpartition(".")[0]
    if not parent:
        return False
    value: Any = settings
    for word in parent.split("."):
        value = value.get(word) if isinstance(value, Mapping) else None
    if value is None:
        return not any(other.startswith(f"{parent}.") for other in known)
    return isinstance(value, Mapping) and "_target_" not in value


@cache
def _folder_of(configs: str) -> Path:
    spec = locate(configs)
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def _folder() -> Path:
    return _folder_of(CONFIGS)


def _read(name: str) -> dict[str, Any]:
    found = yaml.safe_load((_folder() / f"{name}.yaml").read_text(encoding="utf-8")) or {}
    assert isinstance(found, dict)
    return found


def _compose(name: str, chosen: Mapping[str, str | None]) -> dict[str, Any]:
    own = _read(name)
    settings: dict[str, Any] = {}
    for entry in own.pop("defaults", ["_self_"]):
        if entry == "_self_":
            _merge(settings, own)
        elif isinstance(entry, str):
            _merge(settings, _compose(entry, chosen))
        else:
            ((group, default),) = entry.items()
            option = chosen.get(group, default)
            if option is not None:
                is_global = (_folder() / group / f"{option}.yaml").read_text().startswith(_GLOBAL)
                found = _read(f"{group}/{option}")
                _merge(settings, found if is_global else {group: found})
    return settings


def _merge(settings: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(settings.get(key), dict):
            _merge(settings[key], value)
        else:
            settings[key] = value
