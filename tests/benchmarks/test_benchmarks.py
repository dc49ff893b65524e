import functools
import json
import math

import pytest
import torch

from benchmarks import bench, decoders, encode, loading, render, sigreg, video
from benchmarks.measure import peak_tensor_bytes, time_alternately
from benchmarks.table import Row, Table
from tests.worldmodel.video.made_videos import X264, MadeVideo
from worldmodel.envs.rendering import FastRenderer, choose_gl
from worldmodel.errors import ConfigError
from worldmodel.planners import CEM, GoalState
from worldmodel.report.results import markdown
from worldmodel.runs.run import Run

# Measuring


def test_peak_counts_what_is_held_at_once():
    mib = 2**20

    def one_after_the_other():
        for _ in range(5):
            torch.zeros(mib, dtype=torch.uint8)

    def together():
        return [torch.zeros(mib, dtype=torch.uint8) for _ in range(5)]

    assert peak_tensor_bytes(one_after_the_other) <= 2 * mib
    assert peak_tensor_bytes(together) == 5 * mib


def test_peak_does_not_count_views_and_what_was_there():
    x = torch.zeros(2**20, dtype=torch.uint8)
    assert peak_tensor_bytes(lambda: x.view(2, -1)[0].add_(1)) == 0
    assert peak_tensor_bytes(lambda: x[:1024].clone().view(2, -1)) == 1024


def test_peak_sees_what_autograd_keeps():
    x = torch.zeros(1000, requires_grad=True)
    assert peak_tensor_bytes(lambda: x.exp().exp().exp().sum()) >= 3 * 4000


def test_calls_alternate_after_a_warm_up():
    calls = []
    times = time_alternately(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3
    )
    assert "".join(calls) == "ab" * 4
    assert [len(seconds) for seconds in times.values()] == [3, 3]


def test_row_is_the_median_with_quartiles():
    assert Row.median("x", [5.0, 1.0, 2.0, 4.0, 3.0]) == Row("x", 3.0, 5, 2.0, 4.0)
    assert Row.median("x", [7.0]) == Row("x", 7.0, 1, 7.0, 7.0)


def test_table_is_written_in_the_shape_of_results(tmp_path):
    rows = [
        Row.median("x", [1.23456789, 1, 2], bar=1.8),
        Row.exact("y", 4),
        Row.exact("z", 5, at_most=6),
    ]
    path = tmp_path / "speed-x.json"
    Table("speed-x", "worldmodel bench x", {"size": 1}, rows).write(path, device="cpu")
    table = json.loads(path.read_text())
    assert {"name", "command", "git_commit", "machine", "protocol", "rows"} <= set(table)
    assert table["rows"] == [
        {
            "key": "x",
            "value": 1.2346,
            "n": 3,
            "low": 1.1173,
            "high": 1.6173,
            "bar": 1.8,
            "at_least": True,
        },  # fmt: skip
        {"key": "y", "value": 4, "n": 1, "low": 4, "high": 4},
        {"key": "z", "value": 5, "n": 1, "low": 5, "high": 5, "bar": 6, "at_least": False},
    ]
    assert table["machine"].endswith("cores, no GPU")
    assert list(tmp_path.iterdir()) == [path]


# Parts


def test_the_form_that_sigreg_is_compared_with_computes_the_same():
    z = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    slow = sigreg.by_autograd(z, step=3, num_slices=128)
    torch.testing.assert_close(slow, sigreg.sigreg(z, step=3, num_slices=128), rtol=1e-5, atol=0)


@pytest.fixture
def measure(tmp_path, monkeypatch):
    def measure(what):
        run = Run.open(tmp_path / "run", verb="bench", config={}, seed=0)
        try:
            return bench(
                run,
                what=what,
                repeats=2,
                results_dir=str(tmp_path / "results"),
                planner=CEM(horizon=2, candidates=8, iterations=2, elites=3),
                make_cost=GoalState,
                prepare_rendering=choose_gl,
                make_renderer=functools.partial(FastRenderer),
            )
        finally:
            run.close()

    monkeypatch.setattr(sigreg, "SIZES", ((32, 16),))
    monkeypatch.setattr(sigreg, "SLICES", 64)
    monkeypatch.setattr(encode, "SHAPE", {"width": 24, "depth": 1, "heads": 2})
    return measure


