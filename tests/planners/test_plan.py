"""The verb `plan`, from episodes on disk to the table, on a world whose truth is known."""

import json

import numpy as np
import pytest
import torch

from tests.planners.fakes import POINT_WORLD, PointModel
from worldmodel.episodes.folder import Episodes
from worldmodel.errors import CheckpointError, ConfigError, EnvError
from worldmodel.planners import CEM, ActionBounds, ActionEffort
from worldmodel.planners.behaviours import SmoothRandom
from worldmodel.planners.collect import collect
from worldmodel.planners.episode_states import cached_experience, encode_episodes
from worldmodel.planners.plan import GoalCosts, plan
from worldmodel.runs.run import Run


@pytest.fixture(scope="module")
def episodes_folder(tmp_path_factory):
    run = Run.open(tmp_path_factory.mktemp("runs") / "collect", verb="collect", config={}, seed=0)
    behaviour = SmoothRandom((4.0, 12.0))
    collect(run, env=POINT_WORLD, episodes=40, steps=60, behaviour=behaviour, labelled_fraction=0.1)
    run.close()
    return run.folder / "episodes"


@pytest.fixture
def model_folder(tmp_path, monkeypatch):
    """A folder that holds what counts as a model here; loading it gives the exact one."""
    folder = tmp_path / "trained"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr("worldmodel.planners.plan.load", lambda path: PointModel())
    return folder


def run_plan(tmp_path, model, **settings):
    run = Run.open(tmp_path / "plan", verb="plan", config={}, seed=0, existing="redo")
    settings = {
        "env": POINT_WORLD,
        "model": str(model),
        "planner": CEM(5, candidates=64, elites=8, iterations=3),
        "tasks": ["any", "hazard"],
        "episodes": 6,
        "max_steps": 40,
        "cost": "goal",
        "workers": 1,
        "keep": 2,
    } | settings
    try:
        return plan(run, **settings)
    finally:
        run.close()


def test_results_have_the_names_that_are_promised(tmp_path, model_folder):
    results = run_plan(tmp_path, model_folder)
    for name in ("success", "success_any", "success_hazard", "violation_rate"):
        assert {name, f"{name}.n", f"{name}.low", f"{name}.high"} <= set(results)
    for name in ("random_success", "noop_success"):
        assert results[name] <= 0.5 and results[f"{name}.n"] == 6
    assert results["success"] == 1.0 and results["success.n"] == 6
    assert results["already_solved"] == 0 and results["model_calls"] == 4
    assert results["seconds_per_decision"] > 0 and 5 < results["steps_to_success"] < 25


def test_first_episodes_and_all_outcomes_are_written(tmp_path, model_folder):
    run_plan(tmp_path, model_folder, floors=False)
    kept = Episodes(tmp_path / "plan" / "episodes")
    assert len(kept) == 2 and len(kept.labelled) == 2
    assert kept[1].info["goal_image"].shape == (16, 16, 3)
    outcomes = json.loads((tmp_path / "plan" / "outcomes.json").read_text())
    assert [o["task"] for o in outcomes] == ["any", "hazard"] * 3
    assert outcomes[1]["violation"] and outcomes[1]["success"]


def test_landmarks_from_episodes(tmp_path, model_folder, episodes_folder):
    settings = {
        "cost": "landmarks",
        "episodes_from": str(episodes_folder.parent),
        "num_landmarks": 60,
    }
    results = run_plan(tmp_path, model_folder, floors=False, **settings)
    assert results["success"] == 1.0
    assert results["landmarks"] == 60 and results["landmarks_joined"] > 0.9
    assert (tmp_path / "plan" / "landmarks.safetensors").is_file()


def test_guardrail_from_episodes(tmp_path, model_folder, episodes_folder):
    settings = {"tasks": ["hazard"], "episodes": 4, "floors": False}
    free = run_plan(tmp_path, model_folder, **settings)
    settings |= {"guardrail": "keepout", "episodes_from": str(episodes_folder)}
    guarded = run_plan(tmp_path, model_folder, miss_rate=0.05, **settings)
    assert free["success"] == guarded["success"] == 1.0
    assert free["violation_rate"] == 1.0 and guarded["violation_rate"] == 0.0
    assert guarded["guardrail_examples"] >= 48


def test_further_costs_and_guardrails_count(tmp_path, model_folder):
    settings = {"tasks": ["any"], "episodes": 3, "floors": False}
    lazy = run_plan(tmp_path, model_folder, more_costs=[ActionEffort(weight=1e6)], **settings)
    assert lazy["success"] == 0.0  # doing nothing is all that it can afford
    held = run_plan(tmp_path, model_folder, more_guardrails=[ActionBounds(0, 0)], **settings)
    assert held["success"] == 0.0


def test_experience_is_what_the_model_sees(episodes_folder):
    episodes = Episodes(episodes_folder)
    experience = encode_episodes(PointModel(), episodes, flag="hazard_contact")
    assert [len(s) for s in experience.sequences] == [n // 2 for n in episodes.lengths]
    first = episodes[0]
    seen = first.info["position"][1::2][: len(experience.sequences[0])]
    torch.testing.assert_close(experience.sequences[0][:, :2], seen, atol=1 / 127, rtol=0)
    flag = first.info["hazard_contact"]
    whole = len(flag) // 2 * 2
    either = flag[:whole:2] | flag[1:whole:2]
    assert torch.equal(experience.flagged[: len(either)], either)
    hazards, safe = experience.examples(10)
    assert len(hazards) == 10 and len(safe) == 40
    assert hazards[:, :2].norm(dim=1).max() < 0.25 + 0.15


def test_experience_is_kept_beside_the_model(model_folder, episodes_folder):
    episodes, weights = Episodes(episodes_folder), model_folder / "model" / "model.safetensors"
    seen = []
    settings = {"weights": weights, "flag": "hazard_contact", "on_episode": lambda: seen.append(1)}
    first = cached_experience(PointModel(), episodes, **settings)
    assert len(seen) == len(episodes)
    again = cached_experience(PointModel(), episodes, **settings)
    assert len(seen) == len(episodes) and torch.equal(first.states, again.states)
    (entry,) = (model_folder / "cache").iterdir()
    # A damaged entry and another model are both seen anew.
    entry.write_bytes(entry.read_bytes()[:50])
    assert torch.equal(cached_experience(PointModel(), episodes, **settings).states, first.states)
    weights.write_bytes(b"other weights")
    cached_experience(PointModel(), episodes, **settings)
    assert len(seen) == 3 * len(episodes) and len(list(entry.parent.iterdir())) == 2


def test_what_is_missing_is_named(tmp_path, model_folder, episodes_folder):
    with pytest.raises(ConfigError, match="episodes_from="):
        run_plan(tmp_path, model_folder, cost="landmarks")
    with pytest.raises(ConfigError, match="did you mean 'landmarks'"):
        run_plan(tmp_path, model_folder, cost="landmark")
    with pytest.raises(ConfigError, match="guardrail=keep_out.*did you mean 'keepout'"):
        run_plan(tmp_path, model_folder, guardrail="keep_out")
    with pytest.raises(ConfigError, match="no episode was ever flagged"):
        run_plan(
            tmp_path,
            model_folder,
            guardrail="keepout",
            violation="no_such_flag",
            episodes_from=str(episodes_folder),
        )
    (model_folder / "model" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no model.safetensors"):
        run_plan(tmp_path, model_folder, cost="landmarks", episodes_from=str(episodes_folder))


def test_a_goal_comes_as_an_image():
    with pytest.raises(EnvError, match="goal_image.*PixelWorld"):
        GoalCosts()({"position": np.zeros(2)})
