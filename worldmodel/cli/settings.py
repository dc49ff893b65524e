"""From words on the command line to plain settings: Hydra underneath, our errors on top.

Knows which keys exist and suggests the nearest one. Builds nothing and runs nothing.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from worldmodel.cli.signatures import check, fill_defaults, known_keys
from worldmodel.errors import ConfigError, nearest

CONFIGS = "worldmodel.configs"
_WRAP = "_value_"


def settle(verb: str, overrides: Sequence[str], *, checked: bool = True) -> dict[str, Any]:
    """The settings of a verb: its configuration, the overrides, and defaults from code.

    Args:
        verb: Names `configs/<verb>.yaml`.
        overrides: `key=value` words in Hydra's grammar.
        checked: Whether something missing or mistyped is an error.

    Raises:
        ConfigError: an unknown key or choice, a value of the wrong type, or bad grammar.
    """
    settings = plain(_compose(verb, translate(verb, overrides)))
    if checked:
        check_settings(settings)
    return settings


def check_settings(settings: dict[str, Any]) -> None:
    """Refuse settings that the verb or what it builds cannot take."""
    check(settings)
    if "seed" not in settings:
        return  # a verb that makes no run
    name = settings["name"]
    if not name or name[0] == "." or "/" in name or "\\" in name:
        raise ConfigError(f"name={name}: names a folder in runs_dir; take letters, digits, - and _")
    if settings["existing"] not in ("resume", "replace", "redo"):
        raise ConfigError(f"existing={settings['existing']}: say resume, replace or redo")
    if type(settings["seed"]) is not int or not 0 <= settings["seed"] < 2**31:
        raise ConfigError(f"seed={settings['seed']} must be a whole number from 0 to 2**31 - 1")


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as nested plain values, with the defaults of its targets filled in."""
    try:
        settings = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as cause:
        raise ConfigError(_first_line(cause)) from cause
    assert isinstance(settings, dict)
    settings.pop("hydra", None)
    filled = fill_defaults({str(key): _unwrap(value) for key, value in settings.items()})
    return filled | {key: str(filled[key]) for key in ("name", "runs_dir") if key in filled}


def translate(verb: str, overrides: Sequence[str], *, sweep: bool = False) -> list[str]:
    """The overrides as Hydra takes them, each checked for a key and a choice that exist.

    A key that only the target's signature has becomes an addition (`++key=value`). A plain key
    that is called like a folder of configurations is wrapped, so that Hydra does not look there.
    Several values for a key are an error without `sweep`.
    """
    parsed = [_parse(word) for word in overrides]
    for item in parsed:
        if item.is_sweep_override() and not sweep:
            key, value = str(item.input_line).split("=", 1)
            raise ConfigError(
                f"{key}={value}: is several values, one for each run of a sweep; say --multirun, "
                f'{key}=[{value}] for a list, or quote a text: "{key}={quoted(value)}"'
            )
    groups = choices(verb)
    picks = [item for item in parsed if item.key_or_group in groups]
    for item in picks:
        _check_choices(item, groups)
    # A sweep's jobs are composed one at a time by Hydra; the first choice stands for its keys.
    first = [f"{item.get_key_element()}={_values(item)[0]}" for item in picks]
    config = _compose(verb, first)
    written = set(_dotted(config))
    settled = plain(config)
    known = written | set(known_keys(settled))
    folders = set(_options("", folders=True))
    return [
        item.input_line or ""
        if item in picks or item.is_delete() or item.is_add() or item.is_hydra_override()
        else _translate_key(
            item,
            written=written,
            known=known | set(groups) | _inside_free(item.key_or_group, settled, known),
            folders=folders,
        )
        for item in parsed
    ]


def quoted(text: str) -> str:
    """Any text as a value in Hydra's grammar."""
    return str(QuotedString(text, Quote.single).with_quotes())


def _parse(word: str) -> Override:
    """A `key=value` word; what Hydra's grammar has no place for, such as é, ( or #, is text."""
    parser = OverridesParser.create()
    try:
        return parser.parse_overrides([word])[0]
    except HydraException as cause:
        key, _, value = word.partition("=")
        # What looks like a list, a mapping, a sweep or a quoted text may be meant as one.
        if value and "," not in value and value[0] not in "[{'\"":
            with suppress(HydraException):
                return parser.parse_overrides([f"{key}={quoted(value)}"])[0]
        raise ConfigError(
            f'cannot read {word}; quote a text with such letters: "{key}={quoted(value)}"'
        ) from cause


