"""Messages of errors: one line, no longer than a screen, with hints at what was probably meant."""

import pytest

from worldmodel.errors import VideoError, nearest

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


def test_messages_are_one_printable_line():
    assert str(VideoError("two\nlines\x1b[2J b\udcff")) == r"two\nlines\x1b[2J b\udcff"


def test_a_long_message_keeps_its_name_and_its_remedy():
    said = str(VideoError(f"list.csv, line 3: '{'x' * 5_000_000}' is a header; remove it"))
    assert len(said) <= 1200
    assert said.startswith("list.csv, line 3: 'xxx") and said.endswith("is a header; remove it")
    assert "characters ..." in said


def test_a_message_of_a_screen_stays_as_it_is():
    assert str(VideoError("x" * 1200)) == "x" * 1200


def test_what_was_cut_is_not_cut_into_again_at_its_name():
    inner = VideoError("a" * 3000 + "; fetch it")
    assert str(VideoError(f"outer: {inner}")).startswith("outer: aaa")
    assert str(VideoError(f"outer: {inner}")).endswith("; fetch it")
