"""World models from video: learn, plan with guardrails, measure surprise.

    import worldmodel as wm

    model = wm.load("runs/quickstart")
    clip = wm.read_clip("bikes.mp4", num_frames=16, fps=8, size=64)
    latents = model.encode(clip)
    events = wm.surprise(model, clip)

Planners, costs and guardrails are in `worldmodel.planners`, worlds in `worldmodel.envs`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldmodel.checkpoint import save
    from worldmodel.episodes.episode import Episode, read_episode
    from worldmodel.episodes.folder import Episodes
    from worldmodel.errors import WorldModelError
    from worldmodel.evaluation.surprise import surprise
    from worldmodel.interop.load import load
    from worldmodel.model import WorldModel
    from worldmodel.tools.feature_files import read_features
    from worldmodel.types import Clip, History, Latents, Mask, Surprise
    from worldmodel.video.clip import read_clip

_HOMES = {
    "Clip": "types",
    "Episode": "episodes.folder",
    "Episodes": "episodes.folder",
    "History": "types",
    "Latents": "types",
    "Mask": "types",
    "Surprise": "types",
    "WorldModel": "model",
    "WorldModelError": "errors",
    "load": "interop.load",
    "read_clip": "video.clip",
    "read_episode": "episodes.folder",
    "read_features": "tools.feature_files",
    "save": "checkpoint",
    "surprise": "evaluation.surprise",
}

__all__ = [
    "Clip",
    "Episode",
    "Episodes",
    "History",
    "Latents",
    "Mask",
    "Surprise",
    "WorldModel",
    "WorldModelError",
    "load",
    "read_clip",
    "read_episode",
    "read_features",
    "save",
    "surprise",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used.

    `import worldmodel` must not import torch: the command line sets how threads wait before that.
    """
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'worldmodel' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"worldmodel.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
