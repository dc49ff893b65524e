import gc
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from worldmodel.envs import TWO_ROOM, View
from worldmodel.envs.pixel_world import PixelWorld
from worldmodel.envs.simulator_state import SimulatorState


class Counter(gymnasium.Env):
    """A world whose image is its state: black, and one more white row after each step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, render_mode=None, *, shape=(40, 60, 3), dtype=np.uint8):
        self.render_mode, self.shape, self.dtype = render_mode, shape, dtype
        self.rows = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.rows = 0
        return np.zeros(1, np.float32), {"rows": self.rows}

    def step(self, action):
        self.rows += 1
        return np.zeros(1, np.float32), 0.5, False, False, {"rows": self.rows}

    def render(self):
        image = np.zeros(self.shape, self.dtype)
        image[: self.rows] = 255
        return image


def test_observations_are_area_means_of_the_image():
    env = PixelWorld(Counter("rgb_array"), size=20)
    observation, info = env.reset(seed=0)
    assert not observation.any() and "goal_image" not in info
    observation, reward, *_, info = env.step(0)
    # 40 rows become 20: one white row is half of the first.
    assert set(np.unique(observation[0])) <= {127, 128}
    assert not observation[1:].any()
    assert (reward, info["rows"]) == (0.5, 1)
    observation, *_ = env.step(0)
    assert (observation[0] == 255).all() and not observation[1:].any()


def test_a_goal_image_is_resized_and_given_at_reset_only():
    goal = np.full((33, 77, 3), 200, np.uint8)
    env = PixelWorld(Counter("rgb_array"), size=16, goal=goal)
    _, info = env.reset()
    np.testing.assert_array_equal(info["goal_image"], np.full((16, 16, 3), 200))
    assert "goal_image" not in env.step(0)[-1]


def test_a_goal_function_sees_the_environment_after_each_reset():
    seen = []

    def goal(env):
        seen.append(env.unwrapped.rows)
        return np.full((8, 8, 3), len(seen), np.uint8)

    env = PixelWorld(Counter("rgb_array"), size=8, goal=goal)
    images = []
    for _ in range(2):
        images.append(env.reset()[1]["goal_image"][0, 0, 0])
        env.step(0)
    assert seen == [0, 0] and images == [1, 2]


def test_an_environments_own_goal_image_follows_the_size():
    env = PixelWorld(gymnasium.make(TWO_ROOM, render_mode="rgb_array"), size=32)
    observation, info = env.reset(seed=3)
    assert observation.shape == info["goal_image"].shape == (32, 32, 3)
    assert (observation != info["goal_image"]).any()


def two_room():
    return gymnasium.make(TWO_ROOM, render_mode="rgb_array")


def reacher():
    return gymnasium.make("Reacher-v5", render_mode="rgb_array")


@pytest.mark.parametrize("make", [lambda: Counter("rgb_array"), two_room, reacher])
def test_check_env_passes_around_other_worlds(make):
    env = PixelWorld(make(), size=32)
    with warnings.catch_warnings():
        # The checker says of every wrapper that it is one.
        warnings.filterwarnings("ignore", ".*different from the unwrapped version.*")
        check_env(env, skip_render_check=True)
    env.close()


def test_an_environment_that_does_not_draw_is_refused():
    with pytest.raises(ValueError, match="render_mode='rgb_array'"):
        PixelWorld(Counter())


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_must_be_positive(size):
    with pytest.raises(ValueError, match="size must be"):
        PixelWorld(Counter("rgb_array"), size=size)


@pytest.mark.parametrize(("shape", "dtype"), [((40, 60), np.uint8), ((40, 60, 3), np.float32)])
def test_a_image_that_is_none_is_refused(shape, dtype):
    env = PixelWorld(Counter("rgb_array", shape=shape, dtype=dtype))
    with pytest.raises(ValueError, match="must be h w 3 uint8"):
        env.reset()


def test_a_goal_that_is_no_image_is_refused():
    env = PixelWorld(Counter("rgb_array"), goal=lambda _: np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="the goal must be"):
        env.reset()


# What it tells beside the image


def cartpole():
    return gymnasium.make("CartPole-v1", render_mode="rgb_array")


def acrobot():
    return gymnasium.make("Acrobot-v1", render_mode="rgb_array")


def test_the_pendulums_last_torque_which_is_drawn_is_part_of_its_state():
    # Not drawn here: its arrow is a PNG, which pygame cannot read beside some decoders of video.
    env = gymnasium.make("Pendulum-v1")
    env.reset(seed=0)
    state = SimulatorState.of(env)
    before = state.read()
    assert before.shape == (3,) and np.isnan(before[2])
    env.step(np.array([1.5], np.float32))
    after = state.read()
    assert after[2] == 1.5
    state.set(before)
    assert env.unwrapped.last_u is None
    np.testing.assert_array_equal(state.read(), before)
    state.set(after)
    np.testing.assert_array_equal(state.read(), after)
    first = env.step(np.array([-1.0], np.float32))[0]
    state.set(after)
    np.testing.assert_array_equal(env.step(np.array([-1.0], np.float32))[0], first)


@pytest.mark.parametrize("make", [reacher, cartpole, acrobot])
def test_a_state_that_was_told_is_begun_from_exactly(make):
    env = PixelWorld(make(), size=16)
    env.action_space.seed(1)
    env.reset(seed=4)
    actions = [env.action_space.sample() for _ in range(10)]
    for action in actions[:5]:
        *_, info = env.step(action)
    # Telling is copying: the state that was told stays what it was.
    state = info["state"]
    kept = state.copy()
    first = [env.step(action) for action in actions[5:]]
    np.testing.assert_array_equal(state, kept)
    _, info = env.reset(seed=9, options={"state": state.tolist()})
    np.testing.assert_array_equal(info["state"], state)
    again = [env.step(action) for action in actions[5:]]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[4]["state"], other[4]["state"])
    with pytest.raises(ValueError, match="a state of this world has"):
        env.reset(options={"state": [0.0] * 99})
    env.close()


def test_the_camera_does_not_depend_on_what_was_reset_first():
    seen = []
    for first in (0, 7):
        env = PixelWorld(gymnasium.make("Pusher-v5", render_mode="rgb_array"), size=32)
        env.reset(seed=first)
        seen.append(env.reset(seed=3)[0])
        env.close()
    np.testing.assert_array_equal(*seen)


def test_infos_of_a_state_that_was_set_are_of_that_state():
    env = PixelWorld(cartpole(), size=16)
    env.reset(seed=4)
    *_, info = env.step(1)
    _, again = env.reset(seed=9, options={"state": info["state"]})
    np.testing.assert_allclose(again["observation"], info["observation"], rtol=1e-6)
    assert env.restores_state and not PixelWorld(Counter("rgb_array")).restores_state


def test_a_state_that_cannot_be_set_is_refused():
    env = PixelWorld(Counter("rgb_array"), size=8)
    with pytest.raises(ValueError, match="state of .* cannot be set"):
        env.reset(options={"state": [0.0]})


def test_the_environments_own_observation_and_bodies_are_told():
    env = PixelWorld(reacher(), size=16, bodies=["fingertip", "target"])
    _, info = env.reset(seed=0)
    own = info["observation"]
    assert own.shape == (10,)
    # The last two numbers are fingertip minus target.
    apart = (info["fingertip"] - info["target"])[:2]
    np.testing.assert_allclose(own[8:], apart, atol=1e-6)
    *_, info = env.step(np.ones(2, np.float32))
    assert info["fingertip"].shape == (3,) and "reward_dist" in info
    with pytest.raises(ValueError, match="no body 'hand'.*fingertip"):
        PixelWorld(reacher(), bodies=["hand"])
    env.close()


def test_a_crop_is_the_part_that_is_named():
    env = PixelWorld(Counter("rgb_array"), size=10, crop=(0.0, 0.25, 0.5, 1.0))
    env.reset()
    for _ in range(5):  # of the ten rows that are kept, five are white
        observation, *_ = env.step(0)
    assert (observation[:5] == 255).all() and not observation[5:].any()
    for wrong in ((0.5, 0.2, 0, 1), (0, 1, 0, 2), (0, 1, 0)):
        with pytest.raises(ValueError, match="crop is top, bottom, left and right"):
            PixelWorld(Counter("rgb_array"), crop=wrong)


def test_a_camera_is_chosen_by_name_number_or_place():
    above = {"distance": 0.6, "elevation": -90, "lookat": [0.0, 0.0, 0.0]}
    seen = {}
    for name, camera in {"own": None, "above": above}.items():
        env = PixelWorld(reacher(), size=32, camera=camera)
        seen[name], _ = env.reset(seed=0)
        env.close()
    assert np.abs(seen["own"].astype(int) - seen["above"]).mean() > 10
    for camera, message in (
        ("top", "no camera 'top'.*or place a free one"),
        (3, "no camera 3: the model has"),
        ({"height": 1}, "a free camera has no height"),
    ):
        with pytest.raises(ValueError, match=message):
            PixelWorld(reacher(), camera=camera)
    with pytest.raises(ValueError, match="for MuJoCo worlds"):
        PixelWorld(Counter("rgb_array"), camera="top")


def test_bodies_and_sites_can_be_hidden():
    """And nothing else of the picture changes."""
    pytest.importorskip("gymnasium_robotics")
    for make, name in ((reacher, "target"), (maze, "target")):
        seen = {}
        for hidden in ((), (name,)):
            env = View(size=32, hidden=hidden)(make())
            seen[hidden], _ = env.reset(seed=1)
            env.close()
        shown, gone = (image.astype(int) for image in seen.values())
        red, after = (x[..., 0] - x[..., 1:].max(axis=-1) for x in (shown, gone))
        apart = np.abs(shown - gone).max(axis=-1) > 10
        assert 1 <= apart.sum() < 40 and (red - after)[apart].mean() > 10
        with pytest.raises(ValueError, match="no body or site 'goal'.*: choose from .*target"):
            View(hidden=("goal",))(make())


def maze():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gymnasium.make("gymnasium_robotics:PointMaze_UMaze-v3", render_mode="rgb_array")


def test_without_effects_a_world_looks_as_its_own_renderer_draws_it():
    raw = reacher()
    raw.reset(seed=0)
    wanted = np.asarray(raw.render(), np.float64).reshape(32, 15, 32, 15, 3).mean((1, 3))
    raw.close()
    shown = {}
    for effects in (False, True):
        env = PixelWorld(reacher(), size=32, effects=effects)
        shown[effects], _ = env.reset(seed=0)
        env.close()
    assert np.abs(shown[True] - wanted).mean() < 2
    assert np.abs(shown[False][5:] - wanted[5:]).mean() < 4  # above is the sky


def test_worlds_of_others_do_not_disturb_each_other():
    """gymnasium's own viewers free the textures of whatever is drawn when they are thrown away."""
    kept = gymnasium.make(TWO_ROOM, render_mode="rgb_array")
    before, _ = kept.reset(seed=1)
    for _ in range(3):
        env = PixelWorld(reacher(), size=16)
        alone, _ = env.reset(seed=0)
        assert alone.std() > 5
        del env
        gc.collect()
        np.testing.assert_array_equal(kept.reset(seed=1)[0], before)


