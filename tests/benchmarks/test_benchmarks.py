import importlib
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

import benchmarks
from benchmarks import (
    decoders,
    encode,
    loading,
    plan,
    plan_parts,
    render,
    sigreg,
    steps,
    suites,
    video,
)
from benchmarks.__main__ import PARTS, main
from benchmarks.measure import peak_tensor_bytes, time_alternately
from benchmarks.table import Row, Table
from tests.worldmodel.video.made_videos import X264, MadeVideo
from worldmodel.envs.rendering import choose_gl
from worldmodel.planners import CEM, Cost
from worldmodel.report.results import write
from worldmodel.video.decoders import why_not

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
    write(Table("speed-x", "python -m benchmarks x", {"size": 1}, rows).to_json(device="cpu"), path)
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


TINY = plan.Setting(
    24, 1, 2, 12, 24, samples=8, iterations=2, elites=3, horizon=2, block=2, size=16, patch=8,
    encoder_depth=1, encoder_heads=2,
)  # fmt: skip


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Runs a part as the command line does, at small sizes; returns its table's rows by key."""

    def measure(part, *words):
        main([part, *words, "--output", str(tmp_path)])
        name = "decoders" if part == "decoders" else f"speed-{part}"
        return json.loads((tmp_path / f"{name}.json").read_text())

    monkeypatch.setattr(sigreg, "SIZES", ((32, 16),))
    monkeypatch.setattr(sigreg, "SLICES", 64)
    monkeypatch.setattr(suites, "SCENES", 1)
    monkeypatch.setattr(encode, "SHAPE", {"width": 24, "depth": 1, "heads": 2})
    monkeypatch.setattr(encode, "HF_ROUNDS", 2)
    monkeypatch.setattr(encode, "CLIPS", 1)
    monkeypatch.setattr(steps, "PREDICTOR", {"width": 24, "depth": 1, "heads": 2})
    quick = partial(CEM, horizon=2, candidates=8, iterations=2, elites=3)
    monkeypatch.setattr(plan, "CEM", quick)
    monkeypatch.setattr(plan, "SETTINGS", {"tiny": TINY})
    monkeypatch.setattr(plan, "installed", lambda package: False)  # others are measured by hand
    monkeypatch.setattr(video, "SIZES", (64,))
    monkeypatch.setattr(loading, "WORKERS", (0, 1))
    small = ("model=smoke", "num_frames=4", "batch=4")
    monkeypatch.setattr(loading, "TRAININGS", {"smoke": (3, small)})
    monkeypatch.setattr(loading, "SIDE", 32)
    return measure


@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("sigreg", "n32.d16.m64.compiled_over_autograd"),
        ("pretrain", "pretrain.clips_per_second"),
        ("plan", "plan.seconds"),
        ("encode", "vitl.256x256x16.seconds"),
        ("suites", "flat_rich.frames_per_second"),
        pytest.param("render", "scene.speedup", marks=pytest.mark.slow),
    ],
)
def test_each_part_gives_positive_rows_with_quartiles(measure, capsys, monkeypatch, part, key):
    monkeypatch.setattr(render, "OTHERS", {"reacher": ("Reacher-v5", 2.0)})
    table = measure(part, "--repeats", "2")
    rows = {row["key"]: row for row in table["rows"]}
    assert rows[key]["n"] == 2
    assert all(0 < row["low"] <= row["value"] <= row["high"] < math.inf for row in table["rows"])
    assert table["command"] == f"python -m benchmarks {part}"
    assert f"`{key}`" in capsys.readouterr().out


def test_the_script_for_a_gpu_runs_through_on_a_cpu(measure):
    table = measure("gpu", "--device", "cpu", "--repeats", "2")
    keys = {row["key"] for row in table["rows"]}
    assert {"matrix_tflops", "vitl.vjepa2.share_of_matrix_rate"} < keys
    assert all(0 < row["low"] <= row["value"] < math.inf for row in table["rows"])


