"""Frames of worlds: ours with its physics, a plain MuJoCo scene, and worlds of others.

Those of others are drawn as `PixelWorld` draws them, at twice the size and averaged, and as their
own packages do at the size itself.
"""

import multiprocessing
import time
from collections.abc import Callable
from typing import Any

import gymnasium

from benchmarks.peers import installed
from benchmarks.table import Row, Table
from worldmodel.envs import View
from worldmodel.envs.rendering import FastRenderer, choose_gl

WORLD = "worldmodel.envs:worldmodel/TwoRoom-v0"
SIZE = 64  # pixels of a side
FRAMES = 30  # of each process, after one that does not count
OTHERS = {  # id, and how many times as fast ours should be
    "reacher": ("Reacher-v5", 2.0),
    "maze": ("ogbench:pointmaze-medium-v0", 20.0),
    "cube": ("ogbench:cube-single-v0", 8.0),
    "scene_of_objects": ("ogbench:scene-v0", 8.0),
}
SCENE = """
<mujoco>
  <asset><material name="floor" reflectance="0.3" rgba="0.6 0.7 0.8 1"/></asset>
  <worldbody>
    <light pos="0 0 3" dir="0 0 -1"/>
    <camera name="top" pos="0 0 3"/>
    <geom type="plane" size="1 1 0.1" material="floor"/>
    <body pos="0 0 0.2"><joint type="slide" axis="1 0 0"/><geom type="sphere" size="0.1"/></body>
    <body pos="0 0.5 0.2"><geom type="capsule" size="0.1 0.2"/></body>
    <body pos="0.5 0 0.2"><geom type="box" size="0.1 0.1 0.1"/></body>
  </worldbody>
</mujoco>
"""


def bench(*, repeats: int = 25) -> Table:
    """Frames per second, each number in a process of its own.

    Renderers of different settings in one process disturb each other.
    """
    choose_gl()
    cases: dict[str, Callable[[int], float]] = {
        "tworoom.frames_per_second": _world,
        "scene.default_frames_per_second": _scene_by_default,
        "scene.frames_per_second": _scene,
    }
    speeds: dict[str, list[float]] = {name: [] for name in cases}
    context = multiprocessing.get_context("spawn")  # OpenGL does not survive a fork
    for _ in range(repeats):
        for name, measure in cases.items():
            with context.Pool(1) as pool:
                speeds[name].append(pool.apply(measure, (FRAMES,)))
    _, default, ours = speeds.values()
    ratios = [fast / slow for fast, slow in zip(ours, default, strict=True)]
    rows = [Row.median(name, values) for name, values in speeds.items()]
    rows.append(Row.median("scene.speedup", ratios))
    rounds = max(1, repeats // 5)
    for name, (env, bar) in OTHERS.items():
        rows += _beside_its_own(name, env, bar, rounds, context)
    protocol = {
        "size": SIZE,
        "frames": FRAMES,
        "others": {name: env for name, (env, _) in OTHERS.items()},
        "measured": "one process each; tworoom: step + frame; scene: frame only, by "
        "mujoco.Renderer as it comes and by the renderer of these environments; worlds of others: "
        "frame only, by their own render() at this size and by PixelWorld",
    }
    return Table("speed-render", "python -m benchmarks render", protocol, rows)


def _beside_its_own(name: str, env: str, bar: float, rounds: int, context: Any) -> list[Row]:
    """Frames per second of a world of others, by ours and by its own."""
    module = env.partition(":")[0] if ":" in env else "gymnasium"
    if not installed(module):
        return []
    speeds: dict[str, list[float]] = {"ours": [], "own": []}
    for _ in range(rounds):
        for side, values in speeds.items():
            with context.Pool(1) as pool:
                values.append(pool.apply(_of_others, (env, side == "ours", FRAMES)))
    ratios = [a / b for a, b in zip(speeds["ours"], speeds["own"], strict=True)]
    return [
        *(Row.median(f"{name}.{side}_frames_per_second", speeds[side]) for side in speeds),
        Row.median(f"{name}.speedup", ratios, bar=bar),
    ]


def _of_others(env: str, ours: bool, frames: int) -> float:
    options = {} if ours else {"width": SIZE, "height": SIZE}
    View().prepare()
    made = gymnasium.make(env, render_mode="rgb_array", disable_env_checker=True, **options)
    draw: Callable[[], object] = made.render
    if ours:
        made = View(size=SIZE)(made)
        draw = made._observe
    made.reset(seed=0)
    speed = _per_second(draw, frames)
    made.close()
    return speed


def _per_second(act: Callable[[], object], times: int) -> float:
    act()
    start = time.perf_counter()
    for _ in range(times):
        act()
    return times / (time.perf_counter() - start)


def _world(frames: int) -> float:
    env = gymnasium.make(WORLD, size=SIZE, disable_env_checker=True)
    env.reset(seed=0)
    env.action_space.seed(0)
    speed = _per_second(lambda: env.step(env.action_space.sample()), frames)
    env.close()
    return speed


def _scene_by_default(frames: int) -> float:
    import mujoco

    model, data = _open_scene()
    with mujoco.Renderer(model, SIZE, SIZE) as renderer:

        def act() -> None:
            renderer.update_scene(data, "top")
            renderer.render()

        return _per_second(act, frames)


def _scene(frames: int) -> float:
    model, data = _open_scene()
    renderer = FastRenderer(model, SIZE)
    return _per_second(lambda: renderer.render(data, "top"), frames)


def _open_scene() -> tuple[Any, Any]:
    import mujoco

    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data
