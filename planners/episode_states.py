"""The states that a model sees in recorded episodes, which landmarks and guardrails learn from."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from einops import rearrange
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from worldmodel.episodes.choices import spread_choices
from worldmodel.episodes.episode import Episode
from worldmodel.episodes.folder import Episodes
from worldmodel.errors import ConfigError
from worldmodel.storage.files import whole_file
from worldmodel.types import Clip

from .dynamics import ImageDynamics, shown_in_images, told_proprioception
from .image_states import fit_square
from .infos import ENDED, REWARD

_INFO = "info."  # before the names of infos in a file of states

Choices = tuple[Sequence[int], Sequence[float]]
"""How many alternatives each choice has, and the number of the first of each."""


@dataclass(frozen=True)
class EpisodeStates:
    """The states of all episodes, one action block apart, and which are flagged as violations."""

    states: Tensor  # n d: those of all episodes, one after the other
    lengths: Tensor  # e, int64: states of each episode
    flagged: Tensor  # n, bool: the flag is true in a frame of the state
    told: Tensor  # n, bool: the flag was told in every frame of the state
    blocks: Tensor  # n a: the action block that follows each state; NaN where none is recorded
    infos: Mapping[str, Tensor] = field(default_factory=dict)  # name -> n k: told of each state

    @property
    def numbers(self) -> Tensor:
        """The episode (n) that each state is of."""
        return torch.arange(len(self.lengths)).repeat_interleave(self.lengths)

    @property
    def sequences(self) -> list[Tensor]:
        """The states (t d) of each episode."""
        return list(self.states.split(self.lengths.tolist()))

    def examples(self, most: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Flagged states (at most `most`) and safe ones (at most four times as many), at random.

        A state that is not flagged is safe only if the flag was told in all its frames.

        Raises:
            ConfigError: nothing is flagged.
        """
        if not self.flagged.any():
            raise ConfigError(
                "no episode was ever flagged (evaluation.violation= names the info that flags a "
                "frame), so a guardrail has no examples; collect more episodes, or plan with "
                "guardrail=none"
            )
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.states), generator=generator)
        states, flagged, told = self.states[order], self.flagged[order], self.told[order]
        return states[flagged][:most], states[told & ~flagged][: 4 * most]


@torch.no_grad()
def encode_episodes(
    model: ImageDynamics,
    episodes: Episodes,
    *,
    flag: str,
    on_episode: Callable[[], object] = lambda: None,
    whole: bool = False,
) -> EpisodeStates:
    """Encode every episode.

    Args:
        model: Encodes.
        episodes: What is encoded.
        flag: Name of the info that flags a frame; a frame without that info is not flagged.
        on_episode: Called after each.
        whole: With what a body knows of itself, for a model that takes it; else states are what
            an image tells, as a goal is.
    """
    encoded = []
    for episode in episodes:
        about = episodes.info
        choices = about.action_choices, about.action_low
        encoded.append(_encode(model, episode, flag, choices, whole=whole))
        on_episode()
    widths = {one.blocks.shape[1] for one in encoded if one.blocks is not None}
    width = min(widths, default=0)
    blocks = [
        one.states.new_full((len(one.states), width), torch.nan)
        if one.blocks is None
        else one.blocks
        for one in encoded
    ]
    common = set.intersection(*(set(one.infos) for one in encoded))
    states, flagged, told = (
        torch.cat([getattr(one, name) for one in encoded]) for name in ("states", "flagged", "told")
    )
    return EpisodeStates(
        states, torch.tensor([len(one.states) for one in encoded]), flagged, told,
        torch.cat(blocks),
        {name: torch.cat([one.infos[name] for one in encoded]) for name in sorted(common)},
    )  # fmt: skip


@dataclass(frozen=True)
class _Encoded:
    """One episode of `EpisodeStates`."""

    states: Tensor
    flagged: Tensor
    told: Tensor
    blocks: Tensor | None
    infos: Mapping[str, Tensor]


