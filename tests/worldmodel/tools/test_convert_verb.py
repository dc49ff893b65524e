"""`worldmodel data convert`, as it is typed; inspect and check are tested where they are."""

import json

import pytest

from tests.worldmodel.datasets.layouts import lerobot_v3
from worldmodel.cli import app
from worldmodel.datasets import open_catalogue, open_episodes
from worldmodel.errors import EpisodeError
from worldmodel.video.decoding import Decoding, Limits


@pytest.fixture
def place(tmp_path, monkeypatch, make_video):
    (tmp_path / "my/videos").mkdir(parents=True)
    for number in range(3):
        make_video(tmp_path / f"my/videos/{number}.mp4", 6, size=(32, 24))
    (tmp_path / "my/robot").mkdir()
    lerobot_v3(tmp_path / "my/robot", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_videos_become_shards(place, capsys):
    words = "data convert my/videos output=my/shards to=shards writing.per_shard=2".split()
    assert app.main(words) == 0
    assert len(open_catalogue(place / "my/shards")) == 3
    assert app.main(words) == 0
    assert "written" in capsys.readouterr().out
    results = json.loads((place / "runs/data/convert/metrics.json").read_text())["results"]
    assert (results["items"], results["written"]) == (3, 0)


def test_lerobot_becomes_our_episodes(place):
    words = "data convert my/robot output=my/episodes to=episodes writing.size=16"
    assert app.main([*words.split(), "reading={camera: top}"]) == 0
    assert open_episodes(place / "my/episodes")[1].frames.shape == (8, 16, 16, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("data convert my/videos", "output is not set: say what it is with output="),
        ("data convert my/videos output=a to=shard", "to=shard is unknown; did you mean 'shards'?"),
        ("data convrt my/videos", "no verb 'data convrt'; did you mean 'data convert'?"),
        ("data check my/videos to=folder", "there is no setting 'to'"),
        ("data convert my/videos size=64", "did you mean 'writing.size'?"),
        ("data convert my/none output=a to=folder", "my/none: there is nothing"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(place, capsys, words, message):
    assert app.main(words.split()) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]


@pytest.mark.parametrize("to", ["folder", "shards", "episodes", "lerobot"])
@pytest.mark.parametrize("source", ["my/videos", "my/robot"])
def test_convert_decodes_as_the_settings_say(place, capsys, source, to):
    words = f"data convert {source} output=out to={to} writing.size=16 video.limits.pixels=100"
    assert app.main(words.split()) == 2
    assert "limit" in capsys.readouterr().err
    words = f"data convert {source} output=other to={to} writing.size=16 video.stream=3"
    assert app.main(words.split()) == 2
    assert "stream" in capsys.readouterr().err


def test_episodes_are_decoded_as_they_are_asked_to(place):
    with pytest.raises(EpisodeError, match="limit"):
        open_episodes(place / "my/robot", video=Decoding(limits=Limits(pixels=100)))[0]