@pytest.mark.parametrize(
    ("what", "key"),
    [
        ("sigreg", "n32.d16.m64.speedup"),
        ("pretrain", "pretrain.clips_per_second"),
        ("plan", "plan.seconds"),
        ("encode", "vitl.256x256x16.seconds"),
        pytest.param("render", "scene.speedup", marks=pytest.mark.slow),
    ],
)
def test_each_part_gives_positive_rows_with_quartiles(measure, tmp_path, what, key):
    results = measure(what)
    assert results[f"{key}.n"] == 2
    assert all(math.isfinite(value) and value > 0 for value in results.values())
    assert results[f"{key}.low"] <= results[key] <= results[f"{key}.high"]
    table = json.loads((tmp_path / "run" / f"speed-{what}.json").read_text())
    assert key in {row["key"] for row in table["rows"]}
    assert not (tmp_path / "results").exists()


def test_the_documented_table_is_written_where_there_is_one(measure, tmp_path):
    (tmp_path / "results").mkdir()
    measure("sigreg")
    assert (tmp_path / "results" / "speed-sigreg.json").is_file()


def test_worlds_are_benched_by_their_frames():
    choose_gl()
    assert render._world(3) > 0
    assert render._scene(3, FastRenderer) > 0


# Video


@pytest.fixture
def videos(tmp_path):
    """The files that `bench video` asks for, small."""
    (tmp_path / "videos").mkdir()
    for name in ("bigbuckbunny.mp4", "bikes.mp4", "vtest.avi"):
        stem, _, ending = name.partition(".")
        codec = {"mp4": "libx264", "avi": "msmpeg4"}[ending]
        options = X264 if codec == "libx264" else {}
        MadeVideo(codec, ending, frames=70, size=(160, 128), options=options).write(
            tmp_path / "videos", stem
        )
    return tmp_path / "videos"


def test_reading_video_is_measured(videos, monkeypatch):
    monkeypatch.setattr(video, "SIZES", (64,))
    table = video.bench_video(videos=str(videos), repeats=2, device="cpu")
    rows = {row.key: row for row in table.rows}
    assert rows["bikes.64.fresh.ratio"].bar == 1.15
    assert rows["bikes.64.fresh.ratio"].at_least is False
    assert rows["vtest.64.shared.speedup"].at_least is True
    assert all(row.value > 0 for row in table.rows)
    assert str(videos.parent) not in table.command


def test_loading_is_measured_by_the_number_of_workers(videos, monkeypatch):
    monkeypatch.setattr(loading, "WORKERS", (0, 1))
    monkeypatch.setattr(loading, "SIDE", 32)
    table = loading.bench_loading(videos=str(videos), repeats=1, device="cpu")
    rows = {row.key: row for row in table.rows}
    assert list(rows) == ["workers_0.clips_per_s", "workers_1.clips_per_s", "workers_1.speedup"]
    assert all(row.value > 0 and row.n == 2 for row in table.rows)
    assert str(videos.parent) not in table.command


def test_decoders_are_compared_with_the_truth(videos, tmp_path):
    grid = decoders.bench_decoders(videos=str(videos))
    assert [row[0] for row in grid.rows] == ["bigbuckbunny.mp4", "bikes.mp4", "vtest.avi"]
    here = [i for i, name in enumerate(grid.columns) if name == "pyav" or name.endswith("here")]
    for row in grid.rows:
        assert row[grid.columns.index("pyav")] == "ok"
        assert all(row[i] == "ok" or row[i].startswith("refused: ") for i in here)
    grid.write(tmp_path / "decoders.json", device="cpu")
    text = markdown(json.loads((tmp_path / "decoders.json").read_text()))
    assert text.count("\n| ") == 3 and "worldmodel bench decoders" in text


def test_video_benches_ask_for_a_folder():
    for part in (
        lambda: video.bench_video(videos=None, repeats=1, device="cpu"),
        lambda: loading.bench_loading(videos=".", repeats=1, device="cpu"),
        lambda: decoders.bench_decoders(videos="nowhere"),
    ):
        with pytest.raises(ConfigError, match="needs videos=FOLDER"):
            part()
