"""Words in Hydra's grammar, put into a verb's configuration.

With the sweep in `app` and the building in `runner` this is all that knows Hydra. What users say
is taken as it is written: only our own files may refer to other settings by `${...}`.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from worldmodel.cli import settings
from worldmodel.cli.signatures import fill_defaults
from worldmodel.errors import ConfigError

_WRAP = "_value_"
_DOLLAR = "\ufdd0"  # stands for "${" while Hydra has the words; Unicode keeps it for such uses


def settle(verb: str, words: Sequence[str], *, checked: bool = True) -> dict[str, Any]:
    """The settings of a verb: its configuration, the words, and defaults from code.

    Args:
        verb: What `worldmodel --help` lists.
        words: `key=value` in Hydra's grammar.
        checked: False lets missing and mistyped values pass.

    Returns:
        Nested plain values.

    Raises:
        ConfigError: an unknown key or choice, a value of the wrong type, or bad grammar.
    """
    settings.check_words(verb, words)
    name = settings.file_of(verb)
    try:
        with hydra.initialize_config_module(settings.CONFIGS, version_base="1.3", job_name=name):
            settled = plain(hydra.compose(name, translate(verb, words)))
    except HydraException as cause:
        raise ConfigError(f"{verb}: {_first_line(cause)}") from cause
    if checked:
        settings.check_settings(settled)
    return settled


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as nested plain values, with the defaults from code."""
    try:
        found = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as cause:
        raise ConfigError(_first_line(cause)) from cause
    assert isinstance(found, dict)
    found.pop("hydra", None)
    filled = fill_defaults(_unwrap(found))
    return filled | {key: str(filled[key]) for key in ("name", "runs_dir") if key in filled}


def translate(verb: str, words: Sequence[str], *, sweep: bool = False) -> list[str]:
    """The words as Hydra takes them.

    A key that only the target's signature has becomes an addition (`++key=value`). A plain key
    that is called like a folder of configurations is wrapped, so that Hydra does not look there.

    Raises:
        ConfigError: bad grammar, or several values for a key without `sweep`.
    """
    groups, folders, picked = settings.choices(verb), settings.groups(), settings.picks(verb, words)
    places = settings.places(verb, picked)
    written = set(settings.dotted(settings.written(verb, picked)))
    translated = []
    for word in words:
        item = _parse(word)
        key, line = item.key_or_group, item.input_line or ""
        if item.is_sweep_override() and not sweep:
            value = word.partition("=")[2]
            raise ConfigError(
                f"{word}: is several values, one for each run of a sweep; say --multirun, "
                f'{key}=[{value}] for a list, or quote a text: "{key}={settings.quoted(value)}"'
            )
        if key in groups and places.get(key, key) != key:
            line = line.replace(key, f"{key}@{places[key]}", 1)
        if key in groups or item.is_delete() or item.is_add() or key.startswith("hydra"):
            translated.append(line)
            continue
        values = [line.partition("=")[2]]
        if key in folders:
            swept = item.sweep_string_iterator() if item.is_sweep_override() else values
            values = [f"{{{_WRAP}:{value}}}" for value in swept]
        translated.append(f"{'' if key in written else '++'}{key}={','.join(values)}")
    return translated


def swept_keys(words: Sequence[str]) -> set[str]:
    """The keys that are given more than one value."""
    parsed = OverridesParser.create().parse_overrides(list(words))
    return {item.key_or_group for item in parsed if item.is_sweep_override()}


def as_written(text: str) -> str:
    """A text as the user gave it."""
    return text.replace(_DOLLAR, "${")


def _parse(word: str) -> Override:
    """A `key=value` word; what Hydra's grammar has no place for, such as é, ( or #, is text."""
    parser = OverridesParser.create()
    key, _, value = word.partition("=")
    if not key.startswith("hydra"):
        key, value = (part.replace("${", _DOLLAR) for part in (key, value))
    try:
        return parser.parse_overrides([f"{key}={value}" if "=" in word else key])[0]
    except HydraException as cause:
        # What looks like a list, a mapping, a sweep or a quoted text may be meant as one.
        if value and "," not in value and value[0] not in "[{'\"":
            with suppress(HydraException):
                return parser.parse_overrides([f"{key}={settings.quoted(value)}"])[0]
        quoted = as_written(f"{key}={settings.quoted(value)}")
        raise ConfigError(
            f'cannot read {word}; quote a text with such letters: "{quoted}"'
        ) from cause


def _unwrap(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {_WRAP}:
            return _unwrap(value[_WRAP])
        return {as_written(str(key)): _unwrap(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_unwrap(item) for item in value]
    return as_written(value) if isinstance(value, str) else value


def _first_line(cause: Exception) -> str:
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[0] if lines else type(cause).__name__
