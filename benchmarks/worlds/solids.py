"""Solids that slide over a floor under light, collide, and pass behind a screen (MuJoCo)."""

from typing import Any

import numpy as np
import torch

from benchmarks.worlds.grounds import blocks
from benchmarks.worlds.videos import Videos
from worldmodel.envs.rendering import FastRenderer, choose_gl

choose_gl()

import mujoco  # noqa: E402  its OpenGL is chosen when it is imported

SIZE, LENGTH = 64, 24  # pixels, frames
SHAPES = {"sphere": ".22", "box": ".18 .18 .18", "cylinder": ".2 .2"}
COLOURS = {
    "red": ".85 .15 .1 1", "yellow": ".9 .8 .1 1", "green": ".15 .7 .2 1",
    "cyan": ".1 .75 .8 1", "blue": ".15 .25 .9 1", "purple": ".7 .2 .8 1",
}  # fmt: skip
AHEAD = 4  # frames in which a collision is to come
SOLIDS = ("coloured", "grey")
_DRAWN, _HIDDEN = 0, 3  # groups of geoms
_PHYSICS_STEPS = 20  # of 5 ms: a frame is 0.1 s


def _body(solid: str) -> str:
    geoms = "".join(
        f'<geom name="{solid} {shape}" type="{shape}" size="{size}" mass="1"/>'
        for shape, size in SHAPES.items()
    )
    slides = '<joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 1 0"/>'
    return f'<body name="{solid}" pos="0 0 .22">{slides}{geoms}</body>'


# Lengths in metres. Contacts push back without damping, so that solids bounce; nothing turns. Both
# solids have every shape, of which one is drawn and touches: see `_dress`.
_XML = f"""
<mujoco>
  <option timestep="0.005" gravity="0 0 0"/>
  <visual><headlight ambient=".35 .35 .35" diffuse="0 0 0" specular="0 0 0"/></visual>
  <asset>
    <texture name="ground" type="2d" builtin="flat" rgb1=".55 .55 .5" width="{SIZE}"
             height="{SIZE}"/>
    <material name="ground" texture="ground" texuniform="false"/>
  </asset>
  <default><geom condim="1" solref="-3000 0" solimp=".95 .99 .001"/></default>
  <worldbody>
    <light name="light" directional="true" diffuse=".7 .7 .7" specular=".2 .2 .2"/>
    <camera name="camera" pos="0 -2.9 3.6" xyaxes="1 0 0 0 .78 .63" fovy="43"/>
    <geom type="plane" size="1.6 1.6 .1" material="ground" contype="0" conaffinity="0"/>
    <geom type="box" pos=" 1.6 0 .2" size=".1 2 .4" group="3"/>
    <geom type="box" pos="-1.6 0 .2" size=".1 2 .4" group="3"/>
    <geom type="box" pos="0  1.6 .2" size="2 .1 .4" group="3"/>
    <geom type="box" pos="0 -1.6 .2" size="2 .1 .4" group="3"/>
    <geom name="screen" type="box" size=".35 .03 .35" pos="0 -.9 .35" rgba=".3 .3 .33 1"
          contype="0" conaffinity="0"/>
    {"".join(map(_body, SOLIDS))}
  </worldbody>
</mujoco>
"""


def solids(count: int, seed: int, *, own_ground: bool) -> Videos:
    """Videos of a coloured solid and a grey one; half of them have a screen in front.

    Labels, of the coloured one: `shape` (one of three), `colour` (one of six), `position` and
    `velocity` on the floor (metres, metres per second), and `collision`: it will touch the other
    within the next `AHEAD` frames.

    Args:
        count: how many.
        seed: of everything.
        own_ground: a floor of its own in each video.
    """
    random = np.random.default_rng([seed, 0])
    videos = np.zeros((count, LENGTH, SIZE, SIZE, 3), np.uint8)
    labels = {
        "shape": np.zeros((count, LENGTH), np.int64),
        "colour": np.zeros((count, LENGTH), np.int64),
        "collision": np.zeros((count, LENGTH), np.int64),
        "position": np.zeros((count, LENGTH, 2)),
        "velocity": np.zeros((count, LENGTH, 2)),
    }
    model = mujoco.MjModel.from_xml_string(_XML)
    renderer = FastRenderer(model, SIZE)
    for video in range(count):
        shape, colour = random.integers(len(SHAPES)), random.integers(len(COLOURS))
        _dress(model, random, [*SHAPES][shape], [*COLOURS.values()][colour])
        if own_ground:
            model.tex_data[:] = blocks(SIZE, random, darkest=60, brightest=220).ravel()
            renderer.upload_textures()
        frames, moved, touches = _film(model, renderer, random)
        videos[video] = frames
        labels["shape"][video], labels["colour"][video] = shape, colour
        labels["position"][video], labels["velocity"][video] = moved[:, 0], moved[:, 1]
        for t in range(LENGTH):
            labels["collision"][video, t] = touches[t + 1 : t + 1 + AHEAD].any()
    renderer.close()
    return Videos(torch.from_numpy(videos).movedim(-1, 2).contiguous(), labels)


def _dress(model: Any, random: np.random.Generator, shape: str, colour: str) -> None:
    """Give the solids their shapes and colours, the scene its light, and half of them a screen."""
    grey = random.uniform(0.3, 0.8)
    other = [*SHAPES][random.integers(len(SHAPES))]
    rgba = {"coloured": [*map(float, colour.split())], "grey": [grey, grey, grey, 1]}
    for solid, chosen in zip(SOLIDS, (shape, other), strict=True):
        for each in SHAPES:
            geom = model.geom(f"{solid} {each}")
            geom.group[:] = _DRAWN if each == chosen else _HIDDEN
            geom.contype[:] = geom.conaffinity[:] = each == chosen
            geom.rgba[:] = rgba[solid]
    angle = random.uniform(0, 2 * np.pi)
    light = np.array([np.cos(angle), np.sin(angle), 2.0])
    model.light("light").pos[:] = 3 * light
    model.light("light").dir[:] = -light / np.linalg.norm(light)
    screen = model.geom("screen")
    screen.pos[0] = random.uniform(-0.6, 0.6)
    screen.group[:] = _DRAWN if random.random() < 0.5 else _HIDDEN


def _film(
    model: Any, renderer: FastRenderer, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames t h w c; position and velocity of the coloured solid, t 2 2; touches, t + AHEAD."""
    data = mujoco.MjData(model)
    places = random.uniform(-1.2, 1.2, (2, 2))
    while np.linalg.norm(places[0] - places[1]) < 0.6:
        places = random.uniform(-1.2, 1.2, (2, 2))
    angles, speeds = random.uniform(0, 2 * np.pi, 2), random.uniform(0.6, 1.8, 2)
    data.qpos[:] = places.ravel()
    data.qvel[:] = (speeds[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)).ravel()
    of_geom, pair = model.geom_bodyid.copy(), sorted(model.body(solid).id for solid in SOLIDS)
    frames, moved, touches = [], [], np.zeros(LENGTH + AHEAD, bool)
    for t in range(LENGTH + AHEAD):
        for _ in range(_PHYSICS_STEPS if t else 1):
            mujoco.mj_step(model, data)
            if data.ncon:
                met = np.sort(of_geom[data.contact.geom], axis=1)
                touches[t] |= bool((met == pair).all(axis=1).any())
        if t < LENGTH:
            mujoco.mj_kinematics(model, data)
            frames.append(renderer.render(data, "camera"))
            moved.append(np.stack([data.qpos[:2], data.qvel[:2]]))
    return np.stack(frames), np.stack(moved), touches
