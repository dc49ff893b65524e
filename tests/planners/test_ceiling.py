"""What planning in the simulator reaches, and what cannot be planned in."""

import json

import gymnasium
import numpy as np
import pytest
import torch

from tests.planners.fakes import CHOOSERS, PLANNERS, POINT_WORLD, SPEED, PointModel, draw
from tests.planners.test_tasks import Restoring
from worldmodel.envs import View
from worldmodel.errors import ConfigError, EnvError
from worldmodel.planners import CEM, GoalImage
from worldmodel.planners.action_space import ActionSpace
from worldmodel.planners.agent import AgentSettings, PlanningPolicy
from worldmodel.planners.behaviours import NoOp
from worldmodel.planners.carried_out import Script, frames_of_states
from worldmodel.planners.ceiling import CeilingPolicy, Simulator, require_ceiling
from worldmodel.planners.environment import make_env
from worldmodel.planners.episode_loop import run_episode
from worldmodel.planners.evaluate import Evaluation
from worldmodel.planners.image_states import encode_images
from worldmodel.planners.plan_verb import plan
from worldmodel.planners.tasks import held_out_tasks
from worldmodel.runs.run import Run
from worldmodel.types import History

assert gymnasium.spec("test/Restoring-v0").entry_point is Restoring
SMALL = CEM(4, candidates=24, elites=4, iterations=2)


class Backwards(PointModel):
    """Sees exactly, and takes every action for its opposite."""

    def rollout(self, history, actions):
        return super().rollout(history, -actions)


def standing(world, model, position):
    """A simulator of the world, where it stands at a position."""
    simulator = Simulator(model, world)
    simulator.begin(seed=3, options={"task": "any"})
    simulator.stand(draw(position), {"state": np.array(position)})
    return simulator


def nothing_seen():
    return History(torch.full((1, 4), torch.nan), torch.zeros(0, 4))


