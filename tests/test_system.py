"""What the Makefile does before it downloads anything, on systems that lack something.

The package managers and sudo here are scripts that write down how they were called.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import system

ROOT = Path(__file__).resolve().parents[1]


class Machine:
    """A system without OpenGL; programs that are added to it log their calls."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin, self.log, self.opengl = folder / "bin", folder / "log", folder / "libEGL.so.1"
        self.bin.mkdir()
        self.log.touch()
        (self.bin / "env").symlink_to("/usr/bin/env")
        monkeypatch.setenv("PATH", str(self.bin))
        need = system.NEEDS["opengl"]
        problem = lambda: None if self.opengl.exists() else "no libEGL.so.1"  # noqa: E731
        here = system.Need(need.title, need.purpose, problem, need.packages)
        monkeypatch.setitem(system.NEEDS, "opengl", here)

    def add(self, program: str, body: str = "exit 0") -> None:
        path = self.bin / program
        path.write_text(f'#!/bin/sh\necho "{program} $*" >> {self.log}\n{body}\n')
        path.chmod(0o755)

    def add_manager(self, program: str) -> None:
        """A package manager that brings OpenGL."""
        self.add(program, f'case "$*" in *install*) : > {self.opengl};; esac')

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.fixture(params=["root", "user"])
def who(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(os, "geteuid", lambda: 0 if request.param == "root" else 1000)
    return request.param


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def test_what_works_is_left_alone(machine: Machine, who: str, capfd) -> None:
    machine.opengl.touch()
    machine.add_manager("apt-get")
    machine.add("sudo")
    assert system.main(["opengl"]) == 0
    assert machine.calls() == [] and capfd.readouterr() == ("", "")


def test_root_installs(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    machine.add_manager("apt-get")
    assert system.main(["opengl"]) == 0
    update, install = machine.calls()
    assert update == "apt-get update -qq"
    assert install == "apt-get install -y -qq --no-install-recommends libegl1 libgl1"


def test_a_sudo_that_asks_for_no_password_installs(machine: Machine, user: None) -> None:
    machine.add_manager("dnf")
    machine.add("sudo", 'shift; exec "$@"')
    machine.add("true")
    assert system.main(["opengl"]) == 0
    assert machine.calls()[0] == "sudo -n true"
    assert machine.calls()[-1] == "dnf install -y -q mesa-libEGL mesa-libGL mesa-dri-drivers"


def test_a_sudo_that_asks_for_a_password_is_only_told(machine: Machine, user: None, capfd) -> None:
    machine.add_manager("apt-get")
    machine.add("sudo", "echo a password is required >&2; exit 1")
    assert system.main(["opengl"]) == 2
    assert machine.calls() == ["sudo -n true"]
    said = capfd.readouterr().err
    assert "no libEGL.so.1" in said
    assert "\n    sudo apt-get install -y libegl1 libgl1\n" in said


def test_without_sudo_the_line_is_for_root(machine: Machine, user: None, capfd) -> None:
    machine.add_manager("apt-get")
    assert system.main(["opengl"]) == 2
    assert "\n    su -c 'apt-get install -y libegl1 libgl1'\n" in capfd.readouterr().err
    assert machine.calls() == []


def test_an_unknown_package_manager_is_not_guessed(machine: Machine, who: str, capfd) -> None:
    assert system.main(["opengl"]) == 2
    said = capfd.readouterr().err
    assert "no libEGL.so.1" in said and "mesa-libEGL" in said and "libegl1" in said


def test_a_failed_installation_shows_why(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    machine.add("apt-get", "echo E: no network >&2; exit 100")
    assert system.main(["opengl"]) == 2
    said = capfd.readouterr().err
    assert "E: no network" in said and "\n    apt-get install -y libegl1 libgl1\n" in said


def test_what_is_optional_stops_nobody(machine: Machine, user: None, capfd) -> None:
    machine.add_manager("apt-get")
    assert system.main(["--optional", "opengl"]) == 0
    assert "going on without" in capfd.readouterr().err
    assert machine.calls() == []


def test_several_needs_are_one_line(
    machine: Machine, user: None, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    need = system.NEEDS["ffmpeg"]
    absent = system.Need(need.title, need.purpose, lambda: "none", need.packages)
    monkeypatch.setitem(system.NEEDS, "ffmpeg", absent)
    machine.add_manager("apt-get")
    assert system.main(["opengl", "ffmpeg"]) == 2
    said = capfd.readouterr().err
    assert "\n    su -c 'apt-get install -y libegl1 libgl1 ffmpeg'\n" in said


def test_a_library_that_does_not_load_is_no_opengl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "libEGL.so.1").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("MUJOCO_GL", "egl")
    assert "libEGL.so.1" in (system.why_no_opengl() or "")


def test_a_choice_of_the_user_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_in_a_process", lambda backend: f"no {backend}")
    for asked, problem in (("", "no egl"), ("osmesa", "no osmesa"), ("glfw", None)):
        monkeypatch.setenv("MUJOCO_GL", asked)
        assert system.why_no_opengl() == problem


@pytest.mark.parametrize("target", ["quickstart", "test", "check", "bench"])
def test_make_looks_before_it_downloads(target: str, tmp_path: Path) -> None:
    """What is to be done on a fresh machine, as make tells it."""
    words = ["make", "-n", "-C", str(ROOT), f"VENV={tmp_path}/venv", f"PYTHON={sys.executable}"]
    done = subprocess.run([*words, target], capture_output=True, text=True, check=True)
    looks, downloads = done.stdout.index("system.py venv opengl"), done.stdout.index("pip install")
    assert looks < downloads
    assert ("--optional ffmpeg" in done.stdout) == (target == "check")


def test_make_stops_where_something_is_missing(tmp_path: Path) -> None:
    """With a libEGL that cannot be loaded, and nobody who may install another."""
    (tmp_path / "libEGL.so.1").touch()
    (tmp_path / "bin").mkdir()
    for name in ("make", "sh"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
    environment = {
        "PATH": str(tmp_path / "bin"), "LD_LIBRARY_PATH": str(tmp_path), "MUJOCO_GL": "egl"
    }  # fmt: skip
    words = ["make", "-C", str(ROOT), f"VENV={tmp_path}/venv", f"PYTHON={sys.executable}", "test"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "off-screen OpenGL" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_the_continuous_integration_prepares_nothing_of_its_own() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    done = [line for line in lines if not line.startswith("#")]
    assert done == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "make check"]
