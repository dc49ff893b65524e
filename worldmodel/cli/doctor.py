"""What is installed, what works on this machine, and what to do about what does not.

Every check says one of: works, does not work but is optional, does not work and is needed.
"""

import importlib
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

import torch
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table
from rich.text import Text

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
    return 1 if show(examine(probe_gl=probe_gl, backends=backends)) else 0


def examine(*, probe_gl: Callable[[str], str | None], backends: Sequence[str]) -> list[Finding]:
    """Look at everything; the arguments are those of `doctor`."""
    return [
        *versions(),
        *decoders(),
        *renderers(probe_gl, backends),
        *devices(),
        *process(),
    ]


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
    """What reads video files."""
    try:
        av = importlib.import_module("av")
    except ImportError as cause:
        yield Finding("decoders", "PyAV", str(cause), works=False, remedy="pip install av")
    else:
        missing = [name for name in _NEEDED_CODECS if name not in av.codecs_available]
        state = f"works; without {', '.join(missing)}" if missing else "works; reads everything"
        yield Finding("decoders", "PyAV", state)
    for name, kind in known().items():
        if name == "pyav":
            continue
        problem, _, remedy = (why_not(name) or "").partition("; ")
        state = problem or f"works; {kind.limits}"
        yield Finding("decoders", name, state, works=not problem, needed=False,
                      remedy=remedy if problem else "")  # fmt: skip


def renderers(probe_gl: Callable[[str], str | None], backends: Sequence[str]) -> Iterator[Finding]:
    """What draws MuJoCo worlds without a screen; one that works is enough."""
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
    """Where tensors can live."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("devices", "cpu", f"{cores} cores, {torch.get_num_threads()} PyTorch threads")
    if not torch.cuda.is_available():
        yield Finding("devices", "cuda", "none", works=False, needed=False, remedy="not needed")
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        yield Finding("devices", f"cuda:{index}", f"{properties.name}, {memory}", needed=False)


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
