"""Every configuration composes, is taken by what it names, and builds."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import worldmodel.configs
from worldmodel.cli.compose import settle
from worldmodel.cli.runner import build
from worldmodel.cli.settings import choices, file_of, places
from worldmodel.cli.signatures import check, parameters
from worldmodel.cli.verbs import VERBS
from worldmodel.storage.plain_types import alternatives

FOLDER = Path(worldmodel.configs.__file__).parent
# What only a user can say, in one word that fits everywhere.
NAMED = "somewhere"
# What a choice cannot do without, and only a user can say.
NEEDED: dict[str, dict[str, Any]] = {
    "behaviour/policy": {"path": NAMED},
    **{f"{group}/passage": {"end": {"place": [[0, 1]]}} for group in ("without", "pairs")},
    **{
        f"{group}/around": {"mover": "hand", "thing": "cup", "within": 1, "still": {"cup": 1}}
        for group in ("without", "pairs")
    },
}


@cache
def options() -> tuple[tuple[str, str, str], ...]:
    """All choices of all verbs: verb, group, option."""
    return tuple(
        (verb, group, option)
        for verb in VERBS
        for group, found in choices(verb).items()
        for option in found
    )


def test_every_verb_has_a_configuration_and_a_line_of_help() -> None:
    files = {path.stem for path in FOLDER.glob("*.yaml")} - {"base"}
    assert files == set(map(file_of, VERBS))


@pytest.mark.parametrize(("verb", "group", "option"), options())
def test_every_choice_composes_and_is_taken(verb: str, group: str, option: str) -> None:
    settings = named(settle(verb, words(verb, group, option), checked=False))
    if needed := NEEDED.get(f"{group}/{option}"):
        settings[group].update(needed)
    check(settings)


@pytest.mark.parametrize(("verb", "group", "option"), options())
def test_every_choice_builds(verb: str, group: str, option: str, tmp_path: Path) -> None:
    settings = named(settle(verb, words(verb, group, option), checked=False))
    if needed := NEEDED.get(f"{group}/{option}"):
        settings[group].update(needed)
    if (group, option) == ("behaviour", "policy"):
        policy = tmp_path / "policy.safetensors"
        save_file({"0.weight": torch.ones(1, 1), "0.bias": torch.ones(1)}, policy)
        settings["behaviour"]["path"] = str(policy)
    for key, value in settings.items():
        if key != "_target_":
            build(key, value)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_the_help_s_example_is_right(verb: str) -> None:
    from worldmodel.cli.app import _sort, _split

    name, words = _split(VERBS[verb].example.split()[1:])
    assert name == verb
    settle(verb, _sort(verb, words)[1])


def test_every_file_is_chosen_by_some_verb() -> None:
    chosen = {f"{group.split('@')[0]}/{option}.yaml" for _, group, option in options()}
    files = {str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/*.yaml")}
    assert files == chosen


def words(verb: str, group: str, option: str) -> list[str]:
    """The words that make this choice, after that of something that has it."""
    chosen = [(), *((other, one) for _, other, one in options() if _ == verb)]
    needed = next(pair for pair in chosen if group in places(verb, dict([pair] if pair else [])))
    return ["=".join(pair) for pair in (needed, (group, option)) if pair]


def named(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with what a user has to say filled in."""
    accepted = parameters(settings["_target_"])
    needed = {
        key
        for key, value in settings.items()
        if value is None and key in accepted and _takes_text(accepted[key].annotation)
    }
    return settings | dict.fromkeys(needed, NAMED)


def _takes_text(annotation: Any) -> bool:
    """True of an argument that has to be said, and that a text fits."""
    kinds = alternatives(annotation) or ()
    return str in kinds and type(None) not in kinds
