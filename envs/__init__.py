"""Worlds to act in and to be surprised by. Importing this registers them with gymnasium.

MuJoCo is loaded only when a world is made.
"""

from gymnasium.envs.registration import register, registry

from .pixel_world import PixelWorld
from .view import View

TWO_ROOM = "worldmodel/TwoRoom-v0"
CUPS = "worldmodel/Cups-v0"

__all__ = ["CUPS", "TWO_ROOM", "PixelWorld", "View"]

if TWO_ROOM not in registry:
    register(TWO_ROOM, entry_point="worldmodel.envs.two_room:TwoRoom", max_episode_steps=200)
if CUPS not in registry:
    register(CUPS, entry_point="worldmodel.envs.cups:Cups", max_episode_steps=60)
