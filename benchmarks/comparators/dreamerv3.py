"""DreamerV3 (Hafner et al., 2025) by sheeprl 0.8.4, from pixels, by its own command and loop.

That of the Nature paper (`dreamer_v3_5` there) with the settings for visual control, in the
smallest size that the authors publish (1M), and with one world in place of 16. The frame and the
goal are two images, both encoded and both reconstructed. Batches, and the actions before the first
of them, are a quarter of what was published: with all of it there would be few updates in minutes
on two cores. Episodes have 26 frames, so that shorter parts of them still hold whole ones.
"""

import sys
from pathlib import Path
from typing import Any, NoReturn

import gymnasium
import numpy as np
import torch

from benchmarks.comparators.learner import Player, Stopped, World

ACTIONS = 2
SIDE = 64  # pixels
KEPT_EVERY = 10  # actions, each of them followed by half an update
IMAGES = ("rgb", "goal")
SPACE = gymnasium.spaces.Dict(
    {name: gymnasium.spaces.Box(0, 255, (3, SIDE, SIDE), np.uint8) for name in IMAGES}
)
_worlds: list[World] = []  # that of this process, which sheeprl's settings cannot name


class Tasks(gymnasium.Env[dict[str, Any], np.ndarray]):
    """The world as sheeprl wants it; images are `h w 3`, which it turns around."""

    observation_space = gymnasium.spaces.Dict(
        {name: gymnasium.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8) for name in IMAGES}
    )
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin the next task; which, is decided elsewhere."""
        frame, self._goal = _worlds[0].reset()
        return self._seen(frame), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Act; a task ends when its time is up, and never otherwise."""
        frame, reward, over = _worlds[0].step(action)
        return self._seen(frame), reward, False, over, {}

    def _seen(self, frame: np.ndarray) -> dict[str, np.ndarray]:
        return {"rgb": frame.copy(), "goal": self._goal.copy()}


def settings(folder: Path, seed: int) -> list[str]:
    """The words of sheeprl's command line."""
    kept = newest(folder)
    return [
        "exp=dreamer_v3_5", "algo=dreamer_v3_5_1M", "algo.replay_ratio=0.5", "env=gym",
        "env.id=tasks", f"env.wrapper._target_={Tasks.__module__}.Tasks", "~env.wrapper.id",
        "~env.wrapper.render_mode", "env.num_envs=1",
        "env.action_repeat=1",  # an action is held on the other side
        "env.sync_env=True", "env.capture_video=False", "env.max_episode_steps=-1",
        "algo.cnn_keys.encoder=[rgb,goal]", "algo.mlp_keys.encoder=[]", "algo.run_test=False",
        "algo.per_rank_batch_size=8", "algo.per_rank_sequence_length=32",  # published: 16, 64
        "algo.learning_starts=256",  # published: 1024
        "algo.total_steps=100000000", "buffer.size=50000", f"checkpoint.every={KEPT_EVERY}",
        "checkpoint.keep_last=2", "fabric.accelerator=cpu", "fabric.precision=32-true",
        "metric.log_level=0", "model_manager.disabled=True", f"seed={seed}",
        f"log_root={folder}/log", "root_dir=sheeprl", "run_name=run", f"hydra.run.dir={folder}",
        *([] if kept is None else [f"checkpoint.resume_from={kept}"]),
    ]  # fmt: skip


def newest(folder: Path) -> Path | None:
    """The last file that was kept; None where there is none."""
    found = folder.glob("log/**/checkpoint/ckpt_*.ckpt")
    return max(found, key=lambda path: int(path.stem.split("_")[1]), default=None)


def learn(world: World, folder: Path, seed: int) -> NoReturn:
    """Act and learn until the world stops."""
    from sheeprl.cli import run

    _worlds[:] = [world]
    sys.argv = ["sheeprl", *settings(folder, seed)]
    run()
    raise Stopped


class Actor(Player):
    """Acts by the actor's most likely actions."""

    def __init__(self, folder: Path) -> None:
        from lightning.fabric import Fabric
        from sheeprl.algos.dreamer_v3_5.agent import build_agent
        from sheeprl.utils import fs
        from sheeprl.utils.utils import dotdict

        kept = newest(folder)
        if kept is None:
            raise SystemExit(f"{folder}: nothing was kept; the training was too short")
        fabric = Fabric(accelerator="cpu", devices=1)
        state = fs.load_checkpoint(fabric, kept, weights_only=False)
        config = dotdict(fs.load_yaml(fs.run_config(kept)))
        world, actor, critic, _, self._player = build_agent(
            fabric, (ACTIONS,), True, config, SPACE, state["world_model"], state["actor"]
        )
        self._player.num_envs = 1
        parts = (world, actor, critic)
        count = sum(p.numel() for part in parts for p in part.parameters() if p.requires_grad)
        updates = float(state["per_rank_gradient_steps"])
        self.facts = {"updates": updates, "parameters": float(count)}

    def begin(self) -> None:
        """Begin a task."""
        self._player.init_states()

    def act(self, frame: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """The most likely action (a)."""
        seen = {}
        for name, image in zip(IMAGES, (frame, goal), strict=True):
            channels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
            seen[name] = channels.float()[None, None] / 255 - 0.5
        with torch.no_grad():
            (action,) = self._player.get_actions(seen, greedy=True)
        return action.numpy().ravel()


def load(folder: Path) -> Actor:
    """What has been learned in a folder."""
    return Actor(folder)
