"""Examine this machine: decode, render and train a step, and say what to do about what fails.

A part is said to work only where it has just been used: some load their libraries with the first
frame, so an import proves little. Every line is one of: works (ok), does not work but is optional
(-), does not work and is needed (!!).
"""

import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

import torch
from av import codecs_available
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worldmodel.architecture import Architecture
from worldmodel.objectives.masks import Future, MaskMixture, Tubes
from worldmodel.objectives.regularisers import SIGReg
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.runs import cpu
from worldmodel.runs.memory import resident_bytes
from worldmodel.runs.provenance import git_commit, package_version
from worldmodel.video.decoders import known, why_not

INSTALL_EGL = "apt-get install libegl1 libgl1 (Debian, Ubuntu)"
_NEEDED_CODECS = ("h264", "hevc", "av1", "vp9", "mpeg4")


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    section: str
    name: str
    state: str
    works: bool = True
    needed: bool = True
    remedy: str = ""


def doctor(*, probe_gl: Callable[[str], str | None], backends: Sequence[str]) -> int:
    """The verb: show what was found.

    Args:
        probe_gl: Says what is wrong with an OpenGL backend, None if it works.
        backends: The OpenGL backends, in the order in which they are tried.

    Returns:
        1 if something that is needed does not work, else 0.
    """
    found = [*versions(), *decoders(), *renderers(probe_gl, backends), *devices(), *process()]
    return 1 if show(found) else 0


def versions() -> Iterator[Finding]:
    """This package and what it requires."""
    commit = git_commit()
    own = package_version() + (f" at {commit[:10]}" if commit else "")
    yield Finding("versions", "worldmodel", own)
    yield Finding("versions", "python", platform.python_version())
    for line in requires("worldmodel") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        yield _version(requirement)


def _version(requirement: Requirement) -> Finding:
    remedy = f"pip install '{requirement.name}{requirement.specifier}'"
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return Finding("versions", requirement.name, "not installed", works=False, remedy=remedy)
    fits = requirement.specifier.contains(found, prereleases=True)
    state = found if fits else f"{found}, but {requirement.specifier} is needed"
    return Finding("versions", requirement.name, state, works=fits, remedy="" if fits else remedy)


def decoders() -> Iterator[Finding]:
    """Decode a small video with each; only PyAV is needed."""
    for name, kind in known().items():
        needed = name == "pyav"
        problem, _, remedy = (why_not(name) or "").partition("; ")
        missing = [codec for codec in _NEEDED_CODECS if needed and codec not in codecs_available]
        limits = f"without {', '.join(missing)}" if missing else kind.limits
        state = problem or f"works; {limits}"
        yield Finding("decoders", name, state, works=not problem, needed=needed, remedy=remedy)


def renderers(probe_gl: Callable[[str], str | None], backends: Sequence[str]) -> Iterator[Finding]:
    """Draw a MuJoCo world without a screen; one backend that works is enough."""
    problems = {backend: probe_gl(backend) for backend in backends}
    first = next((backend for backend in backends if problems[backend] is None), None)
    asked = os.environ.get("MUJOCO_GL")
    for backend, problem in problems.items():
        if problem is None:
            state = "works" + (", is used" if backend == (asked or first) else "")
            yield Finding("renderers", backend, state, needed=False)
        else:
            needed = first is None or backend == asked
            remedy = INSTALL_EGL if backend == "egl" or first is None else "not needed"
            yield Finding("renderers", backend, problem, works=False, needed=needed, remedy=remedy)


def devices() -> Iterator[Finding]:
    """Train a step on the CPU and on every GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield _device("cpu", f"{cores} cores, {torch.get_num_threads()} PyTorch threads")
    if not torch.cuda.is_available():
        yield Finding("devices", "cuda", "none", works=False, needed=False, remedy="not needed")
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        yield _device(f"cuda:{index}", f"{properties.name}, {memory}")


def _device(name: str, state: str) -> Finding:
    try:
        train_a_step(name)
    except Exception as cause:  # a driver that does not fit PyTorch raises anything
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0][:200]
        state = f"{state}; a step of training fails: {reason}"
        remedy = "install the PyTorch for this machine, see https://pytorch.org"
        return Finding("devices", name, state, works=False, needed=name == "cpu", remedy=remedy)
    return Finding("devices", name, f"works; {state}", needed=name == "cpu")


def train_a_step(device: str) -> None:
    """Take one step of the default pretraining, at a small size.

    Raises:
        ArithmeticError: the loss or a weight is not a finite number.
    """
    masks = MaskMixture([Tubes(), Future()], [1, 1])
    objective = TimeSteps(Architecture(size=16), masks=masks, regulariser=SIGReg()).to(device)
    optimiser = torch.optim.AdamW(objective.parameters())
    frames = torch.rand(4, 4, 3, 16, 16, device=device)
    loss = objective(frames, step=0, generator=torch.Generator().manual_seed(0)).total
    loss.backward()
    optimiser.step()
    if not all(x.isfinite().all() for x in (loss, *objective.parameters())):
        raise ArithmeticError("its loss or a weight is not a finite number")


def process() -> Iterator[Finding]:
    """Settings that decide the speed on a CPU, and room on the disk."""
    for name, value in cpu.state().items():
        yield Finding("process", name, value, needed=False)
    yield Finding("process", "memory", f"{resident_bytes() / 2**30:.1f} GiB resident")
    free = shutil.disk_usage(".").free / 2**30
    enough = free > 2
    yield Finding("process", "disk", f"{free:.0f} GiB free here", works=enough,
                  remedy="" if enough else "a quickstart writes up to 1 GiB")  # fmt: skip


def show(findings: Sequence[Finding]) -> int:
    """Print the findings; returns how many things are needed and do not work."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, min_width=2)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    section = ""
    for finding in findings:
        if finding.section != section:
            section = finding.section
            table.add_row("", Text(section, style="bold"), "")
        mark = "ok" if finding.works else "!!" if finding.needed else "-"
        remedy = f" -> {finding.remedy}" if finding.remedy else ""
        table.add_row(mark, f"  {finding.name}", Text(finding.state + remedy))
    console = Console(width=None if Console().is_terminal else 110)
    console.print(table)
    broken = [finding for finding in findings if finding.needed and not finding.works]
    verdict = "everything that is needed works" if not broken else f"{len(broken)} to repair (!!)"
    console.print(verdict)
    return len(broken)
