"""The verb `data` as the command line calls it."""

import pytest

from worldmodel.cli.app import main


@pytest.fixture
def videos(tmp_path, make_video, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "videos"
    place.mkdir()
    for number in range(3):
        make_video(place / f"{number}.mp4", 12)
    return "videos"


def test_inspect_and_check_say_by_their_exit_code_whether_all_is_well(videos, tmp_path, capsys):
    assert (
        main(["data", "inspect", videos, "size=16", "fps=5", "transforms=vjepa", "workers=0"]) == 0
    )
    assert (tmp_path / "runs/data/inspect/sheet.png").is_file()
    assert main(["data", "check", videos, "workers=0"]) == 0
    (tmp_path / "videos" / "bad.mp4").write_text("no video")
    assert main(["data", "check", videos, "workers=0"]) == 1
    assert "problems          1" in capsys.readouterr().out


def test_convert_goes_through(videos, tmp_path):
    words = ["data", "convert", videos, "output=out", "to=episodes", "size=16"]
    assert main(words) == 0
    assert main(["data", "check", "out", "workers=0"]) == 0


def test_what_is_missing_or_misspelt_is_said(videos, capsys):
    assert main(["data", "convert", videos]) == 2
    assert "needs output=" in capsys.readouterr().err
    assert main(["data", "chek", videos]) == 2
    assert "did you mean 'check'" in capsys.readouterr().err


@pytest.mark.slow
def test_pretrain_takes_a_mixture_from_the_command_line(videos, tmp_path):
    sources = "data.sources=[{path: videos, weight: 3}, {path: videos/1.mp4}]"
    words = ["data=mixture", sources, "data.workers=0", "video.limits.seconds=30", "model=smoke"]
    words += ["batch=4", "num_frames=4", "optimisation.steps=2", "transforms=vjepa"]
    assert main(["pretrain", *words]) == 0
