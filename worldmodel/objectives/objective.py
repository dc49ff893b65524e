"""The role Objective: a batch of clips in, named losses out.

Knows neither where clips come from nor how losses are descended: `worldmodel.training` does.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from worldmodel.errors import WorldModelError
from worldmodel.model import WorldModel
from worldmodel.nn.encoder import Encoder
from worldmodel.nn.patches import Grid
from worldmodel.objectives.masks import MaskExample, MaskMixture


@dataclass(frozen=True)
class Losses:
    """The named terms of a batch; the loss is their sum."""

    terms: dict[str, Tensor]  # scalars, already weighted
    features: Tensor | None  # t m b d, detached: looked at for collapse; None where nothing learns
    numbers: dict[str, Tensor]  # scalars, detached: for the log, at no extra cost

    @property
    def total(self) -> Tensor:
        """The sum of the terms."""
        return torch.stack(list(self.terms.values())).sum()


class Objective(nn.Module, ABC):
    """What a step of learning from video minimises; its parameters are what is trained.

    Its losses depend on the frames, the step and the generator alone, and what it hides of a clip
    reaches targets and no prediction (see docs/pretraining.md for batch statistics). The tests of
    each implementation are in `tests/worldmodel/objectives/test_contract.py`.

    Attributes:
        encoder: what is learned; frames to tokens.
        predicted: how many dimensions of a latent, the first, are targets.
        wants_gaussian: its latents are meant to become standard normal.
        masks: what is hidden of a clip; None where masks hide nothing.
    """

    encoder: Encoder
    predicted: int
    wants_gaussian: bool = False
    masks: MaskMixture | None = None

    @abstractmethod
    def forward(
        self, frames: Tensor, *, step: int, generator: Generator, clips_per_video: int = 1
    ) -> Losses:
        """The losses of a batch of frames.

        Args:
            frames: b t c h w in [0, 1].
            step: number of the training step.
            generator: all randomness of the step comes from it.
            clips_per_video: so many clips in a row are of one video.
        """

    def check(self, num_frames: int) -> None:  # noqa: B027  # most take clips of any length
        """Refuse, before any is read, clips of so many frames of which nothing can be learned.

        Raises:
            ConfigError: it says why.
        """

    @abstractmethod
    def latents(self, frames: Tensor) -> Tensor:
        """The latents that the model makes of frames b t c h w: t m b d."""

    @abstractmethod
    def world_model(self, size: int) -> WorldModel:
        """The model that is trained, for square frames of `size` pixels; shares its weights."""

    def energies(self, frames: Tensor, seen: int) -> Tensor:
        """How badly the end of each clip fits its beginning: b; see `energy.py`.

        Args:
            frames: b t c h w in [0, 1].
            seen: so many time steps, the first, are the beginning.

        Raises:
            WorldModelError: the objective does not predict the end from the beginning.
        """
        raise WorldModelError(
            f"{type(self).__name__} does not predict how a clip goes on, so it has no energy"
        )

    def mask_examples(self, grid: Grid, generator: Generator) -> list[MaskExample]:
        """What steps see and predict of clips with this grid (t h w): each way of it once."""
        return [] if self.masks is None else self.masks.examples(grid, generator)

    def after_step(self, progress: float) -> None:  # noqa: B027  # most have nothing to do here
        """Called after each optimiser step, when the share `progress` of the training is done."""
