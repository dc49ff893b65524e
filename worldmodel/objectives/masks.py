"""Masks hide tokens or time steps of a clip: tubes, the future, all but one; mixtures of them.

They are drawn on the grid of tokens (t, h, w), whatever the tokens hold. Where tokens are hidden,
all samples of a batch keep equally many, so that they form a tensor.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange, repeat
from torch import Generator, Tensor

from worldmodel.errors import ConfigError
from worldmodel.nn.across_ranks import own_rows
from worldmodel.nn.patches import Grid
from worldmodel.runs.processes import world
from worldmodel.types import Mask

SEEN, PREDICTED, UNUSED = 0, 1, 2
"""What a step does with a token: see it, predict it, or neither."""


@dataclass(frozen=True)
class MaskExample:
    """What one step sees and what it predicts of a clip."""

    name: str  # of the kind of mask, in words
    parts: Tensor  # t h w on the grid of tokens, int8: SEEN, PREDICTED or UNUSED


class TokenMasks(ABC):
    """Hides tokens: the visible ones are encoded without them."""

    @abstractmethod
    def hidden(self, batch: int, grid: Grid, generator: Generator) -> Tensor:
        """True where a token must be predicted: b t h w, bool."""


class TimeMasks(ABC):
    """Hides complete time steps: each of the others is encoded alone, as in any clip."""

    @abstractmethod
    def hidden(self, steps: int) -> Tensor:
        """True where a time step of a clip of so many must be predicted: g t, bool, g patterns.

        Every clip of a batch is predicted under every pattern.
        """


@dataclass(frozen=True)
class Tubes(TokenMasks):
    """Rectangles of the frame, hidden at all times, as V-JEPA's multi-block masks.

    `blocks` rectangles of `scale` of the frame each (several short: 8 of 0.15, few long: 2 of
    0.7; arXiv:2506.09985), of one size in a batch and at a position of its own in each sample;
    their union is hidden. A block that would leave a sample with nothing to see is left out.
    """

    blocks: int = 8
    scale: float = 0.15
    aspect: tuple[float, float] = (0.75, 1.5)

    def __post_init__(self) -> None:
        if self.blocks < 1 or not 0 < self.scale < 1:
            raise ConfigError(
                f"Tubes: blocks must be at least 1 and scale, a block's share of the frame, lie "
                f"between 0 and 1, got {self.blocks} and {self.scale}"
            )

    def hidden(self, batch: int, grid: Grid, generator: Generator) -> Tensor:
        """True where a token must be predicted: b t h w."""
        t, height, width = grid
        ratio = _between(self.aspect, generator)
        rectangles = _rectangles((batch, self.blocks), self.scale, ratio, grid, generator)
        covered = torch.zeros(batch, height, width, dtype=torch.bool)
        for block in rectangles.unbind(dim=1):
            union = covered | block
            covered = torch.where(union.all(dim=(1, 2), keepdim=True), covered, union)
        return covered[:, None].expand(-1, t, -1, -1)


@dataclass(frozen=True)
class Blocks(TokenMasks):
    """Rectangles that are predicted one by one, from what a larger one shows around them.

    I-JEPA's multi-block masks of images (arXiv:2301.08243, section 3): each block is predicted
    without knowing of the others, of which it may share tokens; all are hidden from the encoder,
    which sees the rest of the `context` rectangle. In videos they are hidden at all times.

    Attributes:
        blocks: how many, of one size in a batch and at places of their own in each sample.
        scale: least and greatest share of the frame that a block covers.
        aspect: least and greatest height over width of a block.
        context: least and greatest share of the frame that the encoder sees around them.
    """

    blocks: int = 4
    scale: tuple[float, float] = (0.15, 0.2)
    aspect: tuple[float, float] = (0.75, 1.5)
    context: tuple[float, float] = (0.85, 1.0)

    def hidden(self, batch: int, grid: Grid, generator: Generator) -> Tensor:
        """True where a token is in one of the blocks: b t h w."""
        return self.parts(batch, grid, generator)[1].any(dim=1)

    def parts(self, batch: int, grid: Grid, generator: Generator) -> tuple[Tensor, Tensor]:
        """True where a token is seen, b t h w, and where it is in each block, b g t h w.

        A block that would leave nothing to see is put in the first one's place.
        """
        scale, ratio = (_between(x, generator) for x in (self.scale, self.aspect))
        blocks = _rectangles((batch, self.blocks), scale, ratio, grid, generator)
        around = _rectangles((batch, 1), _between(self.context, generator), 1.0, grid, generator)
        seen, placed = around[:, 0] & ~blocks[:, 0], [blocks[:, 0]]
        for block in blocks[:, 1:].unbind(dim=1):
            left = seen & ~block
            nothing = ~left.any(dim=(1, 2), keepdim=True)
            placed.append(torch.where(nothing, blocks[:, 0], block))
            seen = torch.where(nothing, seen, left)
        at_all_times = repeat(torch.stack(placed, dim=1), "b g h w -> b g t h w", t=grid[0])
        return repeat(seen, "b h w -> b t h w", t=grid[0]), at_all_times


def _between(limits: tuple[float, float], generator: Generator) -> float:
    low, high = limits
    return low + (high - low) * torch.rand((), generator=generator).item()


def _rectangles(
    shape: tuple[int, int], scale: float, ratio: float, grid: Grid, generator: Generator
) -> Tensor:
    """True inside rectangles of one size, each at a place of its own: b g h w, bool."""
    _, height, width = grid
    area = scale * height * width
    h = min(max(round((area * ratio) ** 0.5), 1), height)
    w = min(max(round((area / ratio) ** 0.5), 1), width)
    top = torch.randint(0, height - h + 1, (*shape, 1), generator=generator)
    left = torch.randint(0, width - w + 1, (*shape, 1), generator=generator)
    rows, columns = torch.arange(height), torch.arange(width)
    in_rows = (rows >= top) & (rows < top + h)  # b g h
    in_columns = (columns >= left) & (columns < left + w)  # b g w
    return in_rows[..., :, None] & in_columns[..., None, :]


@dataclass(frozen=True)
class RandomTokens(TokenMasks):
    """A share of all tokens, each for itself; or of the columns, hidden at all times.

    Columns are VideoMAE's masks (arXiv:2203.12602), single tokens LeVJEPA's (arXiv:2608.27395).
    """

    share: float = 0.8
    columns: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(
                f"RandomTokens: share, of the tokens that are hidden, must lie between 0 and 1, "
                f"got {self.share}"
            )

    def hidden(self, batch: int, grid: Grid, generator: Generator) -> Tensor:
        """True where a token must be predicted: b t h w."""
        t, h, w = (1, *grid[1:]) if self.columns else grid
        scores = torch.rand(batch, t * h * w, generator=generator)
        order = scores.argsort(dim=1).argsort(dim=1)
        hidden = rearrange(order < round(self.share * t * h * w), "b (t h w) -> b t h w", t=t, h=h)
        return hidden.expand(-1, grid[0], -1, -1)


@dataclass(frozen=True)
class Future(TimeMasks):
    """The last `steps` time steps are hidden: predicting what comes next, as surprise needs."""

    steps: int = 1

    def hidden(self, steps: int) -> Tensor:
        """One pattern: 1 t."""
        if not 0 < self.steps < steps:
            raise ConfigError(
                f"Future(steps={self.steps}) leaves nothing to see in {steps} time steps: "
                "hide fewer steps or take longer clips"
            )
        return (torch.arange(steps) >= steps - self.steps)[None]


@dataclass(frozen=True)
class AllButOne(TimeMasks):
    """All but one time step are hidden, each in turn: predict what came before and after.

    Earlier and later positions can then be told only from the motion within the visible time step:
    this mask teaches velocity.
    """

    def hidden(self, steps: int) -> Tensor:
        """As many patterns as time steps: t t."""
        if steps < 2:
            raise ConfigError("AllButOne hides nothing of a single time step: take longer clips")
        return ~torch.eye(steps, dtype=torch.bool)


@dataclass(frozen=True)
class MaskMixture:
    """Several kinds of masks, of which each training step draws one.

    Args:
        kinds: of masks.
        weights: how often each is drawn; they need not add up to one.
        drop: where tokens are hidden, the share of the visible ones that is dropped at random,
            neither seen nor predicted.
    """

    kinds: Sequence[TokenMasks | TimeMasks]
    weights: Sequence[float]
    drop: float = 0.0

    def __post_init__(self) -> None:
        if len(self.kinds) != len(self.weights) or not self.kinds:
            raise ConfigError(
                f"a mask mixture needs one weight for each kind, got {len(self.weights)} "
                f"weights for {len(self.kinds)} kinds"
            )
        if min(self.weights) < 0 or sum(self.weights) <= 0:
            raise ConfigError(f"masks.weights must be >= 0 and not all 0, got {self.weights}")
        if not 0 <= self.drop < 1:
            raise ConfigError(f"masks.drop must lie in [0, 1), got {self.drop}")

    def check(self, grid: Grid) -> None:
        """Refuse a kind that is drawn at times and leaves nothing to see or to predict on a grid.

        Otherwise it would end a training at the step that first draws it.

        Raises:
            ConfigError: names the kind and the grid.
        """
        for kind, weight in zip(self.kinds, self.weights, strict=True):
            for seed in range(8 if weight else 0):
                for drawn in (self.tokens, self.apart):  # either is how an objective learns
                    drawn(kind, 32, grid, Generator().manual_seed(seed))

    def draw(self, generator: Generator) -> TokenMasks | TimeMasks:
        """The kind of mask of this step."""
        weights = torch.tensor(self.weights, dtype=torch.float)
        return self.kinds[int(torch.multinomial(weights, 1, generator=generator))]

    def tokens(
        self, kind: TokenMasks | TimeMasks, batch: int, grid: Grid, generator: Generator
    ) -> Mask:
        """The tokens of each clip that are seen and those that are to be predicted.

        Where complete time steps are hidden, each clip gets one of the patterns. Where several
        processes share a batch, each draws for all of it and keeps what is for its own clips.
        """
        whole = batch * world()
        if isinstance(kind, TimeMasks):
            patterns = kind.hidden(grid[0])
            drawn = patterns[torch.randint(len(patterns), (whole,), generator=generator)]
            hidden = repeat(drawn, "b t -> b (t n)", n=grid[1] * grid[2])
        else:
            hidden = rearrange(kind.hidden(whole, grid, generator), "b t h w -> b (t h w)")
        fewest_seen = int((~hidden).sum(dim=1).min())
        fewest_hidden = int(hidden.sum(dim=1).min())
        if fewest_seen == 0 or fewest_hidden == 0:
            word = "see" if fewest_seen == 0 else "predict"
            raise ConfigError(_nothing_to(word, kind, grid))
        keep = max(1, round(fewest_seen * (1 - self.drop)))
        return Mask(
            context=_draw(~hidden, keep, generator),
            targets=_draw(hidden, fewest_hidden, generator),
        )

    def apart(
        self, kind: TokenMasks | TimeMasks, batch: int, grid: Grid, generator: Generator
    ) -> list[Mask]:
        """As `tokens`, one mask for each part of a clip that is to be predicted by itself.

        All have the same visible tokens.
        """
        if not isinstance(kind, Blocks):
            return [self.tokens(kind, batch, grid, generator)]
        seen, blocks = kind.parts(batch * world(), grid, generator)
        seen = rearrange(seen, "b t h w -> b (t h w)")
        fewest = int(seen.sum(dim=1).min())
        if fewest == 0:
            raise ConfigError(_nothing_to("see", kind, grid))
        context = _draw(seen, max(1, round(fewest * (1 - self.drop))), generator)
        found = []
        for block in rearrange(blocks, "b g t h w -> g b (t h w)"):
            found.append(Mask(context, _draw(block, int(block[0].sum()), generator)))
        return found

    def examples(
        self, grid: Grid, generator: Generator, *, drop_in_time: bool = True
    ) -> list[MaskExample]:
        """A mask of each kind that is ever drawn, for a clip with this grid of tokens.

        Args:
            grid: t h w.
            generator: they are drawn from it.
            drop_in_time: tokens are dropped too where complete time steps are hidden.
        """
        found = []
        for kind, weight in zip(self.kinds, self.weights, strict=True):
            if weight > 0:
                dropping = drop_in_time or not isinstance(kind, TimeMasks)
                mixture = self if dropping else replace(self, drop=0.0)
                mask = mixture.tokens(kind, 1, grid, generator)
                parts = torch.full(grid, UNUSED, dtype=torch.int8).flatten()
                parts[mask.context[0]], parts[mask.targets[0]] = SEEN, PREDICTED
                name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(kind).__name__).lower()
                found.append(MaskExample(name, parts.reshape(grid)))
        return found


def distance_to_hidden(mask: Mask, grid: Grid) -> Tensor:
    """How far each visible token is from the nearest that is to be predicted: b m, in tokens."""
    _, h, w = grid
    seen, hidden = (
        torch.stack([ids // (h * w), ids // w % h, ids % w], dim=-1).float()
        for ids in (mask.context, mask.targets)
    )
    return torch.cdist(seen, hidden).amin(dim=2)


def _nothing_to(word: str, kind: TokenMasks | TimeMasks, grid: Grid) -> str:
    return (
        f"{kind} on a grid t h w = {grid} leaves a sample with nothing to {word}: change its scale "
        "or number"
    )


def horizon_examples(grid: Grid, horizons: Sequence[int]) -> list[MaskExample]:
    """What is seen and predicted where each time step predicts those so many `horizons` later."""
    t, found = grid[0], []
    for now in range(t - min(horizons)):
        parts = torch.full(grid, UNUSED, dtype=torch.int8)
        parts[: now + 1] = SEEN
        parts[[now + ahead for ahead in horizons if now + ahead < t]] = PREDICTED
        found.append(MaskExample(f"from time step {now + 1}", parts))
    return found


def _draw(allowed: Tensor, count: int, generator: Generator) -> Tensor:
    """`count` of the allowed ids (b n, bool) of each own sample, at random, in increasing order.

    Taking the first ones instead would always drop the latest frames.
    """
    score = own_rows(torch.rand(allowed.shape, generator=generator))
    score = score.masked_fill(~own_rows(allowed), -1)
    return score.topk(count, dim=1).indices.sort(dim=1).values