def swept_keys(overrides: Sequence[str]) -> set[str]:
    """The keys that are given more than one value."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return {item.key_or_group for item in parsed if item.is_sweep_override()}


def choices(verb: str) -> dict[str, tuple[str, ...]]:
    """The groups that a verb chooses from, each with its options."""
    picked = _compose(verb, [], hydra=True).hydra.runtime.choices
    names = [str(name) for name in picked if not str(name).startswith("hydra/")]
    # A group may be placed elsewhere (`group@place`); its files are in the folder `group`.
    groups = {name: tuple(_options(name.split("@")[0])) for name in names}
    return {name: options for name, options in groups.items() if len(options) > 0}


def verbs() -> list[str]:
    """The verbs that have a configuration."""
    return sorted(name for name in _options("") if name != "base" and name[0] != "_")


def _inside_free(key: str, settings: dict[str, Any], known: set[str]) -> set[str]:
    """`key` if it is inside a setting that takes any keys: one unset so far, or no target's."""
    parent = key.rpartition(".")[0]
    while parent and parent not in known:
        parent = parent.rpartition(".")[0]
    value: Any = settings
    for word in parent.split("."):
        value = value.get(word) if isinstance(value, dict) else None
    is_free = value is None or (isinstance(value, dict) and "_target_" not in value)
    return {key} if parent and is_free else set()


def _translate_key(item: Override, *, written: set[str], known: set[str], folders: set[str]) -> str:
    key = item.key_or_group
    if key.startswith("hydra."):
        return item.input_line or ""
    if key not in known:
        hint = nearest(key, known)
        raise ConfigError(f"{item.input_line}: there is no setting '{key}'; {hint}")
    prefix = "" if key in written else "++"
    values = _values(item)
    if key in folders:
        values = [f"{{{_WRAP}:{value}}}" for value in values]
    if not prefix and key not in folders:
        return item.input_line or ""
    return f"{prefix}{key}={','.join(values)}"


def _values(item: Override) -> list[str]:
    """The value in Hydra's grammar; several if it is swept."""
    if item.is_sweep_override():
        return [str(value) for value in item.sweep_string_iterator()]
    return [(item.input_line or "").split("=", 1)[1]]


def _check_choices(item: Override, groups: dict[str, tuple[str, ...]]) -> None:
    options = groups[item.key_or_group]
    for value in _values(item):
        if item.is_delete() or value.strip("'\"") in (*options, "null"):
            continue
        raise ConfigError(f"{item.input_line}: there is no {item.key_or_group} '{value}'; "
                          f"{nearest(value, options)}")  # fmt: skip


def _compose(verb: str, overrides: Sequence[str], *, hydra: bool = False) -> DictConfig:
    try:
        with initialize_config_module(CONFIGS, version_base="1.3", job_name="worldmodel"):
            return compose(verb, list(overrides), return_hydra_config=hydra)
    except (HydraException, OmegaConfBaseException) as cause:
        raise ConfigError(f"{verb}: {_first_line(cause)}") from cause


def _options(group: str, *, folders: bool = False) -> list[str]:
    with initialize_config_module(CONFIGS, version_base="1.3", job_name="worldmodel"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        kind = ObjectType.GROUP if folders else ObjectType.CONFIG
        return list(hydra.config_loader.get_group_options(group, kind))


def _dotted(config: Any, prefix: str = "") -> list[str]:
    found: list[str] = []
    for key in config:
        found.append(f"{prefix}{key}")
        child = config._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            found += _dotted(child, f"{prefix}{key}.")
    return found


def _unwrap(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {_WRAP}:
            return value[_WRAP]
        return {str(key): _unwrap(child) for key, child in value.items()}
    return [_unwrap(item) for item in value] if isinstance(value, list) else value


def _first_line(cause: Exception) -> str:
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[0] if lines else type(cause).__name__
