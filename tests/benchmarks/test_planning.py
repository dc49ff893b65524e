import json
import sys
from functools import partial

import gymnasium
import numpy as np
import pytest
from PIL import Image

from benchmarks import planning
from benchmarks.planning import WORLDS, rows
from worldmodel.cli.compose import settle
from worldmodel.evaluation.statistics import wilson
from worldmodel.planners import recorded_states
from worldmodel.planners.cloning import clone


def results(held, *, n=50, floor=0.1):
    found = {"success_held": held, "success_held.n": float(n)}
    for policy, value in (("random", floor), ("noop", 0.0), ("cloning", 2 * floor)):
        found |= {f"{policy}_success_held": value, f"{policy}_success_held.n": float(n)}
    return found


def test_rows_count_the_trials_of_all_seeds_beside_the_best_floor():
    found = {
        ("reacher", seed): {"offset25": results(held, floor=floor), "crossed": results(0.5)}
        for seed, held, floor in ((1, 0.9, 0.1), (2, 0.8, 0.2))
    }
    table = {row["key"]: row for row in rows(found)}
    row = table["reacher.offset25.success"]
    assert (row["value"], row["low"], row["high"]) == pytest.approx(wilson(85, 100))
    assert row["n"] == 100 and row["seeds"] == [1, 2] and row["per_seed"] == [0.9, 0.8]
    assert row["floor"] == pytest.approx(0.3) and row["bar"] == 0.9
    assert table["reacher.crossed.success"]["bar"] == 0.8
    assert table["reacher.offset25.cloning"]["value"] == pytest.approx(0.3)


def test_rewards_are_shares_of_the_most_that_there_is():
    found = {
        ("cartpole", seed): {"upright": {"total_reward": total, "random_total_reward": 20.0}}
        for seed, total in ((1, 400.0), (2, 500.0))
    }
    table = {row["key"]: row for row in rows(found)}
    row = table["cartpole.upright.reward"]
    assert row["value"] == 0.9 and row["per_seed"] == [0.8, 1.0] and row["bar"] == 0.95
    assert row["low"] < 0.8 and row["n"] == 100
    assert table["cartpole.upright.random"]["value"] == 0.04


def test_a_table_grows_where_its_runs_are_not(tmp_path, monkeypatch, capsys):
    """What it says is not measured again, whatever lies in the folder; what is new is added."""
    asked = []

    def measure(name, seed, folder):
        asked.append((name, seed))
        return {"offset25": results(0.8) | {"seconds": 3.0}, "crossed": results(0.5)}

    monkeypatch.setattr(planning, "measure", measure)
    monkeypatch.setattr(planning, "TABLE", tmp_path / "planning.json")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["planning", *words, "--kept-in", str(tmp_path)])
        planning.main()
        return json.loads((tmp_path / "planning.json").read_text())

    first = run("--worlds", "umaze", "--seeds", "2")
    (tmp_path / "umaze/2/plan/offset25").mkdir(parents=True)
    both = run("--worlds", "reacher", "umaze", "--seeds", "1", "2")
    assert asked == [("umaze", 2), ("reacher", 1), ("reacher", 2), ("umaze", 1)]
    assert [(r["world"], r["seed"]) for r in both["runs"]] == [
        ("reacher", 1), ("reacher", 2), ("umaze", 1), ("umaze", 2)
    ]  # fmt: skip
    assert both["runs"][3] == first["runs"][0] and "git_commit" in first["runs"][0]
    assert "seconds" not in first["runs"][0]["results"]["offset25"]
    monkeypatch.setattr(planning, "EPISODES", 51)
    assert not capsys.readouterr().out
    assert [r["world"] for r in run("--worlds", "reacher", "--seeds", "1")["runs"]] == ["reacher"]
    assert "umaze seed 2 is left out: it was measured with settings" in capsys.readouterr().out


def test_a_pole_upright_is_drawn_in_many_places(tmp_path):
    WORLDS["cartpole"].images(tmp_path)
    images = [np.asarray(Image.open(path)) for path in sorted(tmp_path.glob("*.png"))]
    assert len(images) == 41 and images[0].shape == (64, 64, 3)
    columns = np.stack([(255 - image.mean(2)).sum(0) for image in images])  # of dark ink
    assert columns[0].argmax() < columns[20].argmax() < columns[40].argmax()


def test_a_biased_point_moves_by_what_its_actions_differ_from_their_middle():
    env = gymnasium.make(WORLDS["biased_point"].env, disable_env_checker=True)
    _, info = env.reset(seed=0)
    begun = info["position"]
    _, _, _, _, still = env.step(np.array([0.35, -6.0]))
    assert np.allclose(still["position"], begun)
    for _ in range(5):
        _, _, _, _, moved = env.step(np.array([1.0, -20.0]))
    assert moved["position"][0] > begun[0] and moved["position"][1] < begun[1]
    shown, told = env.reset(seed=5, options={"state": moved["state"].tolist()})
    assert np.array_equal(shown, env.render()) and np.allclose(told["state"], moved["state"])
    env.close()


@pytest.mark.parametrize("name", WORLDS)
def test_the_settings_of_every_world_are_settings(name):
    world = WORLDS[name]
    settle("collect", [f"env={world.env}", *world.collect, *world.view])
    settle("train", ["episodes=x", *world.train])
    for words in world.goals.values():
        settle("plan", [f"env={world.env}", "model=x", *world.view, *words, *world.plan])
    assert set(world.bars) <= set(world.goals)


@pytest.mark.slow
def test_a_world_is_measured_from_collecting_to_planning(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "EPISODES", 2)
    monkeypatch.setattr(recorded_states, "clone", partial(clone, steps=20))
    small = ("model.encoder.width=16", "model.action_width=16", "optimisation.steps=2", "batch=8")
    world = planning.World(
        WORLDS["reacher"].env,
        ("episodes=10", "steps=30", "behaviour=random", "recording.held_out_share=0.5"),
        train=(*planning.FRAMES[:-1], *small), view=("view.size=64",),
        plan=("planner.horizon=1", "planner.candidates=4", "planner.elites=2",
              "planner.iterations=1", "evaluation.workers=1"),
    )  # fmt: skip
    monkeypatch.setitem(WORLDS, "reacher", world)
    found = planning.measure("reacher", 1, tmp_path)
    keys = {row["key"] for row in rows({("reacher", 1): found})}
    assert {"reacher.offset25.success", "reacher.crossed.cloning"} <= keys
