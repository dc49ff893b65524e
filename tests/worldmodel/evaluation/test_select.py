"""The verb `select`: which runs are compared, in which order, and what is said of the others."""

import json
import math
import shutil
from contextlib import contextmanager
from functools import partial

import pytest
import yaml

from tests.worldmodel.toys import small_model, stirred, write_dots
from worldmodel.checkpoint import save
from worldmodel.cli.app import _sort, main
from worldmodel.errors import ConfigError, RunError
from worldmodel.evaluation.select import select, table
from worldmodel.loading.sources import VideoFiles


class FakeRun:
    """As much of a run as the verb uses."""

    def __init__(self, folder):
        self.folder = folder
        self.lines: list[str] = []

    @contextmanager
    def progress(self, total, description):
        yield self

    def advance(self, amount=1):
        pass

    def say(self, message):
        self.lines.append(message)


@pytest.fixture
def make_run(tmp_path):
    """A finished pretraining as it lies on disk, whose log ends with this loss."""
    write_dots(tmp_path / "dots", episodes=10, length=8)

    def make(name, loss=1.0, *, weight=3.0, verb="pretrain", finished=True, seed=0, **changes):
        folder = tmp_path / "runs" / verb / name
        save(stirred(small_model(), scale=0.1 + seed), folder / "model")
        settings = {
            "verb": verb,
            "data": {"_target_": "worldmodel.loading.sources.EpisodeVideos",
                     "path": str(tmp_path / "dots")},
            "objective": {
                "_target_": "worldmodel.objectives.time_steps.TimeSteps", "targets": "live",
                "masks": {"name": name},
                "regulariser": {"_target_": "worldmodel.objectives.regularisers.SIGReg",
                                "weight": weight},
            },
            "batch": 8, "num_frames": 4,
        }  # fmt: skip
        settings |= {k: settings[k] | v if isinstance(v, dict) else v for k, v in changes.items()}
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        lines = [{"step": step, "loss": 9.0} for step in range(18)] + [
            {"step": 20, "loss": 2 * loss}, {"step": 30, "loss": 0.0},
        ]  # fmt: skip
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if finished:
            (folder / "metrics.json").write_text(json.dumps({"results": {"steps": 30.0}}))
        return folder

    return make


@pytest.fixture
def choose(tmp_path):
    """Runs the verb; returns its results, what it wrote and what it said."""

    def choose(*runs, **settings):
        run = FakeRun(tmp_path)
        results = select(run, runs=[str(path) for path in runs], **{"clips": 8, **settings})
        return results, json.loads((tmp_path / "select.json").read_text()), run.lines

    return choose


def test_runs_are_ordered_by_the_end_of_their_log(make_run, choose):
    runs = [make_run("high", 3.0), make_run("low", 1.0), make_run("middle", 2.0)]
    results, written, said = choose(*runs)
    assert results["runs"] == 3 and results["left_out"] == 0
    assert [row["run"].rpartition("/")[2] for row in written["runs"]] == ["low", "middle", "high"]
    assert [row["train_loss"] for row in written["runs"]] == pytest.approx([1, 2, 3])
    assert any("RankMe" in line and "LiDAR" in line for line in said)
    assert all(1 <= row[name] <= 24 for row in written["runs"] for name in ("rankme", "lidar"))


def test_a_large_weight_is_allowed_a_larger_loss(make_run, choose):
    small, large = make_run("small", 1.0, weight=1.0), make_run("large", 1.2, weight=8.0)
    first = {alpha: choose(small, large, alpha=alpha)[1]["runs"][0] for alpha in (0.0, 1.0)}
    assert first[1.0]["run"].endswith("large") and first[1.0]["lambda"] == pytest.approx(0.5)
    # At alpha = 0 it is the paper's loss, in which a large weight shrinks the prediction's share.
    assert first[0.0]["loss"] == pytest.approx(1.2 * 0.5)


def test_it_can_be_ordered_by_each_score(make_run, choose):
    runs = [make_run(f"r{seed}", seed=seed) for seed in range(3)]
    for by in ("rankme", "lidar"):
        values = [row[by] for row in choose(*runs, by=by)[1]["runs"]]
        assert values == sorted(values, reverse=True) and len(set(values)) == 3


def test_scores_depend_on_the_run_alone(make_run, choose):
    runs = [make_run(f"r{seed}", seed=seed) for seed in range(3)]
    scores = {row["run"]: row for row in choose(*runs)[1]["runs"]}
    for row in choose(*runs[:0:-1])[1]["runs"]:
        assert {**row, "place": 0} == {**scores[row["run"]], "place": 0}


