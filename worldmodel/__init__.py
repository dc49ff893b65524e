"""World models from video: learn, plan with guardrails, be surprised.

    import worldmodel as wm

    model = wm.load("runs/quickstart")
    clip = wm.read_clip("bikes.mp4", num_frames=16, fps=8, size=64)
    latents = model.encode(clip)
    events = wm.surprise(model, clip)

Planners, costs and guardrails are in `worldmodel.planners`, worlds in `worldmodel.envs`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldmodel.checkpoint import load, save
    from worldmodel.data.episodes import Episode, Episodes, read_episode
    from worldmodel.data.video import read_clip
    from worldmodel.errors import WorldModelError
    from worldmodel.model import WorldModel
    from worldmodel.surprises import surprise
    from worldmodel.types import Clip, History, Latents, Surprise

_HOMES = {
    "Clip": "types",
    "Episode": "data.episodes",
    "Episodes": "data.episodes",
    "History": "types",
    "Latents": "types",
    "Surprise": "types",
    "WorldModel": "model",
    "WorldModelError": "errors",
    "load": "checkpoint",
    "read_clip": "data.video",
    "read_episode": "data.episodes",
    "save": "checkpoint",
    "surprise": "surprises",
}

__all__ = [
    "Clip",
    "Episode",
    "Episodes",
    "History",
    "Latents",
    "Surprise",
    "WorldModel",
    "WorldModelError",
    "load",
    "read_clip",
    "read_episode",
    "save",
    "surprise",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for.

    The command line has to set how threads wait before torch is imported, and `import worldmodel`
    comes before everything else.
    """
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'worldmodel' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"worldmodel.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
