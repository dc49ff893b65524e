"""Process settings: set before torch, inherited, and left alone when asked."""

import json
import os
import subprocess
import sys

import pytest

from worldmodel.runs import cpu

_LOOK = """
import json, sys
from worldmodel.runs import cpu
tuned = cpu.tune()
print(json.dumps([tuned, "torch" in sys.modules, "numpy" in sys.modules, cpu.state()]))
"""


def look(**variables: str) -> tuple[bool, bool, bool, dict[str, str]]:
    """What a fresh process says after tuning."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "OMP_WAIT", cpu.SWITCH))}  # fmt: skip  # noqa: E501
    done = subprocess.run([sys.executable, "-c", _LOOK], env=clean | variables,
                          capture_output=True, text=True, check=True)  # fmt: skip
    tuned, torch, numpy, state = json.loads(done.stdout)
    return tuned, torch, numpy, state


glibc = pytest.mark.skipif(not cpu._is_glibc(), reason="the allocator of glibc")


@glibc
def test_tuning_sets_both_and_imports_nothing_heavy() -> None:
    tuned, torch, numpy, state = look()
    assert tuned and not torch and not numpy
    assert state["OMP_WAIT_POLICY"] == "passive"
    assert state["MALLOC_MMAP_MAX_"] == "0"


@glibc
def test_the_switch_leaves_the_process_alone() -> None:
    tuned, _, _, state = look(WORLDMODEL_CPU_TUNING="0")
    assert not tuned
    assert state["OMP_WAIT_POLICY"] == "not set" and state["MALLOC_MMAP_MAX_"] == "not set"


@glibc
def test_what_the_user_set_stands() -> None:
    _, _, _, state = look(OMP_WAIT_POLICY="active", MALLOC_MMAP_MAX_="7")
    assert state["OMP_WAIT_POLICY"] == "active" and state["MALLOC_MMAP_MAX_"] == "7"


@glibc
def test_large_blocks_stay_with_the_process() -> None:
    """Freed blocks of a tuned process are used again without new page faults."""
    program = (
        "import resource; from worldmodel.runs import cpu\n"
        "cpu.tune()\n"
        "block = bytearray(2**26); del block\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(5): block = bytearray(2**26); del block\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    faults = []
    for switch in ("0", "1"):
        done = subprocess.run([sys.executable, "-c", program], env=clean | {cpu.SWITCH: switch},
                              capture_output=True, text=True, check=True)  # fmt: skip
        faults.append(int(done.stdout))
    assert faults[1] < faults[0] / 10


def test_it_comes_too_late_once_torch_is_there() -> None:
    import torch  # noqa: F401

    assert cpu.tune() is False
