import json

import pytest

from worldmodel.cli.quickstart import Stage, _fill, gather, quickstart
from worldmodel.errors import ConfigError, RunError
from worldmodel.interop.load import load
from worldmodel.runs.run import Run, read_metrics

FOUND = {"success": 0.9, "success.n": 50, "success.low": 0.8, "success.high": 0.95, "steps": 7.0}


def test_gathered_results_bring_their_counts_and_intervals():
    assert gather(FOUND, {"plan.success": "success"}) == {
        "plan.success": 0.9,
        "plan.success.n": 50,
        "plan.success.low": 0.8,
        "plan.success.high": 0.95,
    }
    assert gather(FOUND, {"n": "steps"}) == {"n": 7.0}
    assert gather(FOUND, {}) == {}


def test_a_star_gathers_all_that_begin_alike():
    assert gather(FOUND, {"plan.*": "*"}) == {f"plan.{k}": v for k, v in FOUND.items()}
    assert gather(FOUND, {"a.*": "success.*"}) == {"a.n": 50, "a.low": 0.8, "a.high": 0.95}


def test_what_was_not_found_is_named():
    with pytest.raises(ConfigError, match="no result 'sucess' to call plan.s: did you mean 'succ"):
        gather(FOUND, {"plan.s": "sucess"})


def write_story(folder, results, seed=0):
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"seed": seed, "results": results}))
    return folder


def test_settings_are_filled_with_folders_and_times(tmp_path):
    main = write_story(tmp_path / "main", {"seconds.video": 20.06, "seconds.actions": 10.0})
    stage = Stage(
        "s", "train", ["a={folder}/x", "b={main}/y", "c={seconds}"], time_of=["video", "actions"]
    )
    assert _fill(stage, tmp_path, str(main)) == [f"a={tmp_path}/x", f"b={main}/y", "c=30.1"]
    with pytest.raises(ConfigError, match="stage s takes the time of another story: set main="):
        _fill(stage, tmp_path, None)
    with pytest.raises(RunError, match="not finished"):
        _fill(stage, tmp_path, str(tmp_path / "nowhere"))


@pytest.fixture
def verbs(monkeypatch):
    """Verbs that leave what real ones leave; returns what was called."""
    called = []

    def fake(verb, words, *, runs_dir, name):
        called.append((verb, words))
        folder = runs_dir / verb / name
        run = Run.open(folder, verb=verb, config={}, seed=0)
        if verb in ("pretrain", "train"):
            run.model_folder.mkdir()
            for file in ("model.json", "model.safetensors"):
                (run.model_folder / file).write_text(f"{file} of {name}")
        results = run.finish({"loss": float(len(called))})
        metrics = json.loads((folder / "metrics.json").read_text())
        metrics |= {"seconds": 10.0 * len(called), "memory_peak_gib": 3.0 - len(called)}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        return results

    monkeypatch.setattr("worldmodel.cli.quickstart.run_verb", fake)
    return called


@pytest.fixture
def run(tmp_path):
    run = Run.open(tmp_path / "story", verb="quickstart", config={}, seed=3)
    yield run
    run.close()


def test_stages_run_in_order_and_are_gathered_and_timed(run, verbs):
    stages = [
        Stage("video", "pretrain", ["a=1"], {"first": "loss"}),
        Stage("goals", "plan", ["model={folder}/train"], {"second": "loss"}),
    ]
    results = quickstart(run, stages=stages, seed=3)
    assert verbs == [
        ("pretrain", ["a=1", "seed=3", "device=cpu"]),
        ("plan", [f"model={run.folder}/train", "seed=3", "device=cpu"]),
    ]
    assert results == {
        "first": 1.0,
        "second": 2.0,
        "seconds.video": 10.0,
        "seconds.goals": 20.0,
        "seconds.total": 30.0,
        "memory.peak_gib": 2.0,
    }


def test_the_storys_model_is_the_last_that_was_trained(run, verbs):
    stages = [Stage("v", "pretrain"), Stage("w", "train"), Stage("g", "plan")]
    quickstart(run, stages=stages)
    assert (run.model_folder / "model.json").read_text() == "model.json of w"
    assert (run.model_folder / "model.safetensors").read_text() == "model.safetensors of w"


def test_a_story_that_trains_nothing_has_no_model(run, verbs):
    assert quickstart(run, stages=[Stage("g", "plan")])["seconds.total"] == 10.0
    assert not run.model_folder.exists()


def test_a_story_is_compared_with_one_of_its_own_seed(run, verbs, tmp_path):
    main = write_story(tmp_path / "main", {}, seed=4)
    with pytest.raises(ConfigError, match="main: is the story of seed 4, not of 3"):
        quickstart(run, stages=[Stage("g", "plan")], main=str(main), seed=3)
    assert quickstart(run, stages=[Stage("g", "plan")], main=str(main), seed=4)


def test_a_story_without_stages_is_refused(run):
    with pytest.raises(ConfigError, match="a story needs stages"):
        quickstart(run, stages=[])


@pytest.mark.slow
def test_the_real_story_leaves_its_model_where_it_is_loaded_from(smoke):
    folder = smoke / "runs" / "quickstart"
    model = load(folder)
    assert model.action_dim == 2 and model.action_predictor is not None
    trained = (folder / "train" / "actions" / "model" / "model.safetensors").read_bytes()
    assert (folder / "model" / "model.safetensors").read_bytes() == trained
    results = read_metrics(folder)["results"]
    seconds = {name: value for name, value in results.items() if name.startswith("seconds.")}
    total = seconds.pop("seconds.total")
    # A story told in one go takes longer than its stages by what lies between them; one that went
    # on takes exactly as long as they did. Another test may have told this one again.
    assert len(seconds) >= 8 and total >= sum(seconds.values()) - 0.001 * len(seconds)
