"""What `worldmodel --help` and `worldmodel <verb> --help` print."""

import inspect
import re
import textwrap
from typing import Any

from worldmodel.cli.settings import choices, written
from worldmodel.cli.signatures import RUN_KEYS, fill_defaults, parameters
from worldmodel.cli.source import read
from worldmodel.cli.verbs import VERBS

_FLAGS = """\
  -m, --multirun   run all combinations of values: seed=1,2,3 (hydra/launcher=... for clusters)
  --cfg job        show the settings and stop
  --debug          show where an error comes from
  --version        of the package
  --help           this text; after a verb, its settings"""

_EXISTING = (
    "  existing: resume goes on, refusing other settings; replace starts anew then; redo always"
)


def overview() -> str:
    """The verbs, a line each."""
    lines = [f"  {name:<12} {verb.does}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            "worldmodel <verb> [key=value ...]: learn a world model from video, act in it, judge.",
            "",
            *lines,
            "",
            _FLAGS,
            "",
            "Begin with: worldmodel quickstart. Each verb's settings: worldmodel <verb> --help.",
        ]
    )


def members(family: str) -> str:
    """The verbs that begin with the same word, a line each."""
    found = {name: verb for name, verb in VERBS.items() if name.startswith(f"{family} ")}
    lines = [f"  worldmodel {name:<12} {verb.does}" for name, verb in found.items()]
    return "\n".join([*lines, "", f"Settings of each: worldmodel {next(iter(found))} --help."])


def of(verb: str) -> str:
    """What a verb does, an example, its settings with their values, and its choices."""
    lines = [f"worldmodel {verb}: {VERBS[verb].does}", "", f"  {VERBS[verb].example}", ""]
    settings = fill_defaults(written(verb, {}))
    documented = argument_docs(inspect.cleandoc(read(settings["_target_"]).doc))
    groups = choices(verb)
    own = [key for key in settings if key not in RUN_KEYS and key != "_target_"]
    if own:
        lines.append("Settings:")
    for key in own:
        lines += _entry(key, settings[key], documented.get(key, ""), groups.get(key, ()))
    lists = {  # a default that is a list is not among the settings until it is given
        name: parameter.default
        for name, parameter in parameters(settings["_target_"]).items()
        if name not in settings and isinstance(parameter.default, tuple)
    }
    for key, value in lists.items():
        lines += _entry(key, list(value), documented.get(key, ""), ())
    whole = {key: options for key, options in groups.items() if key not in settings}
    if whole:  # files that set several keys at once
        lines.append("Ready-made:")
        lines += [f"  {key}={'|'.join(options)}" for key, options in whole.items()]
    shared = [f"{key}={_shown(settings[key])}" for key in RUN_KEYS if key in settings]
    if shared:
        lines += ["", f"Every run: {' '.join(shared)}", _EXISTING]
    return "\n".join([*lines, "", _FLAGS])


def argument_docs(docstring: str) -> dict[str, str]:
    """The entries of a Google-style "Args" section, each on one line."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)+)", docstring, re.MULTILINE)
    if section is None:
        return {}
    found: dict[str, str] = {}
    for line in textwrap.dedent(section[1]).splitlines():
        start = re.match(r"(\w+)(?: \([^)]*\))?: (.*)", line)
        if start:
            name, found[start[1]] = start[1], start[2]
        elif found and line.strip():
            found[name] += f" {line.strip()}"
    return found


def _entry(key: str, value: Any, documented: str, options: tuple[str, ...]) -> list[str]:
    is_object = isinstance(value, dict) and "_target_" in value
    if options:
        lines = [f"  {key}={'|'.join(options)}"]
    elif is_object:
        lines = [f"  {key}: {_shown(value)}"]
    else:
        lines = [f"  {key}={_shown(value)}"]
    if documented:
        margin = " " * 6
        lines += textwrap.wrap(
            documented,
            92,
            initial_indent=margin,
            subsequent_indent=margin,
            break_on_hyphens=False,
        )
    if is_object:
        lines += [f"    {key}.{name}={_shown(inner)}" for name, inner in _inner(value)]
    return lines


def _inner(value: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, inner) for name, inner in value.items() if not name.startswith("_")]


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "_target_" in value:
        return str(value["_target_"]).rpartition(".")[2]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_shown(inner)}" for name, inner in _inner(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
