"""Which starts and goals a planner is evaluated on.

`env`: the environment's own, from held-out seeds. `episodes`: from a step of a held-out episode to
what it showed some steps later. `crossed`: from a held-out episode to what another one showed, as
far away; both are in `recorded_tasks.py`, and where a world cannot be brought back to a recorded
step, `fresh_starts.py` says where episodes begin. An image file, or a folder of them: from the
environment's starts to what it shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from worldmodel.errors import ConfigError

from .collect import FIRST_HELD_OUT_SEED, SEEDS_PER_RUN

FROM_EPISODES = ("episodes", "crossed")
GOALS = ("env", *FROM_EPISODES)
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True)
class Pair:
    """Where in a folder of episodes a start and its goal are: numbers of episodes and of steps."""

    episode: int
    start: int
    goal_episode: int
    goal: int


@dataclass(frozen=True)
class Task:
    """One episode of an evaluation.

    Attributes:
        seed: Of the reset.
        name: Kind of start and goal.
        options: Of the reset.
        goal: Infos of the goal, among them `goal_image` (h w 3, or n h w 3: any of them).
        replay: Recorded actions (n r) that lead from the reset to the start.
        shown: What is seen at the start (h w 3); None where any will do.
        told: Infos that are told at the start.
        draws: Seed of the policy, which is none that a collection uses; that of the reset if None.
        pair: Where start and goal were recorded; None where they were not.
    """

    seed: int
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    goal: Mapping[str, np.ndarray] = field(default_factory=dict)
    replay: np.ndarray | None = None
    shown: np.ndarray | None = None
    told: Mapping[str, np.ndarray] = field(default_factory=dict)
    draws: int | None = None
    pair: Pair | None = None


@dataclass(frozen=True)
class Tasks:
    """The episodes of an evaluation, and how they were chosen."""

    tasks: Sequence[Task]
    words: str  # for the protocol
    solved: int | None = None  # starts left out, being at the goal already; None: all are in it
    why: str | None = None  # they begin at resets, not at recorded steps; None where they do not
    anew: bool = False  # a task that is begun twice begins at two places

    def __len__(self) -> int:
        return len(self.tasks)

    def left_out(self) -> dict[str, float]:
        """`solved_starts`, for the results; nothing where no start was left out for that."""
        return {} if self.solved is None else {"solved_starts": float(self.solved)}

    @property
    def longest_replay(self) -> int:
        """Steps that lead to the start that is reached last."""
        return max((len(t.replay) for t in self.tasks if t.replay is not None), default=0)


def held_out_tasks(names: Sequence[str], *, episodes: int, seed: int) -> list[Task]:
    """Tasks of the kinds `names` in turn, with reset seeds that no collection uses.

    A name is given to the reset as its option `task`; without names it gets no options.
    """
    if not 1 <= episodes <= SEEDS_PER_RUN or seed < 0:
        raise ConfigError(
            f"an evaluation needs a seed >= 0 and 1 to {SEEDS_PER_RUN} episodes, "
            f"got {seed} and {episodes}"
        )
    first = FIRST_HELD_OUT_SEED + SEEDS_PER_RUN * seed
    chosen = [names[i % len(names)] if names else "" for i in range(episodes)]
    return [
        Task(first + i, name or "all", {"task": name} if name else {})
        for i, name in enumerate(chosen)
    ]


def image_tasks(path: str, names: Sequence[str], *, episodes: int, seed: int) -> Tasks:
    """From the environment's own starts to what an image shows, or any of a folder of images.

    Raises:
        ConfigError: there is no such goal.
    """
    found = Path(path)
    if found.is_dir():
        files = sorted(p for p in found.iterdir() if p.suffix.lower() in IMAGES)
    else:
        files = [found] if found.is_file() and found.suffix.lower() in IMAGES else []
    if not files:
        raise ConfigError(
            f"goal={path}: is none of {', '.join(GOALS)}, and no image or folder of images "
            f"({', '.join(IMAGES)})"
        )
    try:
        images = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    except (OSError, UnidentifiedImageError) as cause:
        raise ConfigError(f"goal={path}: cannot be read as an image ({cause})") from cause
    if len({image.shape for image in images}) > 1:
        raise ConfigError(f"goal={path}: its images are of several sizes; make them one size")
    goal = {"goal_image": np.stack(images) if found.is_dir() else images[0]}
    tasks = held_out_tasks(names, episodes=episodes, seed=seed)
    return Tasks(
        [Task(t.seed, t.name, t.options, goal) for t in tasks],
        f"from the environment's own starts, held-out seeds, to {path}",
    )
