import pytest

from worldmodel.errors import RunError
from worldmodel.runs.torchrun import Place, is_heard, place, refuse

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


@pytest.fixture(autouse=True)
def say(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)

    def say(*values):
        for name, value in zip(NAMES, values, strict=True):
            monkeypatch.setenv(name, value)

    return say


def test_without_torchrun_a_process_is_alone_and_the_first():
    assert place() == Place(0, 1, 0) and place().is_first and is_heard()


def test_torchrun_says_which_process_this_is(say):
    say("3", "4", "1")
    assert place() == Place(rank=3, world=4, local_rank=1) and not place().is_first
    assert not is_heard()
    say("0", "1", "0")
    assert place() == Place()


@pytest.mark.parametrize("values", [("4", "4", "0"), ("x", "4", "0"), ("-1", "4", "0")])
def test_what_torchrun_does_not_say_is_refused(say, values):
    say(*values)
    with pytest.raises(RunError, match=f"RANK={values[0]}, WORLD_SIZE=4, LOCAL_RANK=0: is not"):
        place()


def test_a_size_without_a_rank_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RunError, match="WORLD_SIZE=2: is not what torchrun says"):
        place()


def test_what_one_process_does_is_refused_to_several_in_one_line(say):
    refuse("this")
    say("0", "2", "0")
    with pytest.raises(RunError, match="WORLD_SIZE=2: this is done by one process"):
        refuse("this")
    say("1", "2", "1")
    with pytest.raises(SystemExit) as ended:
        refuse("this")
    assert ended.value.code == 2
