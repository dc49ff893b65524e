"""Values that the packages exchange: `Clip`, `Latents`, `History`, ... Frozen, self-checking.

A *time step* is one step of the grid of tokens in time: `tubelet_frames` frames, all their tokens.
Axes, everywhere in this project: `b` batch, `k` candidate, `t` time, `n` token, `d` width,
`a` action, `c h w` pixel. Knows nothing of files, networks or environments.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worldmodel.errors import ShapeError


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise ShapeError(message)


@dataclass(frozen=True)
class Origin:
    """The source and time that a clip was cut from."""

    name: str  # file, shard member or episode
    start: float  # seconds after the first frame of that
    stride: int | None = None  # frames from one to the next, or
    fps: float | None = None  # frames per second, as was asked for


@dataclass(frozen=True)
class Clip:
    """Frames of videos, equally spaced in time, with their times.

    Raises:
        ShapeError: axes, dtype, range or times are not as stated.
    """

    frames: Tensor  # b t c h w, float32 in [0, 1]
    times: Tensor  # b t, float64, seconds, increasing
    sources: tuple[str, ...] = ()  # one per b: where the frames were read from; empty if unknown
    origins: tuple[Origin, ...] = ()  # one per b: the same, to the second; empty if unknown

    def __post_init__(self) -> None:
        f, times = self.frames, self.times
        _require(f.ndim == 5, f"Clip.frames must be b t c h w, got shape {tuple(f.shape)}")
        _require(f.dtype == torch.float32, f"Clip.frames must be float32, got {f.dtype}")
        _require(f.numel() > 0, f"Clip.frames must not be empty, got shape {tuple(f.shape)}")
        low, high = (x.item() for x in f.aminmax())
        _require(0 <= low and high <= 1, f"Clip.frames must lie in [0, 1], got [{low:g}, {high:g}]")
        _require(
            times.shape == f.shape[:2],
            f"Clip.times must be b t = {tuple(f.shape[:2])}, got {tuple(times.shape)}",
        )
        _require(bool((times.diff(dim=1) > 0).all()), "Clip.times must increase along t")
        for name in ("sources", "origins"):
            known = len(getattr(self, name))
            _require(
                known in (0, len(f)),
                f"Clip.{name} must name each of {len(f)} clips or none, got {known}",
            )

    def __len__(self) -> int:
        return len(self.frames)

    def to(self, device: torch.device | str) -> "Clip":
        """The same clip with frames on `device`; times stay where they are."""
        return replace(self, frames=self.frames.to(device))

    @staticmethod
    def from_uint8(
        frames: Tensor,
        times: Tensor | None = None,
        *,
        fps: float = 1.0,
        sources: tuple[str, ...] = (),
        origins: tuple[Origin, ...] = (),
    ) -> "Clip":
        """From `b t c h w` uint8 frames; without `times` they are counted at `fps`."""
        _require(frames.dtype == torch.uint8, f"expected uint8 frames, got {frames.dtype}")
        if times is None:
            count = torch.arange(frames.shape[1], dtype=torch.float64) / fps
            times = count.expand(frames.shape[0], -1)
        return Clip(frames.float() / 255, times.to(torch.float64), sources, origins)

    @staticmethod
    def from_images(images: Tensor, num_frames: int) -> "Clip":
        """Still images `b c h w` (uint8, or float32 in [0, 1]) held for `num_frames` frames.

        Nothing moves in such a clip, so it shows no velocity.
        """
        _require(images.ndim == 4, f"images must be b c h w, got shape {tuple(images.shape)}")
        images = images.float() / 255 if images.dtype == torch.uint8 else images
        frames = images[:, None].expand(-1, num_frames, -1, -1, -1).contiguous()
        times = torch.arange(num_frames, dtype=torch.float64).expand(len(images), -1)
        return Clip(frames, times)


@dataclass(frozen=True)
class Latents:
    """The encoder's output for a clip: tokens on a (time, height, width) grid, time-major."""

    tokens: Tensor  # b n d with n = t * h * w
    grid: tuple[int, int, int]  # t h w, in tokens
    times: Tensor  # b t, float64, seconds: the last frame of each time step

    def __post_init__(self) -> None:
        _require(
            self.tokens.ndim == 3, f"tokens must be b n d, got shape {tuple(self.tokens.shape)}"
        )
        t, h, w = self.grid
        n = self.tokens.shape[1]
        _require(n == t * h * w, f"{n} tokens do not fill the grid t h w = {self.grid}")
        expected = (len(self.tokens), t)
        _require(
            self.times.shape == expected,
            f"Latents.times must be b t = {expected}, got {tuple(self.times.shape)}",
        )


@dataclass(frozen=True)
class History:
    """States and actions so far, as the action predictor and the planners take them.

    `actions[i]` is the action block that led from `states[i]` to `states[i + 1]`.
    """

    states: Tensor  # t d, t >= 1
    actions: Tensor  # t-1 a

    def __post_init__(self) -> None:
        s, a = self.states, self.actions
        _require(s.ndim == 2 and len(s) > 0, f"states must be t d, got {tuple(s.shape)}")
        _require(
            a.ndim == 2 and len(a) == len(s) - 1,
            f"actions must be (t-1) a for {len(s)} states, got {tuple(a.shape)}",
        )


@dataclass(frozen=True)
class Surprise:
    """The error of predictions against the frames that followed, per time step."""

    scores: Tensor  # b t, >= 0: mean error, in units in which the targets vary by about one
    times: Tensor  # b t, float64, seconds: the last frame of each prediction

    def __post_init__(self) -> None:
        _require(
            self.scores.ndim == 2 and self.scores.shape == self.times.shape,
            f"scores and times must both be b t, got {tuple(self.scores.shape)} "
            f"and {tuple(self.times.shape)}",
        )


@dataclass(frozen=True)
class Mask:
    """Ids of the tokens that the encoder sees and of those that the predictor must fill in."""

    context: Tensor  # b m, increasing ids on the grid
    targets: Tensor  # b q, increasing ids on the grid

    def to(self, device: torch.device | str) -> "Mask":
        """The same mask on `device`."""
        return Mask(self.context.to(device), self.targets.to(device))
