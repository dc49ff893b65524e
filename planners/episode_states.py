"""The states that a model sees in recorded episodes, which landmarks and guardrails learn from."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

from .dynamics import ImageDynamics, told_proprioception
from .image_states import fit_square

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
) -> EpisodeStates:
    """Encode every episode.

    Args:
        model: Encodes.
        episodes: What is encoded.
        flag: Name of the info that flags a frame; a frame without that info is not flagged.
        on_episode: Called after each.
    """
    encoded = []
    for episode in episodes:
        about = episodes.info
        encoded.append(_encode(model, episode, flag, (about.action_choices, about.action_low)))
        on_episode()
    lengths = torch.tensor([len(seen) for seen, *_ in encoded])
    widths = {blocks.shape[1] for *_, blocks in encoded if blocks is not None}
    width = min(widths, default=0)
    filled = [
        seen.new_full((len(seen), width), torch.nan) if blocks is None else blocks
        for seen, _, _, blocks in encoded
    ]
    states, flagged, told = (torch.cat(parts) for parts in list(zip(*encoded, strict=True))[:3])
    return EpisodeStates(states, lengths, flagged, told, torch.cat(filled))


def _encode(
    model: ImageDynamics, episode: Episode, flag: str, choices: Choices
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
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
    if name is None:
        states = model.states(clip)[0].cpu()
    else:
        told = episode.info[name].float().flatten(1)[span - 1 :: block]
        states = model.states(clip, told[None, : len(windows)])[0].cpu()
    blocks = _blocks(episode, len(states), span, block, choices)
    if flag not in episode.info:
        nothing = torch.zeros(len(states), dtype=torch.bool)
        return states, nothing, nothing.clone(), blocks
    values = episode.info[flag].double().unfold(0, span, block).flatten(1)
    told = ~values.isnan()
    return states, (told & (values != 0)).any(dim=1), told.all(dim=1), blocks


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
    key.update((episodes.folder / "episodes.json").read_bytes())
    key.update(f"{episodes.folder.resolve()} {len(episodes)} {flag}".encode())
    owner = weights.parent.parent if weights.parent.name == "model" else weights.parent
    path = owner / "cache" / f"experience-{key.hexdigest()[:16]}.safetensors"
    try:
        return EpisodeStates(**load_file(path))
    except (OSError, SafetensorError, TypeError):
        # Missing, or cut short: it can always be made again.
        made = encode_episodes(model, episodes, flag=flag, on_episode=on_episode)
    try:
        with whole_file(path) as temporary:
            save_file(vars(made), temporary)
    except OSError:
        pass  # beside a model that may not be written to, nothing is kept
    return made
