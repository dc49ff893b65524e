"""The disc in two rooms, under random forces that last: where it is and how fast."""

import numpy as np
import torch

from benchmarks.worlds.grounds import blocks
from benchmarks.worlds.videos import Videos
from worldmodel.envs.two_room import TwoRoom
from worldmodel.planners.action_space import ActionSpace
from worldmodel.planners.behaviours import SmoothRandom

SIZE, LENGTH = 64, 24  # pixels, frames
_FLOOR = np.array([236, 236, 232])  # of the world's XML
_DARKEST = 140  # grounds are no darker: the disc is
_NEAR = 8  # a colour that is no further from the floor's is floor


def two_room(count: int, seed: int, *, own_ground: bool) -> Videos:
    """Videos of the disc, with its `position` (metres) and `velocity` (metres per second).

    Args:
        count: how many.
        seed: of everything.
        own_ground: lay a ground of its own on the floor of each video.
    """
    random = np.random.default_rng([seed, 0])
    world, behaviour = TwoRoom(size=SIZE), SmoothRandom()
    videos, labels = [], {"position": [], "velocity": []}
    for _ in range(count):
        observation, info = world.reset(
            seed=int(random.integers(2**31)), options={"task": "explore"}
        )
        space = ActionSpace.of(world.action_space)
        behaviour.reset(space, info, seed=int(random.integers(2**31)))
        frames, infos = [observation], [info]
        while len(frames) < LENGTH:
            observation, _, _, _, info = world.step(behaviour(observation, info))
            frames.append(observation)
            infos.append(info)
        shown = np.stack(frames)
        if own_ground:
            floor = (np.abs(shown.astype(int) - _FLOOR) <= _NEAR).all(-1)
            shown = np.where(
                floor[..., None], blocks(SIZE, random, darkest=_DARKEST, brightest=255), shown
            )
        videos.append(shown)
        for name, values in labels.items():
            values.append(np.stack([i[name] for i in infos]).astype(np.float64))
    world.close()
    frames = torch.from_numpy(np.stack(videos)).movedim(-1, 2).contiguous()
    return Videos(frames, {name: np.stack(values) for name, values in labels.items()})
