"""The texts of `worldmodel --help` and `worldmodel <verb> --help`."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from worldmodel.cli.parsed_signatures import read
from worldmodel.cli.settings import choices, written
from worldmodel.cli.signatures import RUN_KEYS, SPECIAL, fill_defaults, parameters
from worldmodel.cli.verbs import VERBS
from worldmodel.storage.plain_types import alternatives

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
    lines = [f"  {name:<13} {verb.does}" for name, verb in VERBS.items()]
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
    lines = [f"  worldmodel {name:<13} {verb.does}" for name, verb in found.items()]
    return "\n".join([*lines, "", f"Settings of each: worldmodel {next(iter(found))} --help."])


def of(verb: str) -> str:
    """A verb's help: a line, an example, its settings with their values, and its choices."""
    lines = [f"worldmodel {verb}: {VERBS[verb].does}", "", f"  {VERBS[verb].example}", ""]
    settings = fill_defaults(written(verb, {}))
    groups = choices(verb)
    own = list(_entries(settings, groups))
    lines += ["Settings:", *own] if own else []
    whole = {key: options for key, options in groups.items() if key not in settings}
    if whole:  # files that set several keys at once
        lines.append("Ready-made:")
        lines += [f"  {key}={'|'.join(options)}" for key, options in whole.items()]
    shared = [f"{key}={_shown(settings[key])}" for key in RUN_KEYS if key in settings]
    if shared:
        lines += ["", f"Every run: {' '.join(shared)}", _EXISTING]
    return "\n".join([*lines, "", _FLAGS])


def _entries(
    settings: Mapping[str, Any], groups: Mapping[str, tuple[str, ...]], prefix: str = ""
) -> Iterator[str]:
    """Each setting with its value and its line of documentation; those inside it below it."""
    target = settings["_target_"]
    documented = argument_docs(read(target).doc)
    accepted = parameters(target)
    lists = {  # a default that is a list is not among the settings until it is given
        name: list(parameter.default)
        for name, parameter in accepted.items()
        if name not in settings and isinstance(parameter.default, tuple)
    }
    indent = "    " if prefix else "  "
    for name, value in {**settings, **lists}.items():
        if name in SPECIAL or (not prefix and name in RUN_KEYS):
            continue
        is_object = isinstance(value, Mapping) and "_target_" in value
        shown = f"{prefix}{name}: " if is_object else f"{prefix}{name}="
        known = _literals(accepted[name].annotation) if name in accepted else ()
        if name in groups and not prefix:
            yield f"{indent}{name}={'|'.join(groups[name])}"
        else:
            yield f"{indent}{shown}{_shown(value)}" + (f"  ({'|'.join(known)})" if known else "")
        margin = indent + "    "
        yield from textwrap.wrap(
            documented.get(name, ""),
            96 - len(indent),
            initial_indent=margin,
            subsequent_indent=margin,
            break_on_hyphens=False,
        )
        if is_object:
            yield from _entries(value, {}, f"{prefix}{name}.")


def _literals(annotation: Any) -> tuple[str, ...]:
    """The words that an argument takes, where it takes only these."""
    return tuple(word for word in alternatives(annotation) or () if isinstance(word, str))


def argument_docs(docstring: str) -> dict[str, str]:
    """The entries of a Google-style "Args" or "Attributes" section, each on one line."""
    section = re.search(r"^(?:Args|Attributes):\n((?:[ ]+.*\n?|\n)+)", docstring, re.MULTILINE)
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


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "_target_" in value:
        return str(value["_target_"]).rpartition(".")[2]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_shown(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
