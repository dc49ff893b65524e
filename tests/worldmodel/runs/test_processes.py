"""Processes that make a run together: what they say to one another, and how they end."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from worldmodel.errors import ConfigError
from worldmodel.runs import processes
from worldmodel.runs.processes import from_all, is_first, rank, sums, together, world
from worldmodel.runs.torchrun import place

WORLD = 3


def talk(number):
    """Short messages."""
    assert (rank(), world(), is_first()) == (number, WORLD, number == 0)
    assert sums(1, number) == [3, 3]
    assert from_all([f"a{number}", "ä"][: number + 1]) == ["a0", "a1", "ä", "a2", "ä"]


def one_fails(number):
    """A reason of its own."""
    if number == 1:
        raise ConfigError("no room")
    sums(0)


def one_has_a_defect(number):
    """No error of ours."""
    if number == 1:
        raise ZeroDivisionError("a defect")
    sums(0)


def all_fail(number):
    """The same reason everywhere, in some later than in the first."""
    time.sleep(0.5 * number)
    raise ConfigError("no such folder")


def one_is_killed(number):
    """By the system, say for want of memory."""
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    sums(0)


def one_hangs(number):
    """It does not come to where the others wait."""
    if number == 1:
        time.sleep(60)
        os.kill(os.getpid(), signal.SIGKILL)
    sums(0)


def asked_to_end(number):
    """All of them, as after SIGTERM."""
    raise SystemExit(0)


CASES = (talk, one_fails, one_has_a_defect, all_fail, asked_to_end, one_is_killed)


def work(number, cases, ports, folder):
    """One of the processes; leaves what it would say to a person, or its exit status."""
    os.environ |= {
        "RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(WORLD),
        "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    torch.set_num_threads(1)
    for case, port in zip(cases, ports, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        processes.TIMEOUT_SECONDS = 2.0 if case is one_hangs else 60.0
        said = "done"
        try:
            with together(place(), "cpu"):
                case(number)
        except SystemExit as ended:
            said = f"exit {ended.code}"
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        if dist.is_initialized():
            dist.destroy_process_group()
        Path(folder, f"{case.__name__}.{number}").write_text(said)


def outcomes(cases, folder):
    """What each process says in each case, "" where it is lost."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in cases]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    context = torch.multiprocessing.get_context("spawn")
    started = [
        context.Process(target=work, args=(number, cases, ports, str(folder)))
        for number in range(WORLD)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(300)
        process.kill()
    files = {case: [folder / f"{case.__name__}.{n}" for n in range(WORLD)] for case in cases}
    return {
        case: [file.read_text() if file.is_file() else "" for file in each]
        for case, each in files.items()
    }


def test_alone_there_is_nobody_to_talk_to():
    assert (rank(), world(), is_first()) == (0, 1, True)
    assert sums(1, 2.5) == [1, 2.5] and from_all(["a"]) == ["a"]
    with together(place(), "cpu"):
        assert world() == 1


@pytest.mark.slow
def test_all_end_and_one_says_why(tmp_path):
    found = outcomes(CASES, tmp_path)
    assert found[talk] == ["done"] * 3
    assert found[one_fails] == ["exit 2", "ConfigError: rank 1 of 3: no room", "exit 2"]
    assert found[one_has_a_defect] == ["exit 2", "ZeroDivisionError: a defect", "exit 2"]
    assert found[all_fail] == ["ConfigError: no such folder", "exit 2", "exit 2"]
    assert found[asked_to_end] == ["exit 0"] * 3
    one_says(found[one_is_killed], "rank 1 of 3 ended without a word (killed, or short of memory?)")


@pytest.mark.exhaustive
def test_one_that_does_not_answer_is_named(tmp_path):
    one_says(outcomes((one_hangs,), tmp_path)[one_hangs], "rank 1 of 3 does not answer")


def one_says(found, what):
    first, lost, last = found
    told, silent = sorted([first, last], key=len, reverse=True)
    assert lost == "" and silent == "exit 2"
    assert told.startswith(f"_LostError: {what}") and "goes on from the last checkpoint" in told
