"""`worldmodel surprise suite=...` on suites in a folder, by small models."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.worldmodel.evaluation import suite_layouts as made
from tests.worldmodel.interop import makers
from tests.worldmodel.toys import small_model
from worldmodel import checkpoint
from worldmodel.cli.app import main
from worldmodel.runs.run import read_metrics

WINDOWS = ("protocol.window=3", "protocol.seen=1")


@pytest.fixture
def model(tmp_path) -> str:
    return str(checkpoint.save(small_model(), tmp_path / "model"))


def scored(tmp_path: Path, *words: str, name: str = "run") -> tuple[dict[str, float], Path]:
    """The results of a run and its folder."""
    words = ("surprise", *words, f"runs_dir={tmp_path / 'runs'}", f"name={name}", "device=cpu")
    assert main(list(words)) == 0
    folder = tmp_path / "runs/surprise" / name
    return read_metrics(folder)["results"], folder


def refused(tmp_path: Path, capsys, *words: str) -> str:
    """What is said to words that are refused."""
    words = ("surprise", *words, f"runs_dir={tmp_path / 'runs'}", "name=no", "device=cpu")
    assert main(list(words)) == 2
    return str(capsys.readouterr().err)


@pytest.fixture
def jumps(tmp_path) -> Path:
    """A suite in which only impossible clips change, one scene of two pairs for each property."""
    place = tmp_path / "jumps"
    still = {"1": (True, 50, 50), "2": (False, 90, 150), "3": (False, 50, 100), "4": (True, 90, 90)}
    for folder in ("visible_permanence", "occluded_permanence"):
        scene = {
            n: (can, made.grey(made.clip_levels(*levels))) for n, (can, *levels) in still.items()
        }
        made.write_scene(place / folder / "a", scene, event_frame=made.EVENT, fps=10)
    return place


def test_baselines_are_right_where_only_impossible_clips_change(tmp_path, model, jumps):
    words = (f"model={model}", "suite=intphys", f"data.path={jumps}", *WINDOWS)
    results, folder = scored(tmp_path, *words)
    for condition in ("visible", "occluded"):
        for baseline in ("pixel", "copy"):
            key = f"{baseline}.{condition}.permanence.pair_accuracy"
            assert results[key] == 1 and results[f"{key}.n"] == 2
            assert results[f"{key}.low"] < 1
        for scorer in ("", "untrained."):
            assert results[f"{scorer}{condition}.permanence.pair_accuracy"] in (0, 0.5, 1)
        for baseline in ("pixel", "copy", "untrained"):  # of one scene nothing follows
            assert results[f"{condition}.permanence.p_against_{baseline}"] == 1
    rows = {row["name"]: row for row in json.loads((folder / "scores.json").read_text())}
    assert len(rows) == 8
    row = rows["occluded_permanence/a/3"]
    # Six time steps, four windows; the hidden steps 2 to 5 of which step 3 is the first to differ.
    assert len(row["model"]) == len(row["untrained"]) == 4
    assert np.flatnonzero(row["pixel"]).tolist() == [1, 2]
    assert row["possible"] is False and row["event"] == pytest.approx(0.6)
    assert not any(rows["occluded_permanence/a/1"]["pixel"])


def test_the_protocol_is_written_with_a_hash_that_models_share(tmp_path, model, jumps, capsys):
    words = ("suite=intphys", f"data.path={jumps}", *WINDOWS)
    _, folder = scored(tmp_path, f"model={model}", *words)
    first = json.loads((folder / "protocol.json").read_text())
    assert first["protocol_sha256"] in capsys.readouterr().err
    assert first["window"] == "3" and first["suite"] == "IntPhys: 8 clips of 2 scenes"
    torch.manual_seed(5)
    other = checkpoint.save(small_model(per_token=True), tmp_path / "other")
    _, folder = scored(tmp_path, f"model={other}", *words, name="other")
    assert json.loads((folder / "protocol.json").read_text()) == first
    _, folder = scored(tmp_path, f"model={model}", *words, "protocol.fps=5", name="slower")
    assert json.loads((folder / "protocol.json").read_text()) != first
    assert "has 10 frames per second, the model is shown 5, the nearest" in capsys.readouterr().err


def test_the_largest_window_can_stand_for_a_clip(tmp_path, model):
    """By their means the possible clips change more, by their largest window the others."""
    gentle, sudden = [50, 60] * 6, [50] * 10 + [110] * 2
    for scene in ("a", "b"):
        clips = {"1": (True, made.grey(gentle)), "2": (False, made.grey(sudden))}
        made.write_scene(tmp_path / "suite/visible_x" / scene, clips, fps=10)
    words = (f"model={model}", "suite=intphys", f"data.path={tmp_path / 'suite'}", *WINDOWS)
    key = "pixel.visible.x.pair_accuracy"
    assert scored(tmp_path, *words)[0][key] == 0
    # Of four hidden frames one jumps by 60, where each of the others changes by 10.
    assert scored(tmp_path, *words, "protocol.aggregation=max", name="max")[0][key] == 1


@pytest.mark.parametrize("name", ["grasp", "inflevel", "intphys2"])
def test_suites_of_videos_are_scored(tmp_path, model, name):
    (tmp_path / "data").mkdir()
    suite = made.SUITES[name](tmp_path / "data")
    results, _ = scored(
        tmp_path, f"model={model}", f"suite={name}", f"data.path={suite.path}", *WINDOWS
    )
    for what in suite.properties:
        for scorer in ("pixel.", "copy."):  # the impossible clips jump further
            assert results[f"{scorer}{what}.pair_accuracy"] == 1
        assert results[f"{what}.pair_accuracy.n"] == len(suite.pairs) / len(suite.properties)
    assert results["pixel.pair_accuracy.n"] == len(suite.pairs)  # all properties together


def test_clips_of_different_lengths_are_scored_over_as_many_windows(tmp_path, model, capsys):
    for name, frames in (("P_X", 12), ("IP_X", 16)):
        made.write_video(tmp_path / "g" / name / "1.mp4", made.grey(range(50, 50 + frames)))
    words = (f"model={model}", "suite=grasp", f"data.path={tmp_path / 'g'}", *WINDOWS)
    _, folder = scored(tmp_path, *words)
    rows = json.loads((folder / "scores.json").read_text())
    assert [len(row["model"]) for row in rows] == [4, 4]
    assert "1 pairs are of clips of different lengths (the first: P_X/1" in capsys.readouterr().err


def test_a_suite_without_labels_ends_in_a_file_to_submit(tmp_path, model):
    scene = made.quartet(labelled=False)
    made.write_scene(tmp_path / "suite/test/O1/0001", scene)
    words = (f"model={model}", "suite=intphys", "suite.split=test", *WINDOWS)
    results, folder = scored(tmp_path, *words, f"data.path={tmp_path / 'suite'}")
    assert results == {"clips": 4}
    with zipfile.ZipFile(folder / "submission.zip") as archive:
        lines = archive.read("answer.txt").decode().splitlines()
    rows = json.loads((folder / "scores.json").read_text())
    for line, row in zip(lines, rows, strict=True):
        name, plausible = line.split()
        assert name == row["name"] and row["possible"] is None
        assert float(plausible) == pytest.approx(1 / (1 + np.mean(row["model"])))


def test_the_rate_that_a_model_learned_at_is_kept(tmp_path, model, jumps, capsys):
    run = tmp_path / "learned"
    checkpoint.save(small_model(), run / "model")
    settings = {"verb": "pretrain", "data": {"path": "videos", "fps": 5.0}}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    words = (f"model={run}", "suite=intphys", f"data.path={jumps}", *WINDOWS)
    _, folder = scored(tmp_path, *words)
    assert json.loads((folder / "protocol.json").read_text())["fps"] == "5"
    assert "has 10 frames per second, the model is shown 5" in capsys.readouterr().err
    _, folder = scored(tmp_path, *words, "protocol.fps=10", name="said")
    assert json.loads((folder / "protocol.json").read_text())["fps"] == "10"


def test_what_does_not_go_together_is_refused(tmp_path, model, jumps, capsys):
    suite = (f"model={model}", "suite=intphys", f"data.path={jumps}")
    for words, said in (
        (suite[:2], "data.path is not set: say where the suite is"),
        ((*suite, "clips=x.mp4"), "clips= scores a video, suite= a published suite"),
        ((*suite, "window.seen=2"), "say protocol.window= and protocol.seen="),
        ((*suite, "fps=5"), "of a published suite say protocol.fps="),
        ((suite[0], suite[2]), "data.path is of a published suite: say which with suite="),
        ((suite[0], "protocol.window=4", "protocol.seen=2"), "protocol is of a published suite"),
        ((*suite, "protocol.seen=8"), "protocol.seen=8: leaves nothing to predict"),
        ((*suite, "protocol.memory=long"), "memory=long: MaskedPredictor looks at no more"),
        (suite, "permanence/a/1: has 6 time steps of 2 frames, fewer than a window of 8; set"),
        ((*suite, *WINDOWS, "protocol.fps=3"), "has 2 time steps of 2 frames at 3 frames per sec"),
        ((*suite, *WINDOWS, "protocol.fps=20"), "too few for fps=20 without showing a frame tw"),
        ((*suite, "suite.split=train"), "suite.split=train is unknown"),
        ((suite[0], "suite=physion"), "there is no suite 'physion'; choose from: grasp, inflevel"),
    ):
        assert said in refused(tmp_path, capsys, *words), words
        assert not (tmp_path / "runs/surprise/no").exists()


def test_random_v_jepa_weights_are_at_chance_on_noise(tmp_path):
    """Clips of noise: the two of a pair are alike for three time steps, and then not."""
    random = np.random.default_rng(0)
    for scene in range(12):
        begins, ends = random.integers(0, 256, (2, 2, 6, 16, 16, 3), dtype=np.uint8)
        both = ((True, 0, 0), (True, 1, 1), (False, 0, 1), (False, 1, 0))
        clips = {
            str(n): (can, np.concatenate([begins[i], ends[j]]))
            for n, (can, i, j) in enumerate(both, start=1)
        }
        made.write_scene(tmp_path / f"suite/dev/O1/{scene:02d}", clips)
    makers.hf_model().save_pretrained(tmp_path / "vjepa2")
    words = (f"model={tmp_path / 'vjepa2'}", "suite=intphys", f"data.path={tmp_path / 'suite'}")
    results, _ = scored(tmp_path, *words, "protocol.window=4", "protocol.seen=2")
    for scorer in ("", "pixel.", "copy.", "untrained."):
        key = f"{scorer}permanence.pair_accuracy"
        assert results[f"{key}.n"] == 24
        assert results[f"{key}.low"] <= 0.5 <= results[f"{key}.high"], scorer