def test_it_predicts_what_the_world_does_from_where_it_stands():
    actions = torch.rand(5, 3, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    simulator = standing(Restoring(), Backwards(), (0.5, -0.2))
    found = simulator.rollout(nothing_seen(), actions)
    start = History(torch.tensor([[0.5, -0.2, 0.5, -0.2]]), torch.zeros(0, 4))
    exact = PointModel().rollout(start, actions)
    torch.testing.assert_close(found, exact, atol=1.01 / 255, rtol=0)  # images have 256 colours
    simulator.stand(draw((-0.5, 0.4)), {"state": np.array([-0.5, 0.4])})
    moved = simulator.rollout(nothing_seen(), actions[:, :1])
    torch.testing.assert_close(moved, exact[:, :1] + moved[:1] - exact[:1, :1], atol=0.02, rtol=0)


def test_a_candidate_stands_still_from_where_the_world_ends():
    world = gymnasium.wrappers.TimeLimit(Restoring(), 2)
    actions = torch.ones(1, 3, 4)
    found = standing(world, PointModel(), (0.0, 0.0)).rollout(nothing_seen(), actions)
    at = [2 * SPEED, 2 * SPEED, 2 * SPEED]
    torch.testing.assert_close(found[0, :, 0], torch.tensor(at), atol=1 / 255, rtol=0)
    # The former frame of a state: the world moved in the first block alone.
    torch.testing.assert_close(found[0, :, 2], torch.tensor([SPEED, *at[1:]]), atol=1 / 255, rtol=0)


def test_frames_that_were_seen_before_are_a_part_of_states():
    class Overlapping(PointModel):
        action_block, state_frames = 1, 3

    frames = np.arange(10, 14, dtype=np.uint8)[:, None, None, None]
    seen = frames_of_states(Overlapping(), frames, before=frames[:2] - 2)
    assert seen[..., 0, 0, 0].tolist() == [[9, 10, 11], [10, 11, 12], [11, 12, 13]]
    at_rest = frames_of_states(Overlapping(), frames)
    assert at_rest[..., 0, 0, 0].tolist() == [[10, 10, 11], [10, 11, 12], [11, 12, 13]]


class Pixels:
    """A state is the image."""

    action_block, state_frames, size = 2, 1, 64

    def __init__(self, action_dim):
        self.action_dim = action_dim

    def states(self, clip):
        return clip.frames.flatten(2)


@pytest.mark.parametrize("env", ["worldmodel.envs:worldmodel/TwoRoom-v0", "CartPole-v1"])
def test_what_real_worlds_show_later_is_what_was_predicted(env):
    with make_env(env, view=View(), size=64) as acting, make_env(env, view=View(), size=64) as own:
        space = ActionSpace.of(acting.action_space)
        taken = np.tile(np.linspace(-1, 0, space.dim, dtype=np.float32), (7, 1))
        record = run_episode(acting, Script(taken), seed=4, max_steps=7)
        assert record.steps == 7
        simulator = Simulator(Pixels(space.dim), own)
        simulator.begin(seed=4, options={})
        simulator.stand(record.frames[3], {"state": record.infos["state"][3]})
        ahead = torch.from_numpy(taken[3:].reshape(1, 2, -1))
        found = simulator.rollout(History(torch.zeros(1, 1), torch.zeros(0, 2)), ahead)
        came = encode_images(Pixels(space.dim), record.frames[[5, 7]])
        assert (came[0] - came[1]).abs().max() > 0.2
        torch.testing.assert_close(found[0], came, atol=2 / 255, rtol=0)


class Forgetful(Restoring):
    """Says that it begins from a state, and begins elsewhere."""

    def reset(self, *, seed=None, options=None):
        options = dict(options or {})
        options.pop("state", None)
        return super().reset(seed=seed, options=options)


def test_a_world_that_is_not_where_it_was_set_is_noticed():
    simulator = standing(Forgetful(), PointModel(), (0.05, 0.05))
    with pytest.raises(EnvError, match="when the state that it told is set again.*ceiling="):
        simulator.rollout(nothing_seen(), torch.zeros(1, 1, 4))


def test_a_planner_of_ones_own_that_asks_for_slopes_is_refused():
    actions = torch.zeros(1, 1, 4, requires_grad=True)
    with pytest.raises(ConfigError, match="follows slopes, which a simulator does not have"):
        standing(Restoring(), PointModel(), (0.0, 0.0)).rollout(nothing_seen(), actions)


def test_what_has_no_ceiling_is_refused_in_one_line():
    (task,) = held_out_tasks(["any"], episodes=1, seed=0)
    require_ceiling(Restoring, SMALL, task)
    with pytest.raises(ConfigError, match="the state of environment .* cannot be set"):
        require_ceiling(lambda: make_env(POINT_WORLD), SMALL, task)
    for name, planner in (PLANNERS | CHOOSERS).items():
        if name not in ("gradient", "refined", "collocation"):
            require_ceiling(Restoring, planner(2), task)
            continue
        with pytest.raises(ConfigError, match="follows slopes.*planner=cem, icem or mppi"):
            require_ceiling(Restoring, planner(2), task)


def test_the_world_that_acts_is_not_touched_by_plans():
    """The same random numbers, the same steps: as if nobody had tried anything out."""
    acting, model = Restoring(), PointModel()
    simulator = Simulator(model, Restoring())
    policy = PlanningPolicy(model, SMALL, costs=[GoalImage()]).predicting_by(simulator)
    record = run_episode(acting, CeilingPolicy(policy, simulator), seed=5, max_steps=6)
    assert len(acting.taken) == 6 and record.numbers["decisions"] == 3
    alone = Restoring()
    run_episode(alone, NoOp(), seed=5, max_steps=6)
    assert acting.np_random.bit_generator.state == alone.np_random.bit_generator.state


def run_plan(folder, monkeypatch, model, **evaluation):
    for module in ("plan_verb", "recorded_states"):
        monkeypatch.setattr(f"worldmodel.planners.{module}.load", lambda path: model)
    run = Run.open(folder / "plan", verb="plan", config={}, seed=0, existing="redo")
    how = Evaluation(**{"max_steps": 24, "workers": 1, "keep": 1, "ceiling": True} | evaluation)
    try:
        return plan(
            run, env="test/Restoring-v0", model="none", planner=SMALL, cost=GoalImage(),
            episodes=3, evaluation=how, agent=AgentSettings(),
        )  # fmt: skip
    finally:
        run.close()


def test_the_ceiling_reaches_what_a_wrong_model_does_not(tmp_path, monkeypatch):
    found = run_plan(tmp_path, monkeypatch, Backwards(), baselines=False)
    assert found["ceiling_success"] == 1.0 and found["ceiling_success.n"] == 3
    assert found["success"] == 0.0 and found["ceiling_p"] == 0.25  # three of three, by McNemar
    assert not any(name.startswith("random") for name in found)
    shares = json.loads((tmp_path / "plan/reached_by.json").read_text())
    assert set(shares) == {"planner", "ceiling"}
    # A model that is right leaves nothing to gain, and is as fast.
    right = run_plan(tmp_path, monkeypatch, PointModel(), baselines=False, ceiling=False)
    assert right["success"] == 1.0 and "ceiling_success" not in right
    assert right["steps_to_success"] == pytest.approx(24 + 1 - sum(shares["ceiling"]), abs=2)
