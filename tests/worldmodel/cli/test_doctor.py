"""The doctor: what works, what does not, and what to do about it."""

import pytest

from worldmodel.cli import doctor
from worldmodel.cli.doctor import Finding


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_here_everything_that_is_needed_works(capsys: pytest.CaptureFixture[str]) -> None:
    status = doctor.doctor(probe_gl=lambda backend: None, backends=["egl"])
    text = capsys.readouterr().out
    assert status == 0, text
    assert "everything that is needed works" in text
    for name in ("torch", "PyAV", "egl", "cpu", "OMP_WAIT_POLICY", "disk"):
        assert name in text


def test_one_renderer_that_works_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    problems = {"egl": "no libEGL", "osmesa": None}
    found = by_name(list(doctor.renderers(problems.get, ["egl", "osmesa"])))
    assert not found["egl"].works and not found["egl"].needed
    assert found["osmesa"].state == "works, is used"


def test_without_any_renderer_it_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    found = list(doctor.renderers(lambda backend: "no", ["egl", "glfw"]))
    assert all(finding.needed for finding in found)
    assert doctor.show(found) == 2
    assert "apt-get install libegl1 libgl1" in capsys.readouterr().out


def test_a_renderer_that_was_asked_for_has_to_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "egl")
    found = by_name(list(doctor.renderers({"egl": "no"}.get, ["egl", "osmesa"])))
    assert found["egl"].needed and not found["egl"].works


def test_versions_that_do_not_fit_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["torch>=999", "no-such-package>=1", "pytest>=1; extra == 'dev'"]
    monkeypatch.setattr(doctor, "requires", lambda name: lines)
    found = by_name(list(doctor.versions()))
    assert not found["torch"].works and ">=999 is needed" in found["torch"].state
    assert found["no-such-package"].remedy == "pip install 'no-such-package>=1'"
    assert "pytest" not in found


def test_decord_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.importlib.import_module

    def refuse(name: str) -> object:
        if name in ("decord", "av"):
            raise ImportError(f"no {name}")
        return real(name)

    monkeypatch.setattr(doctor.importlib, "import_module", refuse)
    found = by_name(list(doctor.decoders()))
    assert found["PyAV"].needed and not found["PyAV"].works
    assert not found["decord"].needed and not found["decord"].works
