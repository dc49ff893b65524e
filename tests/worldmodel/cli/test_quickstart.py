import json

import pytest

from worldmodel.cli.compose import settle
from worldmodel.cli.quickstart import gather, quickstart, run_stages
from worldmodel.cli.stages import SCALES, STORIES, Stage
from worldmodel.errors import ConfigError, RunError
from worldmodel.runs.run import Run

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


@pytest.fixture
def main(tmp_path):
    """A finished story to compare with."""
    return write_story(tmp_path / "main, é", {"seconds.video": 20.06, "seconds.actions": 10.0})


@pytest.mark.parametrize("scale", sorted(SCALES))
@pytest.mark.parametrize("story", sorted(STORIES))
def test_every_stage_of_every_story_is_taken_by_its_verb(story, scale, main, tmp_path):
    stages = STORIES[story](tmp_path / "a b", SCALES[scale], main)
    assert len({(stage.verb, stage.name) for stage in stages}) == len(stages) > 2
    for stage in stages:
        settle(stage.verb, stage.words)


def settings_of(stages, name):
    (stage,) = [stage for stage in stages if stage.name == name]
    return settle(stage.verb, stage.words)


def test_the_quickstart_learns_as_its_published_numbers_were_made(tmp_path):
    stages = STORIES["quickstart"](tmp_path, SCALES["full"], tmp_path)
    video = settings_of(stages, "video")
    assert video["data"]["path"] == f"{tmp_path}/collect/rollouts/episodes"
    assert (video["batch"], video["num_frames"], video["objective"]["regulariser"]["weight"]) == (
        96,
        4,
        3,
    )
    assert video["optimisation"]["steps"] == 800
    assert video["optimisation"]["learning_rate"] == 0.002
    assert settings_of(stages, "rollouts")["recording"]["reset_options"] == {"task": "explore"}
    assert settings_of(stages, "goals")["planner"]["candidates"] == 96


def test_a_comparison_trains_for_as_long_as_the_story_did(main, tmp_path):
    stages = STORIES["scratch"](tmp_path, SCALES["full"], main)
    assert settings_of(stages, "actions")["optimisation"]["seconds"] == 30.1
    assert settings_of(stages, "actions")["episodes"] == f"{main}/collect/rollouts/episodes"
    with pytest.raises(RunError, match="not finished"):
        STORIES["scratch"](tmp_path, SCALES["full"], tmp_path / "nowhere")


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
        Stage("goals", "plan", ["b=2"], {"second": "loss"}),
    ]
    results = run_stages(run, stages, seed=3)
    assert verbs == [
        ("pretrain", ["a=1", "seed=3", "device=cpu"]),
        ("plan", ["b=2", "seed=3", "device=cpu"]),
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
    run_stages(run, stages)
    assert (run.model_folder / "model.json").read_text() == "model.json of w"
    assert (run.model_folder / "model.safetensors").read_text() == "model.safetensors of w"


def test_a_story_that_trains_nothing_has_no_model(run, verbs):
    assert run_stages(run, [Stage("g", "plan")])["seconds.total"] == 10.0
    assert not run.model_folder.exists()


def test_a_story_is_compared_with_one_of_its_own_seed(run, main):
    with pytest.raises(ConfigError, match="is the story of seed 0, not of 3"):
        quickstart(run, story="scratch", main=str(main), seed=3)
    with pytest.raises(ConfigError, match="name it with main="):
        quickstart(run, story="scratch")