def test_what_cannot_be_compared_is_said_in_a_line(make_run, choose, tmp_path):
    for number in range(3):
        make_run(f"r{number}")
    make_run("elsewhere", data={"stride": 2})
    make_run("longer", num_frames=8)
    make_run("teacher", objective={"targets": "ema"})
    make_run("begun", finished=False)
    make_run("robot", verb="train")
    results, written, said = choose(tmp_path / "runs")
    assert results["runs"] == 3 and results["left_out"] == 3
    assert written["left_out"] == [
        "1 run of other verbs than pretrain (train)", "1 run not finished (begun)",
        "2 runs trained on other data (elsewhere, longer)",
        "1 run with another objective (teacher)",
    ]  # fmt: skip
    assert [line for line in said if line.startswith("left out: ")] == [
        f"left out: {reason}" for reason in written["left_out"]
    ]


def test_a_file_among_the_folders_is_passed_over(make_run, choose, tmp_path):
    (tmp_path / "notes.jsonl").write_text("{}")
    _, written, _ = choose(make_run("a"), tmp_path / "notes.jsonl", make_run("b"))
    assert written["left_out"] == [f"1 file among the folders ({tmp_path}/notes.jsonl)"]


def test_held_out_videos_are_what_is_looked_at(make_run, choose, tmp_path, make_video, monkeypatch):
    here = partial(VideoFiles, workers=0)  # processes take seconds to start
    monkeypatch.setattr("worldmodel.evaluation.select.VideoFiles", here)
    runs = [make_run("a"), make_run("b", seed=1)]
    (tmp_path / "videos").mkdir()
    for number in range(3):
        make_video(tmp_path / "videos" / f"{number}.mp4", 9, size=(48, 32))
    before = choose(*runs)[1]["runs"][0]["rankme"]
    _, written, said = choose(*runs, held_out=str(tmp_path / "videos"))
    assert written["runs"][0]["rankme"] != before
    assert not any("held_out=" in line for line in said)


def test_a_run_without_a_weight_is_ordered_by_its_loss(make_run, choose):
    none = {"regulariser": {"_target_": "worldmodel.objectives.regularisers.NoRegulariser"}}
    runs = [make_run("b", 2.0, objective=none), make_run("a", 1.0, objective=none)]
    _, written, said = choose(*runs)
    assert [row["loss"] for row in written["runs"]] == pytest.approx([1, 2])
    assert written["runs"][0]["lambda"] is None and any("–" in line for line in said)


def test_a_score_that_does_not_exist_comes_last():
    from pathlib import Path

    from worldmodel.evaluation.select import Candidate, _sort_key

    scores = {"train_loss": 1.0, "lambda": math.nan, "loss": math.nan, "rankme": 2.0, "lidar": 1.0}
    candidate = Candidate("x", Path("x"), {}, 1.0, scores)
    assert _sort_key(candidate, "loss") == math.inf and _sort_key(candidate, "rankme") == -2
    assert "–" in table([candidate], "loss")


def test_data_of_an_unknown_kind_is_not_opened(make_run, choose):
    """Settings of a run are a file that anybody may have written: nothing that they name runs."""
    odd = {"_target_": "os.system", "command": "true"}
    runs = [make_run("a", data=odd), make_run("b", data=odd)]
    with pytest.raises(RunError, match="a: its data cannot be opened again.*held_out="):
        choose(*runs)


def test_bad_words_are_one_line(make_run, choose, tmp_path):
    one = make_run("one")
    with pytest.raises(RunError, match="one alone cannot be ranked; name two runs or more"):
        choose(one)
    with pytest.raises(RunError, match="no two of 2 runs can be compared"):
        choose(one, make_run("other", num_frames=8))
    with pytest.raises(RunError, match="nowhere: there is no such folder"):
        choose(one, tmp_path / "nowhere")
    with pytest.raises(RunError, match="no finished pretraining among 0 runs"):
        choose(tmp_path / "dots")
    with pytest.raises(ConfigError, match="did you mean 'rankme'"):
        choose(one, by="rank_me")
    with pytest.raises(ConfigError, match="at least 2, got 1 and 8"):
        choose(one, clips=1)
    (one / "log.jsonl").unlink()
    with pytest.raises(RunError, match="one: its log has no loss"):
        choose(one)
    (one / "config.yaml").write_text("nothing")
    with pytest.raises(RunError, match="is not the settings of a run"):
        choose(one)


def test_folders_stand_alone_on_the_command_line(make_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_run("default_seed=1")
    shutil.copytree("runs/pretrain/default_seed=1", "runs/pretrain/default_seed=2")
    words = ["runs/pretrain/default_seed=1", "clips=8", "runs/pretrain/default_seed=2"]
    assert _sort("select", words)[1] == [
        "clips=8", "runs=['runs/pretrain/default_seed=1','runs/pretrain/default_seed=2']",
    ]  # fmt: skip
    assert main(["select", *words, "device=cpu"]) == 0
    assert "default_seed=2" in (captured := capsys.readouterr()).err
    assert captured.out.splitlines()[0].split() == ["runs", "2"]
    assert main(["select"]) == 2
    assert "name runs, as in worldmodel select" in capsys.readouterr().err
