"""The verbs `data inspect`, `data check` and `data convert` as they are typed."""

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
        main(
            [
                "data",
                "inspect",
                videos,
                "sheet.size=16",
                "sheet.fps=5",
                "transforms=vjepa",
                "workers=0",
            ]
        )
        == 0
    )
    assert (tmp_path / "runs/data/inspect/sheet.png").is_file()
    assert main(["data", "check", videos, "workers=0"]) == 0
    (tmp_path / "videos" / "bad.mp4").write_text("no video")
    assert main(["data", "check", videos, "workers=0"]) == 1
    assert "problems          1" in capsys.readouterr().out


def test_convert_goes_through(videos, tmp_path):
    words = ["data", "convert", videos, "output=out", "to=episodes", "writing.size=16"]
    assert main(words) == 0
    assert main(["data", "check", "out", "workers=0"]) == 0


def test_what_is_missing_or_misspelt_is_said(videos, capsys):
    assert main(["data", "convert", videos]) == 2
    assert "output is not set: say what it is with output=" in capsys.readouterr().err
    assert main(["data", "convert", videos, "output=out"]) == 2
    assert "to is not set" in (said := capsys.readouterr().err) and "folder, shards" in said
    assert main(["data", "chek", videos]) == 2
    assert "did you mean 'data check'?" in capsys.readouterr().err


@pytest.mark.slow
def test_pretrain_takes_a_mixture_from_the_command_line(videos, tmp_path):
    sources = "data.sources=[{path: videos, weight: 3}, {path: videos/1.mp4}]"
    words = ["data=mixture", sources, "data.workers=0", "video.limits.seconds=30", "model=smoke"]
    words += ["batch=4", "num_frames=4", "optimisation.steps=2", "transforms=vjepa"]
    assert main(["pretrain", *words]) == 0


@pytest.mark.parametrize("words", [["data"], ["data", "--help"], ["data", "-h"]])
def test_data_alone_lists_its_verbs(words, capsys):
    assert main(words) == 0
    said = capsys.readouterr().out
    assert all(f"worldmodel data {verb} " in said for verb in ("inspect", "check", "convert"))


def test_each_verb_shows_its_own_settings(capsys):
    assert main(["data", "check", "--help"]) == 0
    said = capsys.readouterr().out
    assert "workers=2" in said and "video.limits" in said
    assert "sheet" not in said and "output" not in said
    assert main(["data", "inspect", "--help"]) == 0
    assert "sheet.num_frames=4" in capsys.readouterr().out
    assert main(["data", "convert", "--help"]) == 0
    assert "writing.quality=18" in capsys.readouterr().out
