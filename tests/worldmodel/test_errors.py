"""Hints at what was probably meant."""

import pytest

from worldmodel.errors import nearest

KEYS = ["batch", "masks", "optimisation.steps", "optimisation.warmup", "model.encoder.width"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("steps", "did you mean 'optimisation.steps'?"),  # the last part
        ("stpes", "did you mean 'optimisation.steps'?"),  # the last part, misspelt
        ("optimisation.step", "did you mean 'optimisation.steps'?"),
        ("optimizer.steps", "did you mean 'optimisation.steps'?"),
        ("encoder.width", "did you mean 'model.encoder.width'?"),
        ("bacth", "did you mean 'batch'?"),
        ("zzz", "choose from: batch, masks, model.encoder.width, optimisation.steps"),
    ],
)
def test_the_last_part_and_the_spelling_count(name: str, hint: str) -> None:
    assert nearest(name, KEYS).startswith(hint)


def test_at_most_five_are_named() -> None:
    many = [f"part{number}.size" for number in range(9)]
    assert nearest("size", many).count("part") == 5
    assert nearest("size", many, listed_by="x --help").endswith("? x --help lists all 9")
    assert nearest("zzz", many, listed_by="x --help") == "x --help lists all 9"


def test_files_are_compared_by_their_whole_names() -> None:
    assert nearest("left.png", ["aa.png", "lefts.png"]) == "did you mean 'lefts.png'?"
