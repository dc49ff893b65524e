"""Bars: what a person reads in a log file and in a terminal."""

import pytest

from worldmodel.runs import progress


def test_a_log_file_gets_a_line_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.bar(4, "train") as bar:
        bar.advance(1, loss=0.5)
        bar.advance(1)
    assert capsys.readouterr().err == "train  2/4  50%  0:00 elapsed  0:00 left  loss 0.5\n"


def test_lines_come_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.bar(100, "train") as bar:
        for _ in range(100):
            now[0] += 0.5
            bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6  # every 10 s of 50 s, and the last
    assert lines[0] == "train  20/100  20%  0:10 elapsed  0:40 left"
    assert lines[-1] == "train  100/100  100%  0:50 elapsed"


def test_what_an_earlier_go_did_is_not_taken_for_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.bar(100, "train") as bar:
        bar.update(90)
        now[0] += 10
        bar.advance(1)
        assert "1:30 left" in bar.line()


def test_nested_bars_share_one_display(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with progress.bar(2, "outer") as outer:
        with progress.bar(3, "inner") as inner:
            inner.advance(3, loss=0.1)
            assert len(progress._displays) == 1
            progress.say("a line between")
        outer.advance(2)
    assert progress._displays == []
    err = capsys.readouterr().err
    assert "inner  3/3  100%" in err and "a line between" in err and "outer  2/2  100%" in err
