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
    for name in ("torch", "pyav", "egl", "cpu", "OMP_WAIT_POLICY", "disk"):
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


def test_a_decoder_works_where_it_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"torchcodec": "torchcodec does not work here (no libavutil); install FFmpeg"}
    monkeypatch.setattr(doctor, "why_not", answers.get)
    found = by_name(list(doctor.decoders()))
    assert found["decord"].works and found["decord"].state.startswith("works")
    assert not found["torchcodec"].works and not found["torchcodec"].needed
    assert found["torchcodec"].state == "torchcodec does not work here (no libavutil)"
    assert found["torchcodec"].remedy == "install FFmpeg"


def test_only_pyav_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "why_not", lambda name: f"{name} is broken; mend it")
    found = doctor.decoders()
    assert {finding.name for finding in found if finding.needed} == {"pyav"}


def test_a_device_works_where_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    assert by_name(list(doctor.devices()))["cpu"].state.startswith("works; ")

    def fail(device: str) -> None:
        raise RuntimeError("no kernel image is available\nfor execution")

    monkeypatch.setattr(doctor, "train_a_step", fail)
    cpu = by_name(list(doctor.devices()))["cpu"]
    assert cpu.needed and not cpu.works
    assert cpu.state.endswith("a step of training fails: no kernel image is available")


def test_a_step_that_gives_no_numbers_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.torch.rand
    monkeypatch.setattr(doctor.torch, "rand", lambda *a, **k: real(*a, **k) * float("nan"))
    with pytest.raises(ArithmeticError, match="finite"):
        doctor.train_a_step("cpu")