@pytest.mark.parametrize("what", ["nothing", "other size"])
def test_an_image_that_is_lost_on_the_way_is_refused(what):
    class Losing(Counter):
        def render(self):
            if self.rows and what == "nothing":
                return None
            return super().render()[self.rows :]

    env = PixelWorld(Losing("rgb_array"), size=8)
    env.reset()
    with pytest.raises(ValueError, match="returned None" if what == "nothing" else "changed its"):
        env.step(0)


def test_a_known_world_is_seen_and_tells_as_is_known():
    env = View(size=32)(reacher())
    _, info = env.reset(seed=0)
    assert {"fingertip", "state", "observation"} <= set(info)
    assert View().within("Reacher-v5") == {"fingertip": 0.05}
    assert View().within("some.module:Reacher-v5") == {"fingertip": 0.05}
    assert View().within("Unknown-v0") == {}
    assert View()(Counter("rgb_array"), size=24).observation_space.shape == (24, 24, 3)
    assert View(size=20)(Counter("rgb_array"), size=24).observation_space.shape == (20, 20, 3)


def test_the_wrapper_is_part_of_the_spec():
    env = PixelWorld(gymnasium.make(TWO_ROOM, render_mode="rgb_array"), size=24)
    again = gymnasium.make(env.spec)
    np.testing.assert_array_equal(env.reset(seed=5)[0], again.reset(seed=5)[0])
