"""A predictor with a memory: later time steps from all earlier ones."""

from collections.abc import Iterator, Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from worldmodel.errors import ConfigError, ShapeError
from worldmodel.nn.blocks import Block, arguments, check_heads
from worldmodel.nn.encoder import Encoder
from worldmodel.nn.heads import Head, require_head, time_step_latents
from worldmodel.nn.positions import Rotary3D
from worldmodel.nn.predictor import Prediction, Predictor, on_sphere


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
        cosine: predictions were trained by their cosine with the target, and are scored by it;
            otherwise by squared differences.
    """

    def __init__(
        self, latents: int, seen_width: int, target_width: int, *,
        horizons: Sequence[int] = (1, 2, 4, 8), width: int = 192, depth: int = 3, heads: int = 4,
        cosine: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        check_heads("a causal predictor", width, heads, rotary=True)
        if not horizons or list(horizons) != sorted(set(horizons)) or horizons[0] < 1:
            raise ConfigError(
                f"horizons are numbers of time steps that increase from 1 or more, got "
                f"{list(horizons)}"
            )
        self.spec, self.power = arguments(locals()), 2
        self.scored = on_sphere if cosine else nn.Identity()
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

    def pairs(self, foreseen: Tensor, later: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Predictions, paired over each horizon with what came: b t' m d both.

        Args:
            foreseen: b h t m d, as `forward` returns them.
            later: b t m d, of each time step what is to be predicted.

        Returns:
            A pair for each horizon that fits into the clip, with t' the time steps that have one.
        """
        t = later.shape[1]
        return [
            (foreseen[:, i, : t - ahead], later[:, ahead:])
            for i, ahead in enumerate(self.horizons)
            if ahead < t
        ]

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
        latents = time_step_latents(encoder, require_head(head), frames)  # b t m d
        foreseen = self.scored(self(latents))
        target = self.scored(latents[..., : self.target_width])
        later = torch.arange(self.horizons[0], steps)
        which = [max(i for i, h in enumerate(self.horizons) if h <= int(step)) for step in later]
        ago = torch.tensor([self.horizons[i] for i in which])
        i = encoder.tubelet_frames
        prediction = Prediction(
            foreseen[:, which, later - ago], observed=target[:, later],
            persistence=target[:, later - ago], last_frames=(later + 1) * i - 1, power=self.power,
        )  # fmt: skip
        return iter([prediction])

    def ahead(self, encoder: Encoder, head: Head | None, frames: Tensor, steps: int) -> Tensor:
        """Predict each time step after a clip over the shortest horizon that reaches it: b s m d.

        Raises:
            ShapeError: no horizon reaches so far, or the clip is too short for those that do.
        """
        seen = encoder.grid(frames)[0]
        return self.ahead_of_each(encoder, head, frames, [seen], steps)[0]

    def ahead_of_each(
        self, encoder: Encoder, head: Head | None, frames: Tensor, seen: Sequence[int], steps: int
    ) -> Tensor:
        """What `ahead` says after each number of time steps that was `seen` of clips: n b s m d.

        They are encoded once, since what is predicted at a time step knows of none after it.

        Raises:
            ShapeError: no horizon reaches so far, or too little was seen for those that do.
        """
        foreseen = self.scored(self(time_step_latents(encoder, require_head(head), frames)))
        found = [
            torch.stack([foreseen[:, i, at] for i, at in self._reaching(number, steps)], dim=1)
            for number in seen
        ]
        return torch.stack(found)

    def _reaching(self, seen: int, steps: int) -> Iterator[tuple[int, int]]:
        """The shortest horizon to each time step after those seen, and where it begins."""
        for step in range(1, steps + 1):
            reach = [i for i, h in enumerate(self.horizons) if step <= h < step + seen]
            if not reach:
                raise ShapeError(
                    f"with horizons {list(self.horizons)}, a clip of {seen} time steps says "
                    f"nothing of the one that comes {step} after it"
                )
            yield reach[0], seen - 1 + step - self.horizons[reach[0]]

    def observed(self, encoder: Encoder, head: Head | None, frames: Tensor) -> Tensor:
        """The latents of each time step alone, those dimensions that are predicted: b t m d."""
        latents = time_step_latents(encoder, require_head(head), frames)
        return self.scored(latents[..., : self.target_width])
