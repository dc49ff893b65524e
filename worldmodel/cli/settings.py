"""The settings and choices that a verb has, and whether words on the command line fit them.

Names are checked against the configuration files and the source of what they name, without Hydra
and torch, so that a wrong one is answered at once. `compose` then makes settings of the words.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
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
_OVERRIDE = "override "  # before a group in a list of defaults: it chooses for another file
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
    """The groups that a verb chooses from, or that an option of those does, with their options."""
    found: dict[str, tuple[str, ...]] = {}

    def look(name: str) -> None:
        for group, _, _ in _entries(name):
            if group not in found:
                found[group] = _options(group)
                for option in found[group]:
                    look(f"{group}/{option}")

    look(file_of(verb))
    own = {*fill_defaults(written(verb, {})), *found}
    return {
        group: tuple(option for option in options if _suits(group, option, own))
        for group, options in found.items()
    }


def _suits(group: str, option: str, own: Collection[str]) -> bool:
    """False of an option that sets what a verb does not have, as a recipe of another verb does."""
    if not _is_global(group, option):
        return True
    settings = _read(f"{group}/{option}")
    if "_target_" in settings:  # another function, with settings of its own
        return True
    overridden = (
        _group_and_place(next(iter(entry)).removeprefix(_OVERRIDE))[0]
        for entry in settings.pop("defaults", [])
        if isinstance(entry, dict)
    )
    return {*settings, *overridden} <= {*own}


def places(verb: str, chosen: Mapping[str, str | None]) -> dict[str, str]:
    """Where the settings of each group go, under these choices: `masks` to `objective.masks`."""
    found: dict[str, str] = {}
    chosen = {**_overridden(verb, chosen), **chosen}

    def look(name: str, parent: str) -> None:
        for group, place, default in _entries(name):
            found[group] = f"{parent}{place}"
            option = chosen.get(group, default)
            if option is not None and not _is_global(group, option):
                look(f"{group}/{option}", f"{parent}{place}.")

    look(file_of(verb), "")
    return found


def picks(verb: str, words: Sequence[str]) -> dict[str, str | None]:
    """The options that the words choose; the first of those that a sweep goes through.

    Raises:
        ConfigError: there is no such option.
    """
    groups = choices(verb)
    chosen: dict[str, str | None] = {}
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
    used = places(verb, chosen)
    for group in chosen:
        if group not in used:
            raise ConfigError(
                f"{group}={chosen[group]}: nothing that is chosen has {group}; "
                f"of use here are {', '.join(sorted(used))}"
            )
    return chosen


def written(verb: str, chosen: Mapping[str, str | None]) -> dict[str, Any]:
    """The files of a verb and of these choices, merged; `${...}` stays as it is."""
    settings = _compose(file_of(verb), {**_overridden(verb, chosen), **chosen})
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
    return deepcopy(_parsed((_folder() / f"{name}.yaml").read_text(encoding="utf-8")))


@cache
def _parsed(text: str) -> dict[str, Any]:
    # One command looks at most files many times, and a pure Python parser takes its time.
    found = yaml.safe_load(text) or {}
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
            ((key, default),) = entry.items()
            if key.startswith(_OVERRIDE):
                continue
            group, place = _group_and_place(key)
            option = chosen.get(group, default)
            if option is not None:
                found = _compose(f"{group}/{option}", chosen)
                _merge(settings, found if _is_global(group, option) else {place: found})
    return settings


def _entries(name: str) -> Iterator[tuple[str, str, str | None]]:
    """The groups that a file chooses from: each with its place and the option by default."""
    for entry in _read(name).get("defaults", []):
        if isinstance(entry, dict):
            ((key, default),) = entry.items()
            if not key.startswith(_OVERRIDE):
                yield *_group_and_place(key), default


def _overridden(verb: str, chosen: Mapping[str, str | None]) -> dict[str, str | None]:
    """What the chosen options choose of other groups, as a recipe does."""
    found: dict[str, str | None] = {}
    for group, _, default in _entries(file_of(verb)):
        option = chosen.get(group, default)
        for entry in _read(f"{group}/{option}").get("defaults", []) if option else ():
            if isinstance(entry, dict):
                ((key, value),) = entry.items()
                if key.startswith(_OVERRIDE):
                    found[_group_and_place(key.removeprefix(_OVERRIDE))[0]] = value
    return found


def _group_and_place(key: str) -> tuple[str, str]:
    """Of an entry such as `/masks@masks` in a list of defaults."""
    group, _, place = key.removeprefix("/").partition("@")
    return group, place or group


def _options(group: str) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (_folder() / group).glob("*.yaml")))


def _is_global(group: str, option: str) -> bool:
    return (_folder() / group / f"{option}.yaml").read_text().startswith(_GLOBAL)


def _merge(settings: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(settings.get(key), dict):
            _merge(settings[key], value)
        else:
            settings[key] = value
