"""The verb `plan`, from episodes on disk to the table, on a world whose truth is known."""

import json
from dataclasses import fields
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch

from tests.planners.fakes import POINT_WORLD, PointModel, PointWorld, draw
from worldmodel import report
from worldmodel.cli.runner import run_verb
from worldmodel.episodes.episode import FolderInfo
from worldmodel.episodes.folder import Episode, Episodes, EpisodeWriter
from worldmodel.episodes.joined import read_episodes
from worldmodel.errors import CheckpointError, ConfigError, EnvError
from worldmodel.planners import (
    CEM,
    ActionBounds,
    ActionEffort,
    Cost,
    Factory,
    GoalAlongLandmarks,
    GoalImage,
    Guardrail,
    KeepOutFlagged,
    Planner,
)
from worldmodel.planners.agent import AgentSettings
from worldmodel.planners.behaviours import SmoothRandom
from worldmodel.planners.collect import Recording, collect
from worldmodel.planners.costs import GoalBySubgoals
from worldmodel.planners.episode_loop import EpisodeRecord, run_episode
from worldmodel.planners.episode_states import cached_states, encode_episodes
from worldmodel.planners.evaluate import Evaluation
from worldmodel.planners.kept_records import KeptRecords, evaluation_of
from worldmodel.planners.plan_verb import plan, trained_on
from worldmodel.planners.planner import Search
from worldmodel.planners.success import Success
from worldmodel.planners.tasks import Task
from worldmodel.planners.ways import Passage
from worldmodel.runs.run import Run


@pytest.fixture(scope="module")
def episodes_folder(tmp_path_factory):
    run = Run.open(tmp_path_factory.mktemp("runs") / "collect", verb="collect", config={}, seed=0)
    behaviour = SmoothRandom((4.0, 12.0))
    collect(
        run,
        env=POINT_WORLD,
        episodes=40,
        steps=60,
        behaviour=behaviour,
        recording=Recording(labelled_fraction=0.1, held_out_share=0),
    )
    run.close()
    return run.folder / "episodes"


@pytest.fixture
def model_folder(tmp_path, monkeypatch):
    """A folder that holds what counts as a model here; loading it gives the exact one."""
    folder = tmp_path / "trained"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    for module in ("plan_verb", "recorded_states"):
        monkeypatch.setattr(f"worldmodel.planners.{module}.load", lambda path: PointModel())
    return folder


EVALUATION = {f.name for f in fields(Evaluation)}
AGENT = {f.name for f in fields(AgentSettings)}


def run_plan(tmp_path, model, **settings):
    run = Run.open(tmp_path / "plan", verb="plan", config={}, seed=0, existing="redo")
    settings = {
        "env": POINT_WORLD,
        "model": str(model),
        "planner": CEM(5, candidates=64, elites=8, iterations=3),
        "tasks": ["any", "hazard"],
        "episodes": 6,
        "max_steps": 40,
        "cost": GoalImage(),
        "workers": 1,
        "keep": 2,
    } | settings
    evaluation = {name: settings.pop(name) for name in EVALUATION & settings.keys()}
    agent = {name: settings.pop(name) for name in AGENT & settings.keys()}
    try:
        return plan(
            run, evaluation=Evaluation(**evaluation), agent=AgentSettings(**agent), **settings
        )
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
    run_plan(tmp_path, model_folder, baselines=False)
    kept = Episodes(tmp_path / "plan" / "episodes")
    assert len(kept) == 2 and len(kept.labelled) == 2
    assert kept[1].info["goal_image"].shape == (16, 16, 3)
    outcomes = json.loads((tmp_path / "plan" / "outcomes.json").read_text())
    assert [o["task"] for o in outcomes] == ["any", "hazard"] * 3
    assert outcomes[1]["violation"] and outcomes[1]["success"]


def test_how_soon_goals_are_reached_is_written_beside_the_baselines(tmp_path, model_folder):
    results = run_plan(tmp_path, model_folder)
    shares = json.loads((tmp_path / "plan" / "reached_by.json").read_text())
    assert set(shares) == {"planner", "random", "noop"}
    assert len(shares["planner"]) == 41 and shares["planner"][-1] == results["success"]
    assert shares["planner"] == sorted(shares["planner"])


