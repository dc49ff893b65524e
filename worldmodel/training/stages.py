"""Progressive training: smaller frames or shorter clips for the first steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator

from worldmodel.errors import ConfigError, WorldModelError
from worldmodel.objectives.objective import Objective


@dataclass(frozen=True)
class Stage:
    """Some steps of a training, and the clips that it sees in them.

    Attributes:
        steps: how many; a number and no share, so that a batch stays a function of (seed, step)
            when a training goes on with more steps.
        size: side of the frames in pixels; None: as in the end.
        num_frames: frames of a clip, its first ones; None: as in the end.
    """

    steps: int
    size: int | None = None
    num_frames: int | None = None


class Stages:
    """The stages of a training, one after the other, and what it sees in the rest.

    Args:
        first: the stages; `Stage`s, or mappings with their fields.
        size: side of the frames in pixels in the end.
        num_frames: frames of a clip in the end.
        accumulate: batches in a step.

    Raises:
        ConfigError: a stage has other fields, or numbers below one.
    """

    def __init__(
        self, first: Sequence[Stage | Mapping[str, Any]], *, size: int, num_frames: int,
        accumulate: int = 1,
    ) -> None:  # fmt: skip
        if not isinstance(first, Sequence) or isinstance(first, str):
            raise ConfigError(f"stages={first} must be a list, stages=[{{steps: 500, size: 48}}]")
        self._first = [_numbers(stage, size, num_frames) for stage in first]
        self._accumulate = accumulate
        self.last = (size, num_frames)

    def at(self, number: int) -> tuple[int, int]:
        """The size and the number of frames of batch `number`."""
        step = number // self._accumulate
        for steps, *shape in self._first:
            if step < steps:
                return shape[0], shape[1]
            step -= steps
        return self.last

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """The size and the number of frames of every stage and of the rest."""
        return [*((size, num_frames) for _, size, num_frames in self._first), self.last]

    @property
    def largest(self) -> tuple[int, int]:
        """The greatest size and the greatest number of frames: what has to be read."""
        return max(size for size, _ in self.shapes), max(frames for _, frames in self.shapes)

    def check_tubelets(self, frames: int) -> None:
        """Refuse clips that do not divide into tubelets of so many frames."""
        for _, t in self.shapes:
            if t % frames:
                raise ConfigError(
                    f"num_frames={t} does not divide into tubelets of {frames} frames; say a "
                    f"multiple of {frames}, or another model.encoder.tubelet_frames="
                )

    @torch.no_grad()
    def check(self, objective: Objective) -> None:
        """Try an objective on a few clips of noise of each stage.

        Raises:
            ConfigError: it cannot take them.
        """
        modes = [(module, module.training) for module in objective.modules()]
        objective.eval()  # batch statistics must not learn from noise
        generator = Generator().manual_seed(0)
        try:
            for size, t in self.shapes[:-1]:
                noise = torch.rand(4, t, 3, size, size, generator=generator)
                objective(noise, step=0, generator=generator, clips_per_video=2)
        except (WorldModelError, RuntimeError, ValueError, AssertionError) as cause:
            reason = str(cause).strip().partition("\n")[0]
            raise ConfigError(
                f"stages: this objective cannot take {t} frames of {size} x {size} pixels with "
                f"this model ({reason}); say another size or num_frames"
            ) from cause
        finally:
            for module, mode in modes:
                module.training = mode


def _numbers(given: Stage | Mapping[str, Any], size: int, num_frames: int) -> tuple[int, int, int]:
    """The steps, size and number of frames of a stage."""
    try:
        stage = given if isinstance(given, Stage) else Stage(**given)
    except TypeError:
        stage = Stage(0)
    found = (
        stage.steps,
        size if stage.size is None else stage.size,
        num_frames if stage.num_frames is None else stage.num_frames,
    )
    if not all(type(number) is int and number >= 1 for number in found):
        raise ConfigError(
            "each of stages is {steps: 500, size: 48, num_frames: 8}, of the last two perhaps one; "
            f"got {given}"
        )
    return found
