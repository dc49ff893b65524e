"""The verb `collect`: episodes of a behaviour in an environment, on disk.

Knows nothing of models; what is learned from the episodes is decided elsewhere.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from worldmodel.episodes.episode import FolderInfo
from worldmodel.episodes.folder import Episode, Episodes, EpisodeWriter, write_episode
from worldmodel.errors import ConfigError
from worldmodel.loading.workers import spread

from .episode import EpisodeRecord, Policy, make_env, run_episode

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

# Resets below are for collecting, resets from here on for evaluating: no model is ever judged on
# an episode that it could have seen.
FIRST_HELD_OUT_SEED = 1_000_000
SEEDS_PER_RUN = 10_000
FIRST_READ_OUT_SEED = 100_000_000  # beyond what any evaluation of plans resets with


@dataclass(frozen=True)
class _Job:
    """What an episode needs; the same whichever process runs it."""

    index: int
    seed: int
    labelled: bool


def collect(
    run: "Run",
    *,
    env: str,
    episodes: int,
    steps: int,
    behaviour: Policy,
    labelled_fraction: float = 1.0,
    seed: int = 0,
    env_options: Mapping[str, Any] | None = None,
    reset_options: Mapping[str, Any] | None = None,
    workers: int = 1,
    held_out: bool = False,
) -> dict[str, float]:
    """Write `episodes` episodes of `behaviour` to the folder `episodes` of the run.

    Goes on where an interrupted collection stopped. Episodes that `labelled_fraction` leaves out
    are videos only: their actions are not written.

    Args:
        run: Where the episodes go and progress is shown.
        env: gymnasium id; its observations are images.
        episodes: How many.
        steps: Environment steps of each, unless the environment ends it before.
        behaviour: What acts.
        labelled_fraction: Share of the episodes that keep their actions, in [0, 1].
        seed: Decides the resets, the behaviour and which episodes are labelled.
        env_options: Keyword arguments of the environment.
        reset_options: Given to every reset.
        workers: Processes that collect at the same time.
        held_out: Reset with seeds that no training collection has, nor any evaluation of plans.

    Returns:
        Counts of episodes, frames and labelled frames.
    """
    first = FIRST_READ_OUT_SEED if held_out else 0
    jobs = plan_jobs(episodes, labelled_fraction=labelled_fraction, seed=seed, first=first)
    opened = make_env(env, env_options)
    info = folder_info(opened, env, labelled=any(job.labelled for job in jobs))
    opened.close()
    with EpisodeWriter(run.folder / "episodes", info) as writer:
        left = [job for job in jobs if job.index not in writer.done]
        work = partial(
            _open_collector,
            partial(make_env, env, env_options),
            partial(run_episode, options=reset_options, max_steps=steps),
            behaviour=behaviour,
            info=info,
            folder=writer.folder,
        )
        with run.progress(len(jobs), "collect") as progress:
            progress.update(len(jobs) - len(left))
            for _ in spread(work, left, workers=workers, numbers=[job.index for job in left]):
                progress.advance(1)
    return _counts(run.folder / "episodes")


def plan_jobs(episodes: int, *, labelled_fraction: float, seed: int, first: int = 0) -> list[_Job]:
    """Which reset seed and which label each episode gets; a function of the arguments alone."""
    if episodes < 1 or not 0 <= labelled_fraction <= 1:
        raise ConfigError(
            f"collect needs episodes >= 1 and labelled_fraction in [0, 1], "
            f"got {episodes} and {labelled_fraction}"
        )
    if episodes > FIRST_HELD_OUT_SEED:
        raise ConfigError(f"at most {FIRST_HELD_OUT_SEED} episodes a collection, got {episodes}")
    order = np.random.default_rng(seed).permutation(episodes)
    labelled = set(order[: round(labelled_fraction * episodes)].tolist())
    return [
        _Job(i, first + (seed * SEEDS_PER_RUN + i) % FIRST_HELD_OUT_SEED, i in labelled)
        for i in range(episodes)
    ]


def folder_info(env: gymnasium.Env, env_id: str, *, labelled: bool) -> FolderInfo:
    """What `episodes.json` says of episodes of this environment."""
    space = env.action_space
    assert isinstance(space, gymnasium.spaces.Box)
    fps = float(env.metadata.get("render_fps") or 1.0)
    low, high = (tuple(map(float, bound)) if labelled else () for bound in (space.low, space.high))
    return FolderInfo(env_id, fps, low, high)


def to_episode(record: EpisodeRecord, info: FolderInfo, *, labelled: bool = True) -> Episode:
    """A record in the form that is written to disk."""
    return Episode.from_numpy(
        record.frames,
        record.actions if labelled else None,
        fps=info.fps,
        info=record.infos | {k: v for k, v in record.stills.items() if k.endswith("_image")},
        metadata={"env": info.env_id, "seed": str(record.seed), "success": str(record.success)},
    )


@contextmanager
def _open_collector(
    open_env: Callable[[], gymnasium.Env],
    run_one: Callable[..., EpisodeRecord],
    *,
    behaviour: Policy,
    info: FolderInfo,
    folder: Path,
) -> Iterator[Callable[[_Job], None]]:
    env = open_env()

    def collect_one(job: _Job) -> None:
        record = run_one(env, behaviour, seed=job.seed)
        episode = to_episode(record, info, labelled=job.labelled)
        write_episode(episode, folder / f"{job.index:06d}.safetensors")

    try:
        yield collect_one
    finally:
        env.close()


def _counts(folder: Path) -> dict[str, float]:
    episodes = Episodes(folder)
    labelled = episodes.labelled
    return {
        "episodes": float(len(episodes)),
        "frames": float(sum(episodes.lengths)),
        "labelled_episodes": float(len(labelled)),
        "labelled_frames": float(sum(labelled.lengths)),
    }
