"""Messages of errors: one line that any terminal shows, no longer than a screen."""

from worldmodel.errors import VideoError


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
