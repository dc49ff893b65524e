"""TD-MPC2 (Hansen et al., 2024): networks, losses and CEM of stable-worldmodel 0.1.1, from pixels.

The package trains on recorded data; acting, the replay and the order of updates are ours here, as
the authors describe them: random actions at first, as many updates when these are over, then one
for each action. Settings are those of its smallest published size.

What is not as the authors have it: one optimiser clips the policy's gradient together with all
others; images are not shifted; the plan is CEM by the package, whose spread shrinks as that of
TD-MPC2 does (its MPPI keeps it), without trajectories of the policy among the candidates. The frame
before, the frame and the goal are the channels of one image. Batches, and the random actions at
first, are a quarter of what was published: with all of it, a training of minutes on two cores would
be over before the policy has acted once.
"""

import contextlib
import io
import os
import random
import time
from pathlib import Path
from typing import Any, NoReturn

import gymnasium
import numpy as np
import torch
from stable_worldmodel import PlanConfig
from stable_worldmodel.solver import CEMSolver
from stable_worldmodel.wm.tdmpc2 import TDMPC2, tdmpc2_forward

from benchmarks.comparators.learner import Player, Stopped, World

KEPT_EVERY = 45.0  # seconds
ACTIONS = 2
IMAGES = 3  # the frame before, the frame, the goal
BATCH = 64  # published: 256
SEEDING = 250  # random actions at first; published: 1000
LEAST_STD = 0.05  # of actions that explore


class Settings(dict[str, Any]):
    """Settings that are read by attribute or by `get`, as the package wants them."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


SETTINGS = Settings(
    image_size=64, action_dim=ACTIONS, extra_dims=Settings(),
    wm=Settings(
        encoding=Settings(pixels=128), mlp_dim=384, enc_dim=256, num_q=2, num_bins=101, vmin=-10,
        vmax=10, simnorm_dim=8, tau=0.01, horizon=3, rho=0.5, entropy_coef=1e-4,
        consistency_coef=20, reward_coef=0.1, value_coef=0.1,
        discount=0.95,  # by the authors' rule, of episodes of 25 actions
    ),
)  # fmt: skip


class Model(TDMPC2):
    """The package's, of several images; states that have been encoded pass through `encode`."""

    def __init__(self) -> None:
        super().__init__(SETTINGS)
        first = self.cnn[0]
        self.cnn[0] = torch.nn.Conv2d(3 * IMAGES, first.out_channels, 7, stride=2)

    def encode(self, obs_dict: dict[str, torch.Tensor]) -> torch.Tensor:
        """States of images (... c h w) in [-0.5, 0.5], or the states (... d) that are given."""
        seen = obs_dict["pixels"]
        return seen if seen.shape[-1] == self.latent_dim else super().encode(obs_dict)


class Agent:
    """Model, optimiser and plan.

    Attributes:
        model: As named.
        updates: Steps of the optimiser so far.
    """

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        random.seed(seed)  # the package draws with it
        self.model, self.updates = Model(), 0
        encoder = [*self.model.cnn.parameters(), *self.model.pixel_encoder.parameters()]
        ours = {id(p) for p in encoder}
        others = [p for p in self.model.parameters() if id(p) not in ours and p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": encoder, "lr": 0.3 * 3e-4}, {"params": others}]
        self._optimiser = torch.optim.Adam(groups, lr=3e-4)
        self._solver = CEMSolver(self.model, num_samples=512, n_steps=6, topk=64, seed=seed)
        space = gymnasium.spaces.Box(-1, 1, (1, ACTIONS), np.float32)
        horizon = SETTINGS.wm.horizon
        self._solver.configure(action_space=space, n_envs=1, config=PlanConfig(horizon, horizon))
        self.begin()

    def log_dict(self, *_: Any, **__: Any) -> None:
        """The package's loss tells its parts to whoever trains; nobody listens."""

    def begin(self) -> None:
        """Begin a task."""
        self._plan: torch.Tensor | None = None
        self._before: np.ndarray | None = None

    def act(self, frame: np.ndarray, goal: np.ndarray, *, explore: bool) -> np.ndarray:
        """The first action (a) of a plan, which begins where the last one ended."""
        before = frame if self._before is None else self._before
        self._before = frame
        self.model.eval()
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):  # it prints its time
            state = self.model.encode({"pixels": pixels(before, frame, goal)[None]})
            found = self._solver.solve({"pixels": state}, init_action=self._plan)
        self._plan = found["mean"][0][:, 1:].clamp(-1, 1)
        mean, std = found["mean"][0][0, 0], found["var"][0][0, 0]
        if explore:
            mean = mean + std.clamp(LEAST_STD) * torch.randn(ACTIONS)
        return mean.clamp(-1, 1).numpy()

    def update(self, batch: dict[str, torch.Tensor]) -> None:
        """One step of the optimiser."""
        self.model.train()
        loss = tdmpc2_forward(self, batch, "train", SETTINGS)["loss"]
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 20)
        self._optimiser.step()
        self.updates += 1

    def state(self) -> dict[str, Any]:
        """What is kept of it."""
        return {"model": self.model.state_dict(), "optimiser": self._optimiser.state_dict(),
                "updates": self.updates}  # fmt: skip

    def restore(self, kept: dict[str, Any]) -> None:
        """Go on from what was kept."""
        self.model.load_state_dict(kept["model"])
        self._optimiser.load_state_dict(kept["optimiser"])
        self.updates = kept["updates"]


