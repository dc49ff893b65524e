"""Heads: tokens -> the latents that are predicted and kept from collapsing.

`StateHead` makes one state of a time step, `TokenHead` one latent of each token. Both end in batch
normalisation: SIGReg's gradient vanishes where features have collapsed, so a run that starts
collapsed would stay so.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn

from worldmodel.errors import ShapeError, WorldModelError
from worldmodel.nn.blocks import arguments
from worldmodel.nn.encoder import Encoder


class Head(nn.Module, ABC):
    """One time step's tokens (b n d) -> its latents (b m d), m of them.

    A masked predictor has to predict the first `dim` dimensions of a latent. The `extra` ones after
    them are only ever seen, never a target: they can hold what helps to predict without being
    predictable itself. Velocity is such a thing, and where every dimension was a target it was
    driven out of the latents (docs/pretraining.md).

    Attributes:
        spec: the constructor's arguments, as JSON.
        dim: dimensions of a latent that are predicted.
        extra: dimensions of a latent after those.
        per_token: there is a latent for each token, rather than one for the time step.
        still: a time step is one frame, shown to the encoder as if it stood still.
    """

    registry: ClassVar[dict[str, type["Head"]]] = {}
    spec: dict[str, Any]
    dim: int
    extra: int
    per_token: bool
    still: bool = False

    @property
    def width(self) -> int:
        """All dimensions of a latent."""
        return self.dim + self.extra

    def __init_subclass__(cls) -> None:
        Head.registry[cls.__name__] = cls

    @abstractmethod
    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens b n d -> latents b m `width`."""


class StateHead(Head):
    """All tokens of a time step -> one state. The head knows each token's position.

    Each token is narrowed, all are laid side by side, and a small network reads them. (Mean and
    attentive pooling forget where a token stood; the state then learns positions late.)

    Args:
        tokens: number of tokens in a time step.
        token_width: dimension of a token.
        dim: dimensions of a state that are predicted from video.
        extra: dimensions of a state after those.
        narrow: dimension that each token is narrowed to.
        hidden: width of the network.
    """

    per_token = False

    def __init__(
        self, tokens: int, token_width: int, *, dim: int = 96, extra: int = 96, narrow: int = 32,
        hidden: int = 512,
    ) -> None:  # fmt: skip
        super().__init__()
        self.spec = arguments(locals())
        self.dim, self.extra = dim, extra
        # Two networks: in one, the predicted dimensions crowd out those that are only seen.
        self.predicted = _Reader(tokens, token_width, narrow=narrow, hidden=hidden, dim=dim)
        self.seen = None
        if extra:
            self.seen = _Reader(tokens, token_width, narrow=narrow, hidden=hidden // 2, dim=extra)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens b n d -> one state b 1 d."""
        predicted = self.predicted(tokens)
        if self.seen is None:
            return predicted[:, None]
        return torch.cat([predicted, self.seen(tokens)], dim=1)[:, None]


class _Reader(nn.Module):
    """Narrows all tokens of a time step and reads them side by side: b n d -> b d."""

    def __init__(
        self, tokens: int, token_width: int, *, narrow: int, hidden: int, dim: int
    ) -> None:
        super().__init__()
        self.narrow = nn.Linear(token_width, narrow)
        self.project = _projector(tokens * narrow, hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.project(self.narrow(tokens).flatten(1))


class TokenHead(Head):
    """Each token -> one latent, the same network everywhere.

    Args:
        token_width: dimension of a token.
        dim: dimension of a latent.
        hidden: width of the network.
    """

    per_token = True

    def __init__(self, token_width: int, *, dim: int = 64, hidden: int = 256) -> None:
        super().__init__()
        self.spec = arguments(locals())
        self.dim, self.extra = dim, 0
        self.project = _projector(token_width, hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens b n d -> latents b n d."""
        return self.project(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])


class ClassTokenHead(Head):
    """One token of a time step -> its state, by a small network.

    Args:
        token_width: dimension of the token.
        dim: dimension of a state.
        hidden: width of the network.
    """

    per_token = False

    def __init__(self, token_width: int, *, dim: int = 192, hidden: int = 2048) -> None:
        super().__init__()
        self.spec = arguments(locals())
        self.dim, self.extra = dim, 0
        self.project = nn.Sequential(
            nn.Linear(token_width, hidden), nn.BatchNorm1d(hidden), nn.GELU(),
            nn.Linear(hidden, dim),
        )  # fmt: skip

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens b 1 d -> one state b 1 d.

        Raises:
            ShapeError: there are more tokens.
        """
        if tokens.shape[1] != 1:
            raise ShapeError(f"this head reads one token of a time step, got {tokens.shape[1]}")
        return self.project(tokens[:, 0])[:, None]


def _projector(width: int, hidden: int, dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.BatchNorm1d(hidden),
        nn.GELU(),
        nn.Linear(hidden, dim),
        nn.BatchNorm1d(dim, affine=False),
    )


def require_head(head: Head | None) -> Head:
    """The head, for a predictor of its latents.

    Raises:
        WorldModelError: there is none.
    """
    if head is None:
        raise WorldModelError("this model has no head yet: run `worldmodel pretrain` first")
    return head


def state_frames(encoder: Encoder, head: Head | None) -> int:
    """Frames that a time step is made of."""
    return 1 if head is not None and head.still else encoder.tubelet_frames


def time_step_latents(encoder: Encoder, head: Head, frames: Tensor) -> Tensor:
    """The latents of each time step seen alone: frames b (t i) c h w -> b t m d.

    Alone, because a target or a state must not know what comes after it.

    Raises:
        ShapeError: the frames do not divide into time steps.
    """
    i = state_frames(encoder, head)
    if frames.shape[1] % i:
        raise ShapeError(f"{frames.shape[1]} frames do not divide into time steps of {i} frames")
    tubes = rearrange(frames, "b (t i) c h w -> (b t) i c h w", i=i)
    if head.still:
        tubes = tubes.expand(-1, encoder.tubelet_frames, -1, -1, -1)
    return rearrange(head(encoder(tubes)), "(b t) m d -> b t m d", b=len(frames))
