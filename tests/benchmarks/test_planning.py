import pytest

from benchmarks import planning
from benchmarks.planning import WORLDS, rows
from worldmodel.cli.compose import settle
from worldmodel.evaluation.statistics import wilson


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
    assert "bar" not in table["reacher.crossed.success"]
    assert table["reacher.offset25.cloning"]["value"] == pytest.approx(0.3)


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
    small = ("model.encoder.width=16", "model.action_width=16", "optimisation.steps=2", "batch=8")
    world = planning.World(
        WORLDS["reacher"].env,
        ("episodes=10", "steps=30", "behaviour=random", "recording.held_out_share=0.5"),
        train=(*planning.FRAMES[:-1], *small), view=("view.size=64",),
        plan=("planner.horizon=1", "planner.candidates=4", "planner.elites=2",
              "planner.iterations=1", "evaluation.workers=1"),
    )  # fmt: skip
    monkeypatch.setitem(WORLDS, "reacher", world)
    planning.measure("reacher", 1, tmp_path)
    found = planning.finished(tmp_path)
    assert set(found) == {("reacher", 1)}
    keys = {row["key"] for row in rows(found)}
    assert {"reacher.offset25.success", "reacher.crossed.cloning"} <= keys
