"""A predictor with a memory: later time steps from all earlier ones."""

from collections.abc import Iterator, Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from worldmodel.errors import ConfigError, ShapeError, WorldModelError
from worldmodel.nn.blocks import Block, arguments, check_heads
from worldmodel.nn.encoder import Encoder
from worldmodel.nn.heads import Head, time_step_latents
from worldmodel.nn.positions import Rotary3D
from worldmodel.nn.predictor import Prediction, Predictor


class CausalPredictor(Predictor):
    """A causal transformer over time steps: at each, what comes several `horizons` later.

    Each time step has seen all before it in the clip, so what went behind a screen can still be
    known when it should come out again. That takes horizons as long as it is hidden: a predictor
    of the next time step alone forgets. A prediction is the present latents plus a learned change,
    so an untrained one says that nothing changes.

    Args:
        latents: number of latents of a time step: one, or one for each token.
        seen_width: dimension of a visible latent.
        target_width: how many of those dimensions, from the first, are predicted.
        horizons: how many time steps ahead it predicts.
        width, depth, heads: of the transformer.
    """

    def __init__(
        self, latents: int, seen_width: int, target_width: int, *,
        horizons: Sequence[int] = (1, 2, 4, 8), width: int = 192, depth: int = 3, heads: int = 4,
    ) -> None:  # fmt: skip
        super().__init__()
        check_heads("a causal predictor", width, heads, rotary=True)
        if not horizons or list(horizons) != sorted(set(horizons)) or horizons[0] < 1:
            raise ConfigError(
                f"horizons are numbers of time steps that increase from 1 or more, got "
                f"{list(horizons)}"
            )
        self.spec = arguments(locals())
        self.latents, self.target_width = latents, target_width
        self.horizons = tuple(horizons)
        self.embed = nn.Linear(latents * seen_width, width)
        self.rotary = Rotary3D(width // heads)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.changes = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, 2 * width), nn.GELU(),
                nn.Linear(2 * width, latents * target_width),
            )
            for _ in horizons
        )  # fmt: skip
        for change in self.changes:
            assert isinstance(change, nn.Sequential)
            for weights in change[-1].parameters():
                nn.init.zeros_(weights)

    def forward(self, seen: Tensor) -> Tensor:
        """Predict from every time step.

        Args:
            seen: b t m d, latents of all time steps.

        Returns:
            b h t m `target_width`: for each of the h horizons and each time step, what comes so
            much later.
        """
        t = seen.shape[1]
        x = self.embed(rearrange(seen, "b t m d -> b t (m d)"))
        sees = torch.ones(t, t, dtype=torch.bool, device=x.device).tril()
        rotation = self.rotary((t, 1, 1), None, x.device)
        for block in self.blocks:
            x = block(x, rotation, sees)
        x = self.norm(x)
        changes = torch.stack([change(x) for change in self.changes], dim=1)
        now = seen[:, None, ..., : self.target_width]
        return now + rearrange(changes, "b h t (m d) -> b h t m d", m=self.latents)

    def predictions(
        self, encoder: Encoder, head: Head | None, frames: Tensor
    ) -> Iterator[Prediction]:
        """Predict every time step but the first, over the longest horizon that its past allows.

        Raises:
            ShapeError: the frames do not divide into time steps, or there is one only.
            WorldModelError: there is no head.
        """
        steps = encoder.grid(frames)[0]
        if steps <= self.horizons[0]:
            raise ShapeError(
                f"a clip of {steps} time step{'s' * (steps > 1)} leaves nothing to predict: take "
                f"{self.horizons[0] + 1}"
            )
        if head is None:
            raise WorldModelError("this model has no head yet: run `worldmodel pretrain` first")
        latents = time_step_latents(encoder, head, frames)  # b t m d
        foreseen, target = self(latents), latents[..., : head.dim]
        later = torch.arange(self.horizons[0], steps)
        which = [max(i for i, h in enumerate(self.horizons) if h <= int(step)) for step in later]
        ago = torch.tensor([self.horizons[i] for i in which])
        i = encoder.tubelet_frames
        prediction = Prediction(
            foreseen[:, which, later - ago], observed=target[:, later],
            persistence=target[:, later - ago], last_frames=(later + 1) * i - 1, power=2,
        )  # fmt: skip
        return iter([prediction])
