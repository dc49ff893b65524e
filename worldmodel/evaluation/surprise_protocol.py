"""What is asked of a model on a suite of matched clips: settled before any is read, and hashed."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from worldmodel.errors import ConfigError, nearest
from worldmodel.evaluation.suites.suite import SuiteClip
from worldmodel.runs.provenance import config_sha256
from worldmodel.video.arguments import is_count, real, shown

Distance = Literal["l1", "l2", "trained"]
Aggregation = Literal["mean", "max"]
Memory = Literal["short", "long"]
Framing = Literal["whole", "centre"]


@dataclass(frozen=True)
class SurpriseProtocol:
    """How a clip becomes one number. The same for all clips, properties and models of a table.

    By default that of Garrido et al. 2025 (arXiv:2502.11831): windows of 16 frames, of which the
    model sees the first eight, slide by two frames; errors are absolute differences. They choose
    the number of frames that are seen, the length of windows and the rate for each property on the
    clips that they report on; here each is one setting, given once.

    Attributes:
        window: time steps that are looked at together.
        seen: how many of them, from the first, are seen; the others are predicted.
        stride: time steps from one window to the next.
        fps: frames per second that the model is shown, the nearest in time; by default those that
            it learned from, where its run says it, else those of the clips.
        distance: between what was predicted and what came: the mean absolute (`l1`) or squared
            (`l2`) difference, or the one that the model was trained with.
        aggregation: of the windows of a clip: `mean` or `max`.
        memory: `short` shows the model a window by itself; `long` shows it all that came before
            the hidden part, a priming too, and is for models with a memory.
        framing: `whole` squeezes frames that are not square, `centre` cuts the square in the
            middle.

    Raises:
        ConfigError: a window with nothing to see or nothing to predict, or no such choice.
    """

    window: int = 8
    seen: int = 4
    stride: int = 1
    fps: float | None = None
    distance: Distance = "l1"
    aggregation: Aggregation = "mean"
    memory: Memory = "short"
    framing: Framing = "whole"

    def __post_init__(self) -> None:
        for name in ("window", "seen", "stride"):
            if not is_count(getattr(self, name)):
                raise ConfigError(
                    f"protocol.{name}={shown(getattr(self, name))}: is a number of time steps, at "
                    "least 1"
                )
        if self.seen >= self.window:
            raise ConfigError(
                f"protocol.seen={self.seen}: leaves nothing to predict of a window of "
                f"{self.window} time steps; see fewer, or set protocol.window="
            )
        if self.fps is not None and not 0 < real(self.fps) < float("inf"):
            raise ConfigError(
                f"protocol.fps={shown(self.fps)}: is a positive number of frames a second"
            )
        for name, choices in (("distance", Distance), ("aggregation", Aggregation),
                              ("memory", Memory), ("framing", Framing)):  # fmt: skip
            if (value := getattr(self, name)) not in get_args(choices):
                hint = nearest(str(value), get_args(choices))
                raise ConfigError(f"no protocol.{name} '{value}': {hint}")


def facts(
    protocol: SurpriseProtocol, suite: str, clips: Sequence[SuiteClip], *, tubelet_frames: int,
    fps: float | None,
) -> dict[str, str]:  # fmt: skip
    """What a number depends on besides the model, in words, and its hash.

    Two numbers can be compared where their hashes are the same.

    Args:
        protocol: the settings.
        suite: its name.
        clips: all that are scored.
        tubelet_frames: frames of a time step of the model.
        fps: frames per second that it is shown; None for those of the clips.
    """
    scenes = {clip.group() for clip in clips}
    told = {
        field.name: str(getattr(protocol, field.name)) for field in dataclasses.fields(protocol)
    }
    listed = [
        [clip.name, *clip.group(), clip.pair, clip.possible, clip.fps, clip.event, clip.start]
        for clip in clips
    ]
    asked = {
        "suite": f"{suite}: {len(clips)} clips of {len(scenes)} scenes",
        "clips_sha256": config_sha256({"clips": listed})[:12],
        "time_step": f"{tubelet_frames} frames",
        **told,
        "fps": "of the clips" if fps is None else f"{fps:g}",
    }
    return asked | {"protocol_sha256": config_sha256(asked)[:12]}
