"""The one loop: what is recorded is aligned, copied, and begins where it was told to."""

import gymnasium
import numpy as np
import pytest

from tests.planners.fakes import SPEED, PointWorld, Towards
from worldmodel.errors import EnvError
from worldmodel.planners.behaviours import NoOp, Random
from worldmodel.planners.episode_loop import run_episode
from worldmodel.planners.starts import require_shown


def test_record_is_aligned():
    policy = Towards([0.0, 0.5])
    record = run_episode(PointWorld(), policy, seed=7, max_steps=5)
    assert record.steps == 5 and not record.success and record.seed == 7
    assert record.frames.shape == (6, 16, 16, 3) and record.frames.dtype == np.uint8
    position = record.infos["position"]
    assert position.shape == (6, 2)
    # actions[t] leads from frame t to frame t + 1.
    moved = np.clip(position[:-1] + SPEED * record.actions, -1, 1)
    np.testing.assert_allclose(position[1:], moved, atol=1e-6)
    seen = record.frames[:, 0, 0, :2] / 127.5 - 1
    np.testing.assert_allclose(seen, position, atol=1 / 127)
    # The policy saw the frames before each action.
    np.testing.assert_array_equal(policy.seen[1:], position[:-1])
    assert record.seconds.shape == (5,) and (record.seconds >= 0).all()
    assert record.numbers == {"seen": 5.0}


def test_infos_have_an_entry_for_each_frame_and_images_one_for_the_episode():
    record = run_episode(PointWorld(), Towards([0, 0]), seed=0, max_steps=2)
    assert set(record.infos) == {"position", "success", "hazard_contact", "terminated"}
    assert set(record.images) == {"goal_image"}
    assert record.infos["success"].dtype == bool
    assert record.ever("hazard_contact") == record.infos["hazard_contact"].any()
    assert record.ever("no such info") is None
    assert list(record.left_out) == ["label"]  # a text


class Telling(PointWorld):
    """Tells only what it is asked to: names and values for the reset and for each step."""

    def __init__(self, *told):
        super().__init__()
        self.told = told

    def reset(self, **settings):
        observation, _ = super().reset(**settings)
        return observation, self.told[0]

    def step(self, action):
        observation, *_ = super().step(action)
        return observation, 0.0, False, False, self.told[len(self.taken)]


@pytest.mark.parametrize(
    ("told", "success"),
    [
        ([{}, {}, {}], None),
        ([{}, {"success": False}, {}], False),
        ([{}, {}, {"success": True}], True),
        ([{}, {"is_success": 0.0}, {"is_success": 1.0}], True),
        ([{"success": False}, {"is_success": True}, {}], True),
        ([{"success": None}, {"success": float("nan")}, {}], None),
        ([{}, {"success": "yes"}, {}], None),
    ],
)
def test_success_is_what_any_step_told_and_none_where_no_step_did(told, success):
    record = run_episode(Telling(*told), NoOp(), seed=0, max_steps=2)
    assert record.success is success
    assert record.ever("hazard_contact") is None


def test_ends_with_success_and_starts_with_the_seed():
    options = {"task": "hazard"}
    record = run_episode(PointWorld(), Towards([1.0, 0.0]), seed=1, options=options, max_steps=50)
    assert record.success and record.steps == 14
    assert record.infos["success"].tolist() == [False] * 14 + [True]
    again = run_episode(PointWorld(), Towards([1.0, 0.0]), seed=1, max_steps=3)
    other = run_episode(PointWorld(), Towards([1.0, 0.0]), seed=2, max_steps=3)
    assert not np.array_equal(again.frames, other.frames)


def test_actions_are_clipped_as_the_world_takes_them():
    record = run_episode(PointWorld(), Towards([3.0, -0.5]), seed=0, max_steps=2)
    assert record.actions.tolist() == [[1.0, -0.5]] * 2
    assert record.actions.dtype == np.float32


def test_truncation_ends_the_episode():
    env = gymnasium.wrappers.TimeLimit(PointWorld(), 3)
    assert run_episode(env, Towards([0, 0]), seed=0, max_steps=9).steps == 3


@pytest.mark.parametrize("action", [[0.0], [np.nan, 0.0]])
def test_actions_that_are_none_are_refused(action):
    with pytest.raises(EnvError, match="policy must return"):
        run_episode(PointWorld(), Towards(action), seed=0)


def test_without_frames_only_the_images_go():
    record = run_episode(PointWorld(), Towards([0, 0]), seed=0, max_steps=4)
    slim = record.without_frames()
    assert slim.frames.shape == (0, 16, 16, 3) and slim.steps == 4 and len(record.frames) == 5


def test_an_episode_goes_on_from_recorded_actions_where_the_start_looks_the_same():
    whole = run_episode(PointWorld(), Random(), seed=2, max_steps=9)
    part = run_episode(
        PointWorld(), NoOp(), seed=2, max_steps=2, replay=whole.actions[:5], shown=whole.frames[5]
    )
    np.testing.assert_array_equal(part.frames[0], whole.frames[5])
    np.testing.assert_array_equal(part.infos["position"][0], whole.infos["position"][5])
    with pytest.raises(EnvError, match="shows another start"):
        run_episode(PointWorld(), NoOp(), seed=3, replay=whole.actions[:5], shown=whole.frames[5])
    with pytest.raises(EnvError, match="recorded at.*view.size"):
        run_episode(PointWorld(), NoOp(), seed=2, shown=whole.frames[5, :8, :8])
    env = gymnasium.wrappers.TimeLimit(PointWorld(), 2)
    with pytest.raises(EnvError, match="ended at step 2 of 5"):
        run_episode(env, NoOp(), seed=2, replay=whole.actions[:5])


def dot(column, row=0):
    """A white dot of two pixels on a black image."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[4 * row : 4 * row + 2, column : column + 2] = 255
    return image


def test_another_view_is_noticed_and_a_marker_elsewhere_is_not():
    shown = np.stack([dot(8 * i, row=2 * i) for i in range(8)]).max(axis=0)
    require_shown(shown, shown, PointWorld())
    require_shown(np.maximum(shown, dot(30, row=0)), shown, PointWorld())
    with pytest.raises(EnvError, match="shows another start"):
        require_shown(np.roll(shown, 4, axis=1)[:, ::-1], shown, PointWorld())


def test_a_policy_is_told_the_goal_that_was_chosen():
    class Told(NoOp):
        def reset(self, space, info, *, seed):
            super().reset(space, info, seed=seed)
            self.info = info

    policy, image = Told(), np.full((16, 16, 3), 7, np.uint8)
    record = run_episode(PointWorld(), policy, seed=0, max_steps=1, goal={"goal_image": image})
    assert policy.info["goal_image"] is image and "position" in policy.info
    np.testing.assert_array_equal(record.images["goal_image"], image)


def test_the_last_frame_of_an_episode_that_the_environment_ends_is_flagged():
    ended = run_episode(PointWorld(), Random(), seed=0, max_steps=2000)
    assert ended.terminated and ended.steps < 2000
    assert ended.infos["terminated"].tolist() == [False] * ended.steps + [True]
    cut = run_episode(PointWorld(), NoOp(), seed=0, max_steps=5)
    assert cut.infos["terminated"].tolist() == [False] * 6
