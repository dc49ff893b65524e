"""What differs between episodes of a MuJoCo world, and what must not."""

import gymnasium
import numpy as np
import pytest

from worldmodel.envs import PixelWorld

RANGES = {
    "light": [0.4, 1.0], "colour": [0.0, 1.0], "mass": [0.5, 3.0], "friction": [0.5, 2.0],
    "damping": [0.2, 5.0], "camera": [0.8, 1.0], "size": [0.8, 1.2],
}  # fmt: skip


@pytest.fixture
def make():
    made = []

    def make(name="Reacher-v5", factors=None):
        env = gymnasium.make(name, render_mode="rgb_array", disable_env_checker=True)
        made.append(PixelWorld(env, 32, factors=factors))
        return made[-1]

    yield make
    for env in made:
        env.close()


def amounts(info):
    return {name: float(value) for name, value in info.items() if name.startswith("factor_")}


def steps(env, seed, count=8, **options):
    image, info = env.reset(seed=seed, options=options or None)
    observations = [info["observation"]]
    for _ in range(count):
        _, _, _, _, info = env.step(np.array([0.5, -0.5], np.float32))
        observations.append(info["observation"])
    return image, info, np.stack(observations)


def test_the_seed_decides_and_no_episode_remembers_the_one_before(make):
    env, other = make(factors=RANGES), make(factors=RANGES)
    image, info, observed = steps(env, 3)
    for seed in (4, 5):
        assert amounts(steps(env, seed)[1]) != amounts(info)
    again, told, same = steps(env, 3)
    assert amounts(told) == amounts(info) and set(amounts(told)) == {f"factor_{n}" for n in RANGES}
    assert np.array_equal(image, again) and np.array_equal(observed, same)
    fresh, _, alike = steps(other, 3)
    assert np.array_equal(image, fresh) and np.array_equal(observed, alike)
    for name, (low, high) in RANGES.items():
        assert low <= amounts(info)[f"factor_{name}"] <= high


def test_an_episode_begins_where_it_would_without_factors_and_goes_on_otherwise(make):
    plain, varied = make(), make(factors={"damping": 30.0})
    _, _, free = steps(plain, 1)
    _, _, damped = steps(varied, 1)
    assert np.allclose(free[0], damped[0])
    speed = [np.abs(np.diff(x[:, :4], axis=0)).sum() for x in (free, damped)]
    assert speed[1] < 0.5 * speed[0]


@pytest.mark.parametrize("name", ["light", "colour", "camera", "size"])
def test_what_is_seen_differs(make, name):
    amount = {"light": 0.3, "colour": 0.5, "camera": 0.6, "size": 2.0}[name]
    images = [make(factors=f).reset(seed=0)[0].astype(int) for f in ({}, {name: amount})]
    assert np.abs(images[0] - images[1]).max() > 30
    if name == "light":
        assert images[1].mean() < images[0].mean()


def test_what_is_welded_to_what_moves_grows_with_it_and_the_ground_does_not(make):
    plain, large = make(), make(factors={"size": 2.0})
    sizes = []
    for env in (plain, large):
        env.reset(seed=0)
        model = env.unwrapped.model
        bodies = [model.body(model.geom_bodyid[i]).name for i in range(model.ngeom)]
        sizes.append({name: model.geom_size[i].copy() for i, name in enumerate(bodies)})
    before, after = sizes
    for name in ("fingertip", "body0", "body1"):
        assert np.allclose(after[name], 2 * before[name]), name
    assert np.allclose(after["world"], before["world"])


def test_an_option_fixes_a_factor_and_changes_no_other(make):
    env = make(factors=RANGES)
    _, drawn = env.reset(seed=7)
    _, fixed = env.reset(seed=7, options={"factors": {"mass": 2.5}})
    assert amounts(fixed) == amounts(drawn) | {"factor_mass": 2.5}
    _, again = env.reset(seed=7)
    assert amounts(again) == amounts(drawn)


def test_a_state_is_set_in_the_world_of_its_own_factors(make):
    env = make(factors=RANGES)
    _, info, _ = steps(env, 2, 5)
    image, observed = env.unwrapped.render(), info["observation"]
    env.reset(seed=9)
    shown, told = env.reset(seed=2, options={"state": info["state"]})
    assert amounts(told) == amounts(info) and np.allclose(told["observation"], observed, atol=1e-5)
    assert np.array_equal(env.unwrapped.render(), image) and shown.shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ({"lihgt": 1.0}, "there is no factor 'lihgt': choose from light, colour, size"),
        ({"mass": [2, 1]}, r"factors.mass is a number or the two between which it lies.*\[2, 1\]"),
        ({"mass": [1, 2, 3]}, "factors.mass is a number or the two"),
        ({"mass": 0.0}, "factors.mass says how many times as much, above 0"),
        ({"light": float("nan")}, "factors.light is a number"),
    ],
)
def test_what_is_no_factor_is_refused(make, factors, words):
    with pytest.raises(ValueError, match=words):
        make(factors=factors)


def test_worlds_and_options_without_factors_are_refused(make):
    with pytest.raises(ValueError, match="factors are for MuJoCo worlds"):
        make("CartPole-v1", factors={"light": 1.0})
    with pytest.raises(ValueError, match="the factors of .* are not varied: make it with factors="):
        make().reset(seed=0, options={"factors": {"light": 1.0}})
    with pytest.raises(ValueError, match="there is no factor 'hue'"):
        make(factors=RANGES).reset(seed=0, options={"factors": {"hue": 1.0}})
