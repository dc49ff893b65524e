"""The verb `collect`: run a behaviour in an environment and write the episodes to disk."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from worldmodel.episodes.episode import Episode, FolderInfo, write_episode
from worldmodel.episodes.folder import Episodes, EpisodeWriter
from worldmodel.errors import ConfigError
from worldmodel.loading.workers import spread

from .episode_loop import EpisodeRecord, Policy, make_env, run_episode

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

# Seeds of resets: collections use those below, evaluations those from here on, so that no model is
# judged on an episode that it could have seen.
FIRST_HELD_OUT_SEED = 1_000_000
SEEDS_PER_RUN = 10_000
FIRST_READ_OUT_SEED = 100_000_000  # above every seed that an evaluation of plans uses


@dataclass(frozen=True)
class Recording:
    """How episodes are recorded."""

    labelled_fraction: float = 1.0  # share of the episodes that keep their actions, in [0, 1]
    held_out: bool = False  # use seeds of resets that no training or evaluation of plans uses
    reset_options: Mapping[str, Any] | None = None  # given to every reset
    env_options: Mapping[str, Any] | None = None  # keyword arguments of the environment
    workers: int = 1  # processes that collect at the same time


@dataclass(frozen=True)
class _Job:
    """One episode to collect."""

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
    recording: Recording = Recording(),
) -> dict[str, float]:
    """Write `episodes` episodes of `behaviour` to the folder `episodes` of the run.

    An interrupted collection is continued. Episodes outside `labelled_fraction` are written
    without their actions, as videos.

    Args:
        run: Where the episodes go; its seed decides the resets, the behaviour and which episodes
            are labelled.
        env: gymnasium id; its observations are images.
        episodes: How many.
        steps: Environment steps of each, unless the environment ends it before.
        behaviour: Chooses the actions.
        recording: Which episodes keep their actions, and how they are run.

    Returns:
        Counts of episodes, frames and labelled frames.
    """
    jobs = plan_jobs(
        episodes,
        labelled_fraction=recording.labelled_fraction,
        seed=run.seed,
        first=FIRST_READ_OUT_SEED if recording.held_out else 0,
    )
    with make_env(env, recording.env_options) as opened:
        info = folder_info(opened, env, labelled=any(job.labelled for job in jobs))
    folder = run.folder / "episodes"
    with EpisodeWriter(folder, info) as writer, run.progress(len(jobs), "collect") as progress:
        done = writer.done
        left = [job for job in jobs if job.index not in done]
        progress.update(len(jobs) - len(left))
        work = partial(_open_collector, env, behaviour, steps, recording, info, folder)
        numbers = [job.index for job in left]
        said: set[str] = set()
        left_out: Mapping[str, str]
        for left_out in spread(work, left, workers=recording.workers, numbers=numbers):
            say_left_out(run, left_out, said)
            progress.advance(1)
    written = Episodes(folder)
    labelled = written.labelled
    return {
        "episodes": float(len(written)),
        "frames": float(sum(written.lengths)),
        "labelled_episodes": float(len(labelled)),
        "labelled_frames": float(sum(labelled.lengths)),
    }


def plan_jobs(episodes: int, *, labelled_fraction: float, seed: int, first: int = 0) -> list[_Job]:
    """The reset seed of each episode, and if it keeps its actions; the arguments decide both."""
    if not 1 <= episodes <= FIRST_HELD_OUT_SEED or not 0 <= labelled_fraction <= 1:
        raise ConfigError(
            f"collect needs 1 to {FIRST_HELD_OUT_SEED} episodes and labelled_fraction in [0, 1], "
            f"got {episodes} and {labelled_fraction}"
        )
    order = np.random.default_rng(seed).permutation(episodes)
    labelled = set(order[: round(labelled_fraction * episodes)].tolist())
    return [
        _Job(i, first + (seed * SEEDS_PER_RUN + i) % FIRST_HELD_OUT_SEED, i in labelled)
        for i in range(episodes)
    ]


def folder_info(env: gymnasium.Env, env_id: str, *, labelled: bool) -> FolderInfo:
    """The contents of `episodes.json` for episodes of this environment."""
    space = env.action_space
    assert isinstance(space, gymnasium.spaces.Box)
    fps = float(env.metadata.get("render_fps") or 1.0)
    low, high = (tuple(map(float, bound)) if labelled else () for bound in (space.low, space.high))
    return FolderInfo(env_id, fps, low, high)


def to_episode(record: EpisodeRecord, info: FolderInfo, *, labelled: bool = True) -> Episode:
    """A record in the form that is written to disk."""
    metadata = {"env": info.env_id, "seed": str(record.seed)}
    if record.success is not None:
        metadata["success"] = str(record.success)
    return Episode.from_numpy(
        record.frames,
        record.actions if labelled else None,
        fps=info.fps,
        info=record.infos | record.images,
        metadata=metadata,
    )


@contextmanager
def _open_collector(
    env: str, behaviour: Policy, steps: int, recording: Recording, info: FolderInfo, folder: Path
) -> Iterator[Callable[[_Job], dict[str, str]]]:
    with make_env(env, recording.env_options) as opened:

        def collect_one(job: _Job) -> dict[str, str]:
            record = run_episode(
                opened,
                behaviour,
                seed=job.seed,
                options=recording.reset_options,
                max_steps=steps,
            )
            episode = to_episode(record, info, labelled=job.labelled)
            write_episode(episode, folder / f"{job.index:06d}.safetensors")
            return record.left_out

        yield collect_one


def say_left_out(run: "Run", left_out: Mapping[str, str], said: set[str]) -> None:
    """Name the infos that are not recorded, each once in a run: `said` holds those named before."""
    for name in sorted(left_out.keys() - said):
        run.say(f"info '{name}' {left_out[name]}")
    said.update(left_out)
