"""Many episodes as stacked arrays in memory, and training segments cut from them by indexing.

A segment is time steps of consecutive frames, and the blocks of actions between them, one action
for each step of the environment. Knows nothing of files (`folder.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from worldmodel.episodes.choices import spread_choices
from worldmodel.episodes.episode import Episode
from worldmodel.episodes.store import EpisodeStore
from worldmodel.errors import ConfigError, EpisodeError
from worldmodel.types import Clip


@dataclass(frozen=True)
class EpisodeArrays:
    """All frames of all episodes, one after another along `t`; episode `i` is `slices[i]`."""

    frames: Tensor  # t c h w, uint8
    times: Tensor  # t, float64, seconds since the start of their episode
    offsets: Tensor  # episodes + 1, int64: the first frame of each episode, and the end
    actions: Tensor | None  # t a, float32: the action taken at each frame, 0 after the last one
    info: Mapping[str, Tensor] = field(default_factory=dict)  # t ...; what all episodes have
    sources: tuple[str, ...] = ()  # one per episode
    action_choices: tuple[int, ...] = ()  # alternatives of each choice; none where they are numbers

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def slices(self) -> list[slice]:
        """Where each episode is along `t`."""
        bounds = self.offsets.tolist()
        return [slice(low, high) for low, high in zip(bounds[:-1], bounds[1:], strict=True)]


def load_arrays(episodes: Sequence[Episode]) -> EpisodeArrays:
    """Read episodes into memory once, as uint8 (12 kB a frame at 64x64).

    Actions are kept when all episodes have them: pass `episodes.labelled` for those. Those that
    are choices get a number for each alternative.

    Raises:
        EpisodeError: there are none, or their frames or actions differ in size.
    """
    if len(episodes) == 0:
        raise EpisodeError("no episodes to load; collect some, or take more of them as labelled")
    lengths = episodes.lengths if isinstance(episodes, EpisodeStore) else [len(e) for e in episodes]
    offsets = torch.tensor([0, *np.cumsum(lengths).tolist()])
    frames, times, actions, infos, sources = torch.empty(0), [], [], [], []
    for index, episode in enumerate(episodes):
        piece = rearrange(episode.frames, "t h w c -> t c h w")
        if index == 0:  # one allocation for all of it: no second copy to stack from
            frames = torch.empty((sum(lengths), *piece.shape[1:]), dtype=torch.uint8)
        if piece.shape[1:] != frames.shape[1:]:
            raise EpisodeError(
                f"{episode.source or f'episode {index}'}: frames are c h w = "
                f"{tuple(piece.shape[1:])}, those of the others {tuple(frames.shape[1:])}; "
                f"collect all episodes at one size"
            )
        frames[offsets[index] : offsets[index + 1]] = piece
        times.append(episode.times - episode.times[0])
        actions.append(episode.actions)
        infos.append({k: v for k, v in episode.info.items() if not k.endswith("_image")})
        sources.append(episode.source)
    choices: tuple[int, ...] = ()
    if isinstance(episodes, EpisodeStore):
        choices, first = episodes.info.action_choices, episodes.info.action_low
        actions = [a if a is None else spread_choices(a, choices, first) for a in actions]
    return EpisodeArrays(
        frames, torch.cat(times), offsets, _stack_actions(actions), _stack(infos), tuple(sources),
        choices,
    )  # fmt: skip


def _stack_actions(actions: Sequence[Tensor | None]) -> Tensor | None:
    known = [a for a in actions if a is not None]
    if len(known) < len(actions):
        return None
    widths = {a.shape[1] for a in known}
    if len(widths) > 1:
        raise EpisodeError(
            f"episodes have actions of {sorted(widths)} dimensions; collect them in one environment"
        )
    return torch.cat([torch.cat([a, a.new_zeros(1, a.shape[1])]) for a in known])


def _stack(infos: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    common = set.intersection(*(set(info) for info in infos))
    return {name: torch.cat([info[name] for info in infos]) for name in sorted(common)}


@dataclass(frozen=True)
class Segments:
    """A batch of segments, `p` frames to a time step."""

    frames: Tensor  # b (t p) c h w, uint8
    actions: Tensor  # b t-1 (k a), float32: block i leads from time step i to time step i + 1
    times: Tensor  # b (t p), float64, seconds
    episodes: Tensor  # b, int64: index of the episode
    starts: Tensor  # b, int64: its frame that the segment begins at; below 0: at rest
    info: Mapping[str, Tensor]  # b t ...: at the last frame of each time step

    def __len__(self) -> int:
        return len(self.frames)

    def clip(self) -> Clip:
        """The frames as float32 in [0, 1]."""
        return Clip.from_uint8(self.frames, self.times)


class EpisodeDataset:
    """Segments of episodes in memory, each batch a function of `(seed, step)` alone.

    With `p = tubelet_frames` and `k = action_block`, time step `i` of a segment that starts at
    frame `s` holds the frames `s + k*i ... s + k*i + p-1`, and block `i` the actions taken at the
    last frame of time step `i` and the `k - 1` frames after it. A segment may start before its
    episode, by `p - 1` frames and by `least - 1` blocks: frame 0 then stands for those, and the
    actions are zero, as an agent sees a world at rest when it is reset.

    Args:
        arrays: Labelled episodes, see `load_arrays`; their lengths may differ.
        tubelet_frames: Frames of a time step.
        action_block: Actions of a block; as many as a time step has frames if None.
        least: Time steps that every prediction begins with.
        rest_fraction: Share of segments that start as early as can be, on top of those that chance
            puts there: it is where every plan begins.
    """

    def __init__(
        self, arrays: EpisodeArrays, *, tubelet_frames: int = 2, action_block: int | None = None,
        least: int = 1, rest_fraction: float = 0.1,
    ) -> None:  # fmt: skip
        if arrays.actions is None:
            raise EpisodeError(
                "episodes without actions cannot be cut into segments; load `episodes.labelled`, "
                "or read them as videos"
            )
        self.arrays = arrays
        self.tubelet_frames = tubelet_frames
        self.action_block = action_block or tubelet_frames
        if self.action_block < tubelet_frames:
            raise ConfigError(
                f"an action block of {self.action_block} is shorter than the {tubelet_frames} "
                f"frames of a time step: say model.action_block={tubelet_frames} or more"
            )
        self.rest_fraction = rest_fraction
        self.least = least
        # Of the earliest start of a segment, in frames before its episode.
        self.early = tubelet_frames - 1 + (least - 1) * self.action_block
        self.action_dim: int = arrays.actions.shape[1]  # of one environment step
        self._lengths = arrays.offsets.diff().numpy()

    def num_starts(self, length: int) -> np.ndarray:
        """How many starts each episode has for segments of `length` time steps; 0 if too short."""
        last = self._lengths - self.action_block * (length - 1) - self.tubelet_frames
        return np.where(self._lengths > 1, np.maximum(last + self.early + 1, 0), 0)

    def sample(
        self, step: int, batch: int, *, seed: int, length: int, per_episode: int = 1
    ) -> Segments:
        """`batch` segments of `length` time steps, every start of every episode equally likely.

        Args:
            step: of the training.
            batch: how many, in all.
            seed: of the batches.
            length: of each.
            per_episode: how many in a row are of one episode.

        Raises:
            EpisodeError: no episode is as long.
        """
        counts = self.num_starts(length)
        ends = np.cumsum(counts)
        if ends[-1] == 0:
            raise EpisodeError(
                f"segments of {length} time steps need {(length - 1) * self.action_block + 1} "
                f"frames, the longest episode has {self._lengths.max()}; ask for shorter segments"
            )
        random = np.random.default_rng((seed, step))
        place = random.integers(ends[-1], size=batch)
        episodes = np.searchsorted(ends, place, side="right")
        starts = place - (ends - counts)[episodes]
        if per_episode > 1:
            episodes = episodes[::per_episode].repeat(per_episode)[:batch]
            starts = random.integers(counts[episodes])
        starts[random.random(batch) < self.rest_fraction] = 0
        starts -= self.early
        return self.at(torch.from_numpy(episodes), torch.from_numpy(starts), length=length)

    def at(self, episodes: Tensor, starts: Tensor, *, length: int) -> Segments:
        """The segments of `length` time steps at these starts (both `b`, int64)."""
        p, k, arrays = self.tubelet_frames, self.action_block, self.arrays
        assert arrays.actions is not None
        base = arrays.offsets[episodes][:, None]
        seen = (k * torch.arange(length)[:, None] + torch.arange(p)).flatten()
        within = starts[:, None] + seen
        rows = base + within.clamp(min=0)
        if bool((rows >= arrays.offsets[episodes + 1][:, None]).any()):
            raise EpisodeError(f"a segment of {length} time steps ends after its episode")
        frames = arrays.frames.index_select(0, rows.flatten())
        taken = starts[:, None] + p - 1 + torch.arange(k * (length - 1))
        blocks = arrays.actions[base + taken.clamp(min=0)]
        blocks = torch.where((taken < 0)[..., None], 0.0, blocks)
        # Frames before the episode are one step apart too, though they show the same image.
        first = arrays.times[base[:, 0]][:, None]
        sampling = arrays.times[base[:, 0] + 1][:, None] - first
        return Segments(
            rearrange(frames, "(b t) c h w -> b t c h w", b=len(rows)),
            rearrange(blocks, "b (t k) a -> b t (k a)", k=k),
            arrays.times[rows] + sampling * within.clamp(max=0),
            episodes,
            starts,
            {name: values[rows[:, p - 1 :: p]] for name, values in arrays.info.items()},
        )

    def sweep(self, *, length: int, stride: int = 1) -> Segments:
        """Every segment of `length` time steps, one start in `stride`: for read-outs, not training.

        Copies its frames: `length * tubelet_frames / stride` times the memory of the arrays.
        """
        starts = [torch.arange(n)[::stride] for n in self.num_starts(length).tolist()]
        episodes = [torch.full_like(s, index) for index, s in enumerate(starts)]
        first = torch.cat(starts) - self.early
        return self.at(torch.cat(episodes), first, length=length)
