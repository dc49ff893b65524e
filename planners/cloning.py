"""Goal-conditioned cloning in hindsight: what the data did on the way to what it then reached.

The baseline that every planner has to beat: it looks at the same states and never plans. From
each state of an episode, a later state of the same episode is a goal, the number of blocks until
then is the time to go, and the block that was done is what is cloned (Ghosh et al. 2021,
arXiv:1912.06088; Emmons et al. 2022, arXiv:2112.10751).
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from worldmodel.errors import ConfigError
from worldmodel.types import Clip

from .action_space import ActionSpace
from .costs.from_image import goal_image
from .dynamics import ImageDynamics, shown_in_images
from .episode_loop import Policy
from .episode_states import EpisodeStates
from .image_states import encode_images, fit_square
from .small_networks import BATCH, STEPS, descend, plain_network


class Cloned(nn.Module):
    """The last two states, a goal and the time to go -> the block of actions that led there.

    Two, as one of a single frame tells no velocity.

    Args:
        state_dim: dimension of a state.
        block_dim: dimension of an action block.
        horizon: most blocks from a state to its goal.
        seed: of the weights.
    """

    mean: Tensor  # a, of the action blocks that are cloned
    std: Tensor  # a

    def __init__(self, state_dim: int, block_dim: int, *, horizon: int, seed: int = 0) -> None:
        super().__init__()
        self.horizon = horizon
        self.net = plain_network(3 * state_dim + 1, block_dim, seed=seed)
        self.register_buffer("mean", torch.zeros(block_dim))
        self.register_buffer("std", torch.ones(block_dim))

    def forward(self, before: Tensor, now: Tensor, goals: Tensor, blocks_to_go: Tensor) -> Tensor:
        """Two states and goals (b d), and blocks to go (b) -> action blocks (b a)."""
        left = blocks_to_go[:, None].to(now) / self.horizon
        block: Tensor = self.net(torch.cat([before, now, goals, left], dim=1))
        return block * self.std + self.mean


def clone(recorded: EpisodeStates, *, horizon: int, seed: int, steps: int = STEPS) -> Cloned:
    """Fit the network to all episodes with actions.

    Args:
        recorded: states, and the blocks between them.
        horizon: most blocks from a state to its goal.
        seed: of the weights and of the pairs.
        steps: of Adam.

    Raises:
        ConfigError: no episode has actions.
    """
    done = recorded.blocks.isfinite().all(dim=1)
    ends = recorded.lengths.cumsum(0)
    last = (ends - 1).repeat_interleave(recorded.lengths)  # of each state's episode
    first = (ends - recorded.lengths).repeat_interleave(recorded.lengths)
    places = torch.arange(len(done))
    begun = places[done & (places < last)]
    if not len(begun) or not recorded.blocks.shape[1]:
        raise ConfigError("cloning needs episodes with actions; there are none")
    learned = Cloned(recorded.states.shape[1], recorded.blocks.shape[1], horizon=horizon, seed=seed)
    std, mean = torch.std_mean(recorded.blocks[begun], dim=0)
    learned.mean.copy_(mean)
    learned.std.copy_(std.clamp_min(1e-6))

    def loss(generator: torch.Generator) -> Tensor:
        at = begun[torch.randint(len(begun), (BATCH,), generator=generator)]
        most = (last[at] - at).clamp_max(horizon)
        ahead = 1 + (torch.rand(BATCH, generator=generator) * most).long().clamp_max(most - 1)
        before = torch.maximum(at - 1, first[at])  # an episode begins at rest
        found = learned(*(recorded.states[i] for i in (before, at, at + ahead)), ahead)
        return ((found - recorded.blocks[at]) / learned.std).square().mean()

    descend(learned.parameters(), loss, seed=seed, steps=steps)
    return learned.requires_grad_(False).eval()


class CloningPolicy(Policy):
    """Acts as the data did that reached the goal.

    Args:
        model: Encodes images.
        learned: By `clone`, from states of the same model.
        steps_to_go: Environment steps in which the goal is to be reached.
    """

    def __init__(self, model: ImageDynamics, learned: Cloned, *, steps_to_go: int) -> None:
        self._model, self._learned, self._steps = model, learned, steps_to_go

    def reset(self, space: ActionSpace, info: Mapping[str, Any], *, seed: int) -> None:
        """Begin an episode: encode its goal, the first of several."""
        goals = encode_images(self._model, goal_image(info))
        self._goal = shown_in_images(self._model, goals[:1])
        self._frames: deque[Tensor] = deque(maxlen=self._model.state_frames)
        self._actions: deque[np.ndarray] = deque()
        self._before: Tensor | None = None
        self._done = 0

    def __call__(self, observation: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """The next action (a) of the block that the network says."""
        frame = rearrange(torch.from_numpy(observation), "h w c -> c h w")
        self._frames.extend([frame] * (1 if self._frames else self._model.state_frames))
        if not self._actions:
            self._actions.extend(self._block())
        self._done += 1
        return self._actions.popleft()

    @torch.no_grad()
    def _block(self) -> list[np.ndarray]:
        frames = fit_square(torch.stack(list(self._frames))[None], self._model.size)
        state = shown_in_images(self._model, self._model.states(Clip.from_uint8(frames))[:, -1])
        size = self._model.action_block
        left = max(1, round((self._steps - self._done) / size))
        to_go = torch.tensor([min(left, self._learned.horizon)])
        before = state if self._before is None else self._before
        block = self._learned(before, state, self._goal, to_go)[0]
        self._before = state
        return list(rearrange(block, "(t a) -> t a", t=size).cpu().numpy())