def _encode(
    model: ImageDynamics, episode: Episode, flag: str, choices: Choices, *, whole: bool
) -> _Encoded:
    span, block = model.state_frames, model.action_block
    if len(episode) < span:
        raise ConfigError(
            f"{episode.source}: has {len(episode)} frames, a state is made of {span}; "
            "collect longer episodes"
        )
    # The frames of each state, a block of actions apart.
    windows = episode.frames.unfold(0, span, block)
    frames = fit_square(rearrange(windows, "t h w c s -> 1 (t s) c h w"), model.size)
    clip, name = Clip.from_uint8(frames), told_proprioception(model)
    if name is None or not whole:
        states = shown_in_images(model, model.states(clip)[0].cpu())
    elif name not in episode.info:
        raise ConfigError(
            f"{episode.source}: does not tell the info {name}, with which the model has learned"
        )
    else:
        told = episode.info[name].float().reshape(len(episode), -1)[span - 1 :: block]
        states = model.states(clip, told[None, : len(windows)])[0].cpu()
    blocks = _blocks(episode, len(states), span, block, choices)
    infos = {
        name: values[span - 1 :: block][: len(states)].float().reshape(len(states), -1)
        for name, values in episode.info.items()
        if not name.endswith("_image")
    }
    if REWARD in infos:
        infos[REWARD] = _rewards(episode.info[REWARD], len(states), span, block)
    if flag not in episode.info:
        nothing = torch.zeros(len(states), dtype=torch.bool)
        return _Encoded(states, nothing, nothing.clone(), blocks, infos)
    values = episode.info[flag].double().unfold(0, span, block).flatten(1)
    told = ~values.isnan()
    flagged = (told & (values != 0)).any(dim=1)
    # The end is one frame, maybe in the middle of a block: the last state leads to it.
    if flag == ENDED:
        flagged[-1] |= bool(episode.info[flag][-1])
    return _Encoded(states, flagged, told.all(dim=1), blocks, infos)


def _rewards(given: Tensor, count: int, span: int, size: int) -> Tensor:
    """What was given during the block that led to each of `count` states (n 1); NaN at the first.

    Of a block that the episode's end cuts off there is no state, and nothing is told.
    """
    of_steps = given.float().reshape(len(given))[span:]  # one for each step after the first state
    sums = of_steps[: (count - 1) * size].reshape(count - 1, size).sum(dim=1)
    return torch.cat([sums.new_full((1,), torch.nan), sums])[:, None]


def _blocks(episode: Episode, count: int, span: int, size: int, choices: Choices) -> Tensor | None:
    """The action block after each of `count` states (n a); NaN where the episode ends before."""
    if episode.actions is None:
        return None
    actions = spread_choices(episode.actions, *choices)[span - 1 :]
    missing = actions.new_full((max(0, count * size - len(actions)), actions.shape[1]), torch.nan)
    taken = torch.cat([actions, missing])[: count * size]
    return rearrange(taken, "(n k) a -> n (k a)", k=size)


def cached_states(
    model: ImageDynamics,
    episodes: Episodes,
    *,
    weights: Path,
    flag: str,
    on_episode: Callable[[], object] = lambda: None,
) -> EpisodeStates:
    """`encode_episodes`, kept in a folder `cache` beside the model for the next plan with it.

    Args:
        model: Encodes.
        episodes: What is encoded.
        weights: The model's file; if it changed, the episodes are encoded again.
        flag: See `encode_episodes`.
        on_episode: Called after each that is encoded.
    """
    key = hashlib.sha256(weights.read_bytes())
    for folder in episodes.folders:
        key.update((folder / "episodes.json").read_bytes())
    where = " ".join(str(folder.resolve()) for folder in episodes.folders)
    key.update(f"{where} {len(episodes)} {flag} blocks' rewards".encode())
    owner = weights.parent.parent if weights.parent.name == "model" else weights.parent
    path = owner / "cache" / f"episodes-{key.hexdigest()[:16]}.safetensors"
    try:
        kept = load_file(path)
        infos = {name: kept.pop(name) for name in list(kept) if name.startswith(_INFO)}
        told = {name.removeprefix(_INFO): values for name, values in infos.items()}
        return EpisodeStates(**kept, infos=told)
    except (OSError, SafetensorError, TypeError):
        # Missing, or cut short: it can always be made again.
        made = encode_episodes(model, episodes, flag=flag, on_episode=on_episode)
    try:
        with whole_file(path) as temporary:
            kept = {name: value for name, value in vars(made).items() if name != "infos"}
            told = {f"{_INFO}{name}": values for name, values in made.infos.items()}
            save_file({**kept, **told}, temporary)
    except OSError:
        pass  # beside a model that may not be written to, nothing is kept
    return made