def pixels(*images: np.ndarray) -> torch.Tensor:
    """Images (h w 3, uint8) as channels of one (c h w), in [-0.5, 0.5]."""
    together = np.concatenate(images, axis=-1).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(together)).float() / 255 - 0.5


class Replay:
    """All episodes, in memory and in files.

    Args:
        folder: Of the files.
        kept: How many of them count; later ones are newer than what has been learned, and go.
        seed: Of what is drawn.
    """

    def __init__(self, folder: Path, kept: int, seed: int) -> None:
        folder.mkdir(exist_ok=True)
        self._folder, self._random = folder, np.random.default_rng([seed, kept])
        self.episodes: list[dict[str, np.ndarray]] = []
        for number, path in enumerate(sorted(folder.glob("*.npz"))):
            if number >= kept:
                path.unlink()
                continue
            with np.load(path, allow_pickle=False) as file:
                self.episodes.append({name: file[name] for name in file.files})

    @property
    def actions(self) -> int:
        """How many it holds."""
        return sum(len(episode["actions"]) for episode in self.episodes)

    def add(self, **episode: np.ndarray) -> None:
        """Add frames (t+1 h w 3), goal (h w 3), actions (t a) and rewards (t) of an episode."""
        path = self._folder / f"{len(self.episodes):06d}.npz"
        np.savez_compressed(path, allow_pickle=False, **episode)
        self.episodes.append(episode)

    def batch(self) -> dict[str, torch.Tensor]:
        """Parts of episodes: images (b t c h w), actions (b t a) and rewards (b t)."""
        steps = SETTINGS.wm.horizon
        parts: dict[str, list[Any]] = {"pixels": [], "action": [], "reward": []}
        long = [episode for episode in self.episodes if len(episode["actions"]) > steps]
        for _ in range(BATCH):
            one = long[self._random.integers(len(long))]
            start = int(self._random.integers(len(one["actions"]) - steps))
            frames, goal = one["frames"], one["goal"]
            parts["pixels"].append(torch.stack([
                pixels(frames[max(0, at - 1)], frames[at], goal)
                for at in range(start, start + steps + 1)
            ]))  # fmt: skip
            parts["action"].append(torch.from_numpy(one["actions"][start : start + steps + 1]))
            parts["reward"].append(torch.from_numpy(one["rewards"][start : start + steps + 1]))
        return {name: torch.stack(values) for name, values in parts.items()}


def learn(world: World, folder: Path, seed: int) -> NoReturn:
    """Act and learn until the world stops."""
    agent, path = Agent(seed), folder / "agent.pt"
    kept = torch.load(path, weights_only=True) if path.is_file() else None
    if kept is not None:
        agent.restore(kept)
    replay = Replay(folder / "replay", 0 if kept is None else kept["episodes"], seed)
    try:
        _go_on(world, agent, replay, path)
    except Stopped:
        _keep(agent, replay, path)
        raise


def _go_on(world: World, agent: Agent, replay: Replay, path: Path) -> NoReturn:
    kept_at, actions = time.monotonic(), replay.actions
    draws = np.random.default_rng(actions)
    while True:
        (frame, goal), over = world.reset(), False
        agent.begin()
        frames, acted, rewards = [frame], [], []
        while not over:
            if actions >= SEEDING:
                action = agent.act(frame, goal, explore=True)
            else:
                action = draws.uniform(-1, 1, ACTIONS).astype(np.float32)
            frame, reward, over = world.step(action)
            actions += 1
            frames.append(frame)
            acted.append(action)
            rewards.append(reward)
            # After random actions there are as many updates to catch up with.
            while SEEDING <= actions and agent.updates < actions and replay.episodes:
                agent.update(replay.batch())
                world.check()
                if time.monotonic() - kept_at > KEPT_EVERY:
                    _keep(agent, replay, path)
                    kept_at = time.monotonic()
        replay.add(
            frames=np.stack(frames), goal=goal, actions=np.stack(acted),
            rewards=np.array(rewards, np.float32),
        )  # fmt: skip


def _keep(agent: Agent, replay: Replay, path: Path) -> None:
    unfinished = path.with_suffix(".unfinished")
    torch.save(agent.state() | {"episodes": len(replay.episodes)}, unfinished)
    os.replace(unfinished, path)


class Planner(Player):
    """Plans without exploring."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        count = sum(p.numel() for p in agent.model.parameters() if p.requires_grad)
        self.facts = {"updates": float(agent.updates), "parameters": float(count)}

    def begin(self) -> None:
        """Begin a task."""
        self._agent.begin()

    def act(self, frame: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """The first action (a) of a plan."""
        return self._agent.act(frame, goal, explore=False)


def load(folder: Path) -> Planner:
    """What has been learned in a folder; untrained where nothing was kept."""
    agent = Agent(0)
    agent.restore(torch.load(folder / "agent.pt", weights_only=True))
    return Planner(agent)