def test_every_part_is_listed():
    found = {
        path.stem
        for path in Path(benchmarks.__file__).parent.glob("*.py")
        if hasattr(importlib.import_module(f"benchmarks.{path.stem}"), "bench")
    }
    assert found == set(PARTS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sigrag"], "invalid choice"),
        (["sigreg", "--videos", "."], "sigreg takes no --videos, only --repeats, --device"),
        (["render", "--device", "cuda"], "render takes no --device"),
        (["sigreg", "--repeats", "0"], "at least 1"),
        (["gpu"], "no CUDA device here"),
        (["pretrain", "--vjepa2", "."], "it is not the repository asked for"),
        (["video"], "video needs --videos FOLDER"),
        (["loading", "--videos", "tests"], "missing: bigbuckbunny.mp4"),
        (["decoders", "--videos", "nowhere"], "nowhere: is not a folder"),
    ],
)
def test_wrong_words_are_one_line(words, said, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_worlds_are_benched_by_their_frames():
    choose_gl()
    assert render._world(3) > 0
    assert render._scene(3) > 0


# Video


@pytest.fixture
def videos(tmp_path):
    """The files that `video` asks for, small."""
    (tmp_path / "videos").mkdir()
    for name in ("bigbuckbunny.mp4", "bikes.mp4", "vtest.avi"):
        stem, _, ending = name.partition(".")
        codec = {"mp4": "libx264", "avi": "msmpeg4"}[ending]
        options = X264 if codec == "libx264" else {}
        MadeVideo(codec, ending, frames=70, size=(160, 128), options=options).write(
            tmp_path / "videos", stem
        )
    return tmp_path / "videos"


@pytest.fixture
def without_torchcodec(monkeypatch):
    """As on a machine without FFmpeg's libraries."""
    answers = {"torchcodec": "torchcodec does not work here (no libavutil); install FFmpeg"}
    for module in (video, decoders):
        monkeypatch.setattr(module, "why_not", lambda name: answers.get(name) or why_not(name))


def test_reading_video_is_measured(measure, videos):
    table = measure("video", "--videos", str(videos), "--repeats", "2")
    rows = {row["key"]: row for row in table["rows"]}
    assert rows["bikes.64.fresh.ratio"]["bar"] == 1.15
    assert rows["bikes.64.fresh.ratio"]["at_least"] is False
    assert rows["vtest.64.shared.speedup"]["at_least"] is True
    assert all(row["value"] > 0 for row in table["rows"] if row["n"])
    assert table["command"] == "python -m benchmarks video --videos videos"


def test_a_decoder_that_does_not_work_is_a_row(measure, videos, without_torchcodec, capsys):
    *rows, last = measure("video", "--videos", str(videos), "--repeats", "2")["rows"]
    assert last["key"] == "torchcodec" and last["value"] is None and "no libavutil" in last["why"]
    assert not [row for row in rows if "torchcodec" in row["key"]]
    assert "| `torchcodec` | **–** |  | 0 | torchcodec does not work" in capsys.readouterr().out
    grid = measure("decoders", "--videos", str(videos))
    assert "no libavutil" in grid["rows"][-1][0]
    assert all(len(row) == len(grid["columns"]) for row in grid["rows"])


def test_loading_is_measured_by_the_number_of_workers(measure, videos):
    table = measure("loading", "--videos", str(videos), "--repeats", "2")
    keys = [row["key"] for row in table["rows"]]
    speeds = ["workers_0.clips_per_s", "workers_1.clips_per_s", "workers_1.speedup"]
    assert keys == [*speeds, "smoke.data_wait"]
    assert all(row["value"] > 0 and row["n"] == 2 for row in table["rows"])
    assert table["rows"][-1]["value"] < 1 and table["rows"][-1]["bar"] == 0.05
    assert table["command"] == "python -m benchmarks loading --videos videos"


def test_decoders_are_compared_with_the_truth(measure, videos, capsys):
    grid = measure("decoders", "--videos", str(videos))
    rows, columns = grid["rows"][:3], grid["columns"]
    assert [row[0] for row in rows] == ["bigbuckbunny.mp4", "bikes.mp4", "vtest.avi"]
    here = [i for i, name in enumerate(columns) if name == "pyav" or name.endswith("here")]
    for row in rows:
        assert row[columns.index("pyav")] == "ok"
        assert all(row[i] == "ok" or row[i].startswith("refused: ") for i in here)
    text = capsys.readouterr().out
    assert text.count("\n| ") == len(grid["rows"]) and "benchmarks decoders" in text


def test_each_size_of_a_decision_is_measured_in_its_parts(measure):
    keys = [row["key"] for row in measure("plan", "--repeats", "2")["rows"]]
    parts = ("encode_ms", "rollout_ms", "cost_ms", "update_ms")
    assert keys[:4] == [
        "plan.see_ms", "plan.seconds", "plan.model_calls", "plan.steps_per_second"
    ]  # fmt: skip
    assert keys[4:] == [f"{size}.{part}" for size in ("plan", "tiny") for part in parts]


class Watch:
    """A clock that stands still but for what is told to take time."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def takes(self, seconds, function):
        def slower(*given, **named):
            self.now += seconds
            return function(*given, **named)

        return slower


class Slow(Cost):
    def __init__(self, cost, watch):
        self.score = watch.takes(0.5, cost)

    def __call__(self, states, actions):
        return self.score(states, actions)


def test_the_parts_of_a_decision_are_what_model_costs_and_planner_take(monkeypatch):
    watch = Watch()
    monkeypatch.setattr(plan_parts, "time", watch)
    planner, problem = plan.asked(TINY, "cpu")
    monkeypatch.setattr(problem.model, "rollout", watch.takes(2.0, problem.model.rollout))
    monkeypatch.setattr(planner, "plan", watch.takes(0.25, planner.plan))
    costs = [Slow(cost, watch) for cost in (*problem.costs, *problem.costs)]
    encode = watch.takes(8.0, lambda: None)
    problem = replace(problem, costs=costs)
    found = plan_parts.decision(planner, problem, encode, device="cpu")
    # Two iterations, and the final mean.
    assert found == {"encode": 8.0, "rollout": 3 * 2.0, "cost": 3 * 2 * 0.5, "update": 0.25}
    row = plan_parts.rows("x", planner, problem, encode, repeats=3, device="cpu")[1]
    assert (row.key, row.value, row.n) == ("x.rollout_ms", 6000.0, 3)


def test_a_decision_in_parts_is_the_decision():
    planner, problem = plan.asked(TINY, "cpu")
    made = []
    planner.plan = lambda *given, plan=planner.plan, **named: made.append(plan(*given, **named))
    plan_parts.decision(planner, problem, lambda: None, device="cpu")
    planner.plan(problem, generator=torch.Generator().manual_seed(0))
    assert torch.equal(made[0].actions, made[1].actions) and made[0].cost == made[1].cost


def test_the_decision_that_stands_beside_a_peer_is_one_of_the_setting_s_size():
    setting = replace(plan.SETTINGS["small"], samples=8, elites=2, iterations=2)
    made = plan.ours(setting, "cpu")()
    assert made.actions.shape == (setting.horizon, setting.block)
    assert 8 <= len(made.candidates) <= 10 and made.model_calls >= 2