@pytest.mark.parametrize("make", [GoalAlongLandmarks, GoalBySubgoals])
def test_landmarks_from_episodes(tmp_path, model_folder, episodes_folder, make):
    settings = {
        "cost": make(num_landmarks=60),
        "episodes_from": str(episodes_folder.parent),
    }
    results = run_plan(tmp_path, model_folder, baselines=False, **settings)
    assert results["success"] == 1.0
    assert results["landmarks"] == 60 and results["landmarks_joined"] > 0.9


def test_guardrail_from_episodes(tmp_path, model_folder, episodes_folder):
    settings = {"tasks": ["hazard"], "episodes": 4, "baselines": False}
    free = run_plan(tmp_path, model_folder, **settings)
    guardrail = KeepOutFlagged(miss_rate=0.05)
    settings |= {"guardrail": guardrail, "episodes_from": str(episodes_folder)}
    guarded = run_plan(tmp_path, model_folder, **settings)
    assert free["success"] == guarded["success"] == 1.0
    assert free["violation_rate"] == 1.0 and guarded["violation_rate"] == 0.0
    assert guarded["guardrail_examples"] >= 48


def test_further_costs_and_guardrails_count(tmp_path, model_folder):
    settings = {"tasks": ["any"], "episodes": 3, "baselines": False}
    lazy = run_plan(tmp_path, model_folder, more_costs=[ActionEffort(weight=1e6)], **settings)
    assert lazy["success"] == 0.0  # doing nothing is all that it can afford
    held = run_plan(tmp_path, model_folder, more_guardrails=[ActionBounds(0, 0)], **settings)
    assert held["success"] == 0.0


