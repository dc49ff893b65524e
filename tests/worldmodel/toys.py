"""Small models, and a world of one dot with known positions, for tests that train."""

from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn

from worldmodel.architecture import Architecture
from worldmodel.episodes.episode import Episode, FolderInfo
from worldmodel.episodes.folder import EpisodeWriter
from worldmodel.model import WorldModel
from worldmodel.nn.encoder import VideoViT

SIZE = 16  # pixels; 2 x 2 tokens in a time step
STEP = 2.0  # pixels that the dot moves under an action of 1


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def small(*, per_token: bool = False, extra: int = 4, window: int = 2) -> Architecture:
    """An architecture that trains in seconds."""
    torch.manual_seed(0)
    return Architecture(
        encoder=VideoViT(24, 2, heads=2, patch=8),
        size=SIZE,
        latent_width=12,
        extra_width=extra,
        latent_per_token=per_token,
        predictor_width=48,
        action_width=48,
        action_window=window,
    )


def small_model(*, per_token: bool = False, action_dim: int = 2, window: int = 2) -> WorldModel:
    """A model with all its parts, all weights stirred: many start at zero."""
    sizes = small(per_token=per_token, window=window)
    head = sizes.head()
    model = WorldModel(
        sizes.encoder,
        size=sizes.size,
        head=head,
        masked_predictor=sizes.masked_predictor(),
        action_predictor=sizes.action_predictor(head, 2 * action_dim),
        action_dim=action_dim,
    )
    return stirred(model).eval()


def stirred(module: nn.Module, *, scale: float = 0.3) -> nn.Module:
    """The module with random weights everywhere: many start at zero and would hide mistakes."""
    generator = seeded(1)
    with torch.no_grad():
        for weights in module.parameters():
            weights.add_(torch.randn(weights.shape, generator=generator) * scale)
    return module


def noise(*shape: int, seed: int = 3) -> Tensor:
    """Frames of noise in [0, 1]."""
    return torch.rand(*shape, generator=seeded(seed))


def dots(places: np.ndarray) -> np.ndarray:
    """Frames with a soft dot at x y = places (... 2, pixels): ... h w c, uint8."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x, y = places[..., 0, None, None], places[..., 1, None, None]
    bright = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
    return np.repeat((30 + 200 * bright)[..., None], 3, axis=-1).astype(np.uint8)


def dot_walk(length: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Places t 2 and actions t-1 2 of a dot under random actions, away from the border."""
    places, actions = [random.uniform(4, SIZE - 4, 2)], []
    for _ in range(length - 1):
        action = random.uniform(-1, 1, 2)
        leaves = np.abs(places[-1] + STEP * action - SIZE / 2) > SIZE / 2 - 2
        action = np.where(leaves, -action, action)
        actions.append(action)
        places.append(places[-1] + STEP * action)
    return np.stack(places), np.stack(actions).astype(np.float32)


def write_dots(
    folder: Path, *, episodes: int, length: int = 24, labelled: int | None = None, seed: int = 0
) -> Path:
    """Episodes of the dot's world; only the first `labelled` have their actions."""
    random = np.random.default_rng(seed)
    with EpisodeWriter(folder, FolderInfo("test/Dot-v0", 10.0, (-1, -1), (1, 1))) as writer:
        for index in range(episodes):
            places, actions = dot_walk(length, random)
            has_actions = labelled is None or index < labelled
            episode = Episode.from_numpy(
                dots(places),
                actions if has_actions else None,
                fps=10.0,
                info={"position": places.astype(np.float32)},
                metadata={"seed": str(index)},
            )
            writer.write(episode)
    return folder