def test_episode_states_are_what_the_model_sees(episodes_folder):
    episodes = Episodes(episodes_folder)
    recorded = encode_episodes(PointModel(), episodes, flag="hazard_contact")
    assert [len(s) for s in recorded.sequences] == [n // 2 for n in episodes.lengths]
    first = episodes[0]
    seen = first.info["position"][1::2][: len(recorded.sequences[0])]
    torch.testing.assert_close(recorded.sequences[0][:, :2], seen, atol=1 / 127, rtol=0)
    flag = first.info["hazard_contact"]
    whole = len(flag) // 2 * 2
    either = flag[:whole:2] | flag[1:whole:2]
    assert torch.equal(recorded.flagged[: len(either)], either)
    hazards, safe = recorded.examples(10)
    assert len(hazards) == 10 and len(safe) == 40
    assert hazards[:, :2].norm(dim=1).max() < 0.25 + 0.15


@pytest.mark.parametrize("length", [6, 7])
def test_the_last_state_of_an_episode_that_ended_is_flagged_in_the_middle_of_a_block_too(
    tmp_path, length
):
    """States of two frames, two apart: of seven frames, none shows the last."""
    info = {"terminated": np.array([False] * (length - 1) + [True])}
    frames, actions = np.zeros((length, 8, 8, 3), np.uint8), np.zeros((length - 1, 2), np.float32)
    with EpisodeWriter(tmp_path, FolderInfo(POINT_WORLD, 10.0, (-1, -1), (1, 1))) as writer:
        writer.write(Episode.from_numpy(frames, actions, fps=10.0, info=info))
    recorded = encode_episodes(PointModel(), Episodes(tmp_path), flag="terminated")
    assert recorded.flagged.tolist() == [False, False, True]


def test_a_state_whose_flag_was_not_told_is_no_safe_example(tmp_path):
    nan = float("nan")
    flags = {"told": [0, 0, 0, 1, 0, 0.0], "gaps": [nan, 0, nan, 1, 0, 0.0], "none": None}
    with EpisodeWriter(tmp_path, FolderInfo("world", 10.0, (), ())) as writer:
        for flag in flags.values():
            info = {} if flag is None else {"hazard_contact": np.array(flag)}
            frames = np.stack([draw((0.1 * t, 0.0)) for t in range(6)])
            writer.write(Episode.from_numpy(frames, None, fps=10, info=info))
    recorded = encode_episodes(PointModel(), Episodes(tmp_path), flag="hazard_contact")
    assert recorded.flagged.tolist() == [False, True, False] * 2 + [False] * 3
    hazards, safe = recorded.examples(10)
    assert len(hazards) == 2 and len(safe) == 3
    assert sorted(safe[:, 0].round(decimals=1).tolist()) == pytest.approx([0.1, 0.5, 0.5])


def test_episode_states_are_kept_beside_the_model(model_folder, episodes_folder):
    episodes, weights = Episodes(episodes_folder), model_folder / "model" / "model.safetensors"
    seen = []
    settings = {"weights": weights, "flag": "hazard_contact", "on_episode": lambda: seen.append(1)}
    first = cached_states(PointModel(), episodes, **settings)
    assert len(seen) == len(episodes)
    again = cached_states(PointModel(), episodes, **settings)
    assert len(seen) == len(episodes) and torch.equal(first.states, again.states)
    (entry,) = (model_folder / "cache").iterdir()
    # A damaged entry and another model are both seen anew.
    entry.write_bytes(entry.read_bytes()[:50])
    assert torch.equal(cached_states(PointModel(), episodes, **settings).states, first.states)
    weights.write_bytes(b"other weights")
    cached_states(PointModel(), episodes, **settings)
    assert len(seen) == 3 * len(episodes) and len(list(entry.parent.iterdir())) == 2


def test_what_is_missing_is_named(tmp_path, model_folder, episodes_folder):
    with pytest.raises(ConfigError, match="GoalAlongLandmarks.*episodes_from="):
        run_plan(tmp_path, model_folder, cost=GoalAlongLandmarks())
    with pytest.raises(ConfigError, match="at least one cost"):
        run_plan(tmp_path, model_folder, cost=None)
    with pytest.raises(ConfigError, match="no episode was ever flagged"):
        run_plan(
            tmp_path,
            model_folder,
            guardrail=KeepOutFlagged(),
            violation="no_such_flag",
            episodes_from=str(episodes_folder),
        )
    (model_folder / "model" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no model.safetensors"):
        run_plan(
            tmp_path,
            model_folder,
            cost=GoalAlongLandmarks(),
            episodes_from=str(episodes_folder),
        )


def test_a_goal_comes_as_an_image():
    with pytest.raises(EnvError, match="goal_image.*PixelWorld"):
        GoalImage().for_episode({"position": np.zeros(2)})


@pytest.mark.parametrize("factory", [GoalAlongLandmarks(), GoalBySubgoals(), KeepOutFlagged()])
def test_what_learns_from_episodes_is_prepared_first(factory):
    with pytest.raises(ConfigError, match="recorded episodes"):
        factory.for_episode({"goal_image": draw((0, 0))})


class Mute(PointWorld):
    """Tells of no hazard, and of success under gymnasium-robotics' name and only when asked."""

    def __init__(self, name=None):
        super().__init__()
        self.name = name

    def reset(self, **settings):
        observation, info = super().reset(**settings)
        return observation, {"goal_image": info["goal_image"]}

    def step(self, action):
        *rest, info = super().step(action)
        return *rest, {self.name: float(info["success"])} if self.name else {}


if "test/Mute-v0" not in gymnasium.registry:
    gymnasium.register("test/Mute-v0", entry_point=Mute)


def test_a_world_that_never_tells_of_a_hazard_has_no_violation_rate(tmp_path, model_folder, capsys):
    settings = {"env": "test/Mute-v0", "episodes": 2, "env_options": {"name": "is_success"}}
    results = run_plan(tmp_path, model_folder, **settings)
    assert results["success"] == 1 and results["random_success"] <= 0.5
    assert not any("violation" in name for name in results)
    assert "no info 'hazard_contact' in any step" in capsys.readouterr().err
    outcomes = json.loads((tmp_path / "plan" / "outcomes.json").read_text())
    assert [(o["success"], o["violation"]) for o in outcomes] == [(True, None)] * 2


def test_a_world_that_tells_nothing_has_no_rates_and_its_page_has_none(tmp_path, model_folder):
    run_plan(tmp_path, model_folder, env="test/Mute-v0", episodes=2)
    run = Run.open(tmp_path / "plan", verb="plan", config={}, seed=0)
    outcomes = json.loads((tmp_path / "plan" / "outcomes.json").read_text())
    assert [(o["success"], o["violation"]) for o in outcomes] == [(None, None)] * 2
    run.finish({"model_calls": 4.0})
    page = report.build(tmp_path / "plan").read_text()
    assert "Acting" in page and "hazard touched" not in page and "reached" not in page


# Adding a cost, a guardrail or a planner is adding a class, named by `_target_`: these are in no
# list, and the settings below go the way of the command line.


class NearGoal(Cost):
    """Squared distance to a goal position, which the reset's info names; needs no image."""

    def __init__(self, goal):
        self.goal = goal

    def __call__(self, states, actions):
        return (states[..., :2] - self.goal).square().sum(dim=(1, 2))


class NearGoalOfEpisode(Factory[Cost]):
    def __init__(self, name):
        self.name = name

    def for_episode(self, info):
        return NearGoal(torch.as_tensor(info[self.name][0, 0, :2] / 127.5 - 1).float())


class FarFrom(Guardrail):
    """Keep at a distance from some positions."""

    def __init__(self, positions, distance):
        self.positions, self.distance = positions, distance

    def margin(self, states, actions):
        return torch.cdist(states[..., :2], self.positions).amin(dim=-1) - self.distance


class FarFromFlagged(Factory[Guardrail]):
    needs_episodes = True

    def __init__(self, distance):
        self.distance, self.flagged = distance, None

    def prepare(self, recorded, *, seed):
        prepared = FarFromFlagged(self.distance)
        prepared.flagged = recorded.states[recorded.flagged][:, :2]
        return prepared

    def report(self):
        return {"flagged_states": float(len(self.flagged))}

    def for_episode(self, info):
        return FarFrom(self.flagged, self.distance)


class OneOf(Planner):
    """Tries random actions once."""

    def __init__(self, count):
        self.count = count

    def plan(self, problem, *, generator, warm_start=None):
        search = Search(problem)
        search.score(torch.randn(self.count, 4, problem.action_dim, generator=generator))
        return search.finish()


def run_words(tmp_path, *words):
    words = ["evaluation.workers=1", "evaluation.max_steps=40", f"env={POINT_WORLD}", *words]
    return run_verb("plan", words, runs_dir=tmp_path / "runs", name="own")


def test_a_cost_a_guardrail_and_a_planner_of_ones_own_are_named_by_target(
    tmp_path, model_folder, episodes_folder
):
    here = "tests.planners.test_plan"
    results = run_words(
        tmp_path,
        f"model={model_folder}",
        f"episodes_from={episodes_folder}",
        "evaluation.tasks=[hazard]",
        "episodes=3",
        f"planner._target_={here}.OneOf",
        "+planner.count=600",
        f"cost._target_={here}.NearGoalOfEpisode",
        "+cost.name=goal_image",
        "guardrail=keepout",
        f"guardrail._target_={here}.FarFromFlagged",
        "+guardrail.distance=0.15",
        f"agent.more_costs=[{{_target_: {here}.NearGoalOfEpisode, name: goal_image}}]",
    )
    assert results["success"] == 1.0 and results["violation_rate"] == 0.0
    assert results["flagged_states"] >= 48 and results["model_calls"] == 1
    assert results["noop_success"] == 0.0


def test_a_diagnosis_stands_among_the_results(tmp_path, model_folder, episodes_folder):
    results = run_plan(
        tmp_path, model_folder, episodes=2, diagnose=2, baselines=False,
        episodes_from=str(episodes_folder),
    )  # fmt: skip
    assert results["diagnosis_rank_random"] > 0.9
    assert results["diagnosis_rank_best.n"] == 2
    assert not any("other" in name and "actions" not in name for name in results)


def test_a_diagnosis_predicts_episodes_of_another_behaviour_too(
    tmp_path, model_folder, episodes_folder
):
    results = run_plan(
        tmp_path, model_folder, episodes=1, diagnose=1, baselines=False,
        other_episodes=str(episodes_folder),
    )  # fmt: skip
    # The model is exact, whoever acted.
    assert results["diagnosis_other_error_over_standing_still_16"] < 1e-3
    assert results["diagnosis_other_error_with_other_actions_16"] > 100
    with pytest.raises(ConfigError, match="other_episodes= is for a diagnosis"):
        run_plan(tmp_path, model_folder, other_episodes=str(episodes_folder))
    with EpisodeWriter(tmp_path / "wide", FolderInfo("other", 10.0, (0,), (1,))) as writer:
        frames = np.zeros((5, 8, 8, 3), np.uint8)
        writer.write(Episode.from_numpy(frames, np.zeros((4, 1), np.float32), fps=10.0, info={}))
    with pytest.raises(ConfigError, match="actions are 1 numbers, the model has learned .* of 2"):
        run_plan(tmp_path, model_folder, diagnose=1, other_episodes=str(tmp_path / "wide"))
    assert not (tmp_path / "plan/protocol.json").exists()  # it had not planned


def test_goals_come_from_other_episodes_than_what_is_learned_from(
    tmp_path, model_folder, episodes_folder
):
    place = Run.open(tmp_path / "collect", verb="collect", config={}, seed=1)
    collect(
        place, env=POINT_WORLD, episodes=10, steps=40, behaviour=SmoothRandom((4.0, 12.0)),
        recording=Recording(held_out_share=0.9),
    )  # fmt: skip
    place.close()
    way = Passage({"position": [[0.1, None]]}, {"position": [[None, -0.1]]})
    words = {
        "tasks": [], "episodes": 3, "offset": 20, "goal": "episodes", "pairs": way,
        "success": Success(within={"position": 0.1}), "baselines": False, "max_steps": None,
        "cost": GoalImage(), "episodes_from": str(episodes_folder),
    }  # fmt: skip
    results = run_plan(tmp_path, model_folder, goals_from=str(place.folder), **words)
    assert results["success.n"] == 3
    asked = json.loads((tmp_path / "plan/protocol.json").read_text())
    assert "by a passage from position in 0.1.. to position in ..-0.1" in asked["tasks"]
    pairs = json.loads((tmp_path / "plan/pairs.json").read_text())
    assert pairs["dataset"]["name"] == "episodes" and pairs["split"] == "heldout"
    # The folder that is learned from holds out none.
    with pytest.raises(ConfigError, match="holds out no episodes"):
        run_plan(tmp_path, model_folder, **words)
    with pytest.raises(ConfigError, match="pairs= chooses among goals that are steps of episodes"):
        run_plan(tmp_path, model_folder, pairs=way)
    with pytest.raises(ConfigError, match="goals_from=x holds steps .* goal=env does not take"):
        run_plan(tmp_path, model_folder, goals_from="x")


def test_states_of_two_folders_are_those_of_one_after_the_other(
    tmp_path, model_folder, episodes_folder
):
    place = Run.open(tmp_path / "collect", verb="collect", config={}, seed=1)
    collect(place, env=POINT_WORLD, episodes=4, steps=9, behaviour=SmoothRandom())
    place.close()
    weights = model_folder / "model/model.safetensors"
    keep = partial(cached_states, PointModel(), weights=weights, flag="hazard_contact")
    where = [str(episodes_folder), str(place.folder)]
    both = keep(read_episodes(where).training)
    one, other = (keep(Episodes(folder).training) for folder in where)
    for name in ("states", "lengths", "flagged", "blocks"):
        expected = torch.cat([getattr(one, name), getattr(other, name)])
        torch.testing.assert_close(getattr(both, name), expected, rtol=0, atol=0, equal_nan=True)
    again = keep(read_episodes(where).training)
    assert torch.equal(again.states, both.states)
    assert len(list((tmp_path / "trained/cache").iterdir())) == 3


def test_the_folders_that_a_model_was_trained_on_are_found(tmp_path):
    (tmp_path / "model").mkdir()
    assert trained_on(str(tmp_path / "model")) is None
    for found in ("a", ["a", "b"], None):
        (tmp_path / "config.yaml").write_text(json.dumps({"verb": "train", "episodes": found}))
        assert trained_on(str(tmp_path / "model")) == trained_on(str(tmp_path)) == found


def test_a_second_plan_is_asked_what_the_first_one_was(tmp_path, model_folder):
    place = Run.open(tmp_path / "collect", verb="collect", config={}, seed=0)
    collect(
        place, env=POINT_WORLD, episodes=10, steps=40, behaviour=SmoothRandom((4.0, 12.0)),
        recording=Recording(held_out_share=0.5),
    )  # fmt: skip
    place.close()
    words = {
        "tasks": [], "episodes": 3, "episodes_from": str(place.folder), "max_steps": None,
        "success": Success(within={"position": 0.1}), "baselines": False,
    }  # fmt: skip
    first = run_plan(tmp_path, model_folder, goal="episodes", offset=10, **words)
    asked = json.loads((tmp_path / "plan/protocol.json").read_text())
    kept = (tmp_path / "plan/pairs.json").rename(tmp_path / "pairs.json")
    second = run_plan(tmp_path, model_folder, goal=str(kept), **words)
    again = json.loads((tmp_path / "plan/protocol.json").read_text())
    assert again["hash"] == asked["hash"]
    assert again["budget"] == asked["budget"] == "20 environment steps"
    assert second["success"] == first["success"] and second["success.n"] == first["success.n"]
    written = json.loads((tmp_path / "plan/pairs.json").read_text())
    assert written["pairs"] == json.loads(kept.read_text())["pairs"]
    with pytest.raises(ConfigError, match="no such file of pairs"):
        run_plan(tmp_path, model_folder, goal="none.json", **words)


# An evaluation that ends early


def again(tmp_path, model, **settings):
    """As `run_plan`, but a run that was interrupted goes on."""
    run = Run.open(tmp_path / "plan", verb="plan", config={}, seed=0)
    evaluation = {name: settings.pop(name) for name in EVALUATION & settings.keys()}
    asked = {"env": POINT_WORLD, "model": str(model), "cost": GoalImage(), "episodes": 6,
             "planner": CEM(5, candidates=64, elites=8, iterations=3)} | settings  # fmt: skip
    evaluation = {"tasks": ["any", "hazard"], "max_steps": 40, "workers": 1, "keep": 2} | evaluation
    try:
        return plan(run, evaluation=Evaluation(**evaluation), agent=AgentSettings(), **asked)
    finally:
        run.close()


def without_seconds(results):
    return {k: v for k, v in results.items() if "seconds" not in k}


@pytest.mark.parametrize("lost", [3, 6, 9])
def test_episodes_that_were_evaluated_stay(tmp_path, model_folder, monkeypatch, lost):
    """Of the planner (6) and of baselines (6 each): what was done before an error is not redone."""
    whole = run_plan(tmp_path / "whole", model_folder)
    begun = []

    def fails_once(*given, **settings):
        begun.append(settings["seed"])
        if len(begun) == lost + 1:
            raise EnvError("the simulator died")
        return run_episode(*given, **settings)

    monkeypatch.setattr("worldmodel.planners.evaluate.run_episode", fails_once)
    with pytest.raises(EnvError, match="the simulator died"):
        again(tmp_path, model_folder)
    assert len([*(tmp_path / "plan/evaluated").rglob("*.npz")]) == lost
    found = again(tmp_path, model_folder)
    assert len(begun) == 18 + 1
    assert without_seconds(found) == without_seconds(whole)
    assert not (tmp_path / "plan/evaluated").exists()
    places = (tmp_path / "plan", tmp_path / "whole/plan")
    ways = [json.loads((place / "reached_by.json").read_text()) for place in places]
    assert ways[0] == ways[1]
    outcomes = [json.loads((place / "outcomes.json").read_text()) for place in places]
    assert [*map(without_seconds, outcomes[0])] == [*map(without_seconds, outcomes[1])]
    kept, others = (Episodes(place / "episodes") for place in places)
    assert len(kept) == len(others) == 2
    for a, b in zip(kept, others, strict=True):
        assert torch.equal(a.frames, b.frames) and torch.equal(a.actions, b.actions)


def test_what_was_evaluated_of_something_else_is_not_taken(
    tmp_path, model_folder, monkeypatch, capsys
):
    begun = []

    def fails_third(*given, **settings):
        begun.append(settings["seed"])
        if len(begun) == 3:
            raise EnvError("the simulator died")
        return run_episode(*given, **settings)

    monkeypatch.setattr("worldmodel.planners.evaluate.run_episode", fails_third)
    with pytest.raises(EnvError, match="the simulator died"):
        again(tmp_path, model_folder, baselines=False)
    again(tmp_path, model_folder, baselines=False, max_steps=39)
    assert len(begun) == 3 + 6
    assert "2 episodes of an earlier attempt are evaluated again" in capsys.readouterr().err


def test_a_record_comes_back_as_it_was(tmp_path):
    task = Task(5, "any", {"task": "any"})
    record = EpisodeRecord(
        np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3), np.ones((1, 2), np.float32),
        np.array([0.5]), True, {"a/b": np.array([np.nan, 1.0]), "": np.array([True, False])},
        {"goal_image": np.zeros((2, 2, 3), np.uint8)}, np.array([0.1]), 5, {"task": "any"}, True,
        {"words": "text"}, {"decisions": 2.0},
    )  # fmt: skip
    kept = KeptRecords(tmp_path / "kept", "one")
    kept.write("planner", 0, record)
    (found,) = KeptRecords(tmp_path / "kept", "one").read("planner", [task, task])
    for name, value in vars(record).items():
        np.testing.assert_equal(getattr(found, name), value)
    assert found.infos[""].dtype == bool and found.frames.dtype == np.uint8
    assert KeptRecords(tmp_path / "kept", "another").read("planner", [task]) == []
    model = torch.nn.Linear(2, 1).to(torch.bfloat16)
    before = evaluation_of({"a": "b"}, model)
    assert before == evaluation_of({"a": "b"}, model) != evaluation_of({"a": "c"}, model)
    with torch.no_grad():
        model.bias += 1
    assert evaluation_of({"a": "b"}, model) != before
