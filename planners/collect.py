"""The verb `collect`: run a behaviour in an environment and write the episodes to disk."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from worldmodel.episodes.episode import Episode, FolderInfo, open_episode, write_episode
from worldmodel.episodes.folder import Episodes, EpisodeWriter
from worldmodel.errors import ConfigError
from worldmodel.loading.workers import spread

from .action_space import ActionSpace
from .environment import View, make_env
from .episode_loop import EpisodeRecord, Policy, run_episode
from .infos import REWARD
from .ways import Way

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

CUT = "cut_before"  # what an episode says of itself that ends before a way that is left out

# Seeds of resets: collections use those below, evaluations those from here on, so that no model is
# judged on an episode that it could have seen.
FIRST_HELD_OUT_SEED = 1_000_000
SEEDS_PER_RUN = 10_000
FIRST_READ_OUT_SEED = 100_000_000  # above every seed that an evaluation of plans uses


@dataclass(frozen=True)
class Recording:
    """How episodes are recorded."""

    labelled_fraction: float = 1.0  # share of the episodes that keep their actions, in [0, 1]
    held_out_share: float = 0.1  # of the episodes, which nothing is trained on, in [0, 1)
    held_out: bool = False  # use seeds of resets that no training or evaluation of plans uses
    reset_options: Mapping[str, Any] | None = None  # given to every reset
    env_options: Mapping[str, Any] | None = None  # keyword arguments of the environment
    workers: int = 1  # processes that collect at the same time
    patience: float = 600.0  # most seconds of an episode in one of several processes, then it hangs


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
    view: View | None = None,
    without: Way | None = None,
    recording: Recording = Recording(),
) -> dict[str, float]:
    """Write `episodes` episodes of `behaviour` to the folder `episodes` of the run.

    An interrupted collection is continued, and so is a finished one of which more episodes are
    asked for. Episodes outside `labelled_fraction` are written
    without their actions, as videos.

    Args:
        run: Where the episodes go; its seed decides the resets, the behaviour and which episodes
            are labelled.
        env: gymnasium id.
        episodes: How many.
        steps: Environment steps of each, unless the environment ends it before.
        behaviour: Chooses the actions.
        view: Makes images of an environment that observes something else, and draws.
        without: A way that no episode shows: each ends before the frame to which it has led, and
            one that does not last a step is not written.
        recording: Which episodes keep their actions, and how they are run.

    Returns:
        Counts of episodes, frames and labelled frames; with `without`, of the episodes that end
        before it (`cut_episodes`) and of those that are not written (`empty_episodes`).
    """
    if steps < 1:
        raise ConfigError(f"steps={steps}: an episode has at least one step")
    apart = held_out_numbers(episodes, recording.held_out_share)
    jobs = plan_jobs(
        episodes,
        apart=apart,
        labelled_fraction=recording.labelled_fraction,
        seed=run.seed,
        first=FIRST_READ_OUT_SEED if recording.held_out else 0,
    )
    make = partial(make_env, env, recording.env_options, view)
    with make() as opened:
        info = folder_info(opened, env, labelled=any(job.labelled for job in jobs))
    info = replace(info, held_out=apart)
    folder = run.folder / "episodes"
    with EpisodeWriter(folder, info) as writer, run.progress(len(jobs), "collect") as progress:
        done = writer.done
        left = [job for job in jobs if job.index not in done]
        progress.update(len(jobs) - len(left))
        how = partial(
            run_episode, policy=behaviour, options=recording.reset_options, max_steps=steps
        )
        work = partial(_open_collector, make, how, without, info, folder)
        numbers = [job.index for job in left]
        said: set[str] = set()
        left_out: Mapping[str, str]
        for left_out in spread(
            work, left, workers=recording.workers, numbers=numbers, seconds=recording.patience
        ):
            say_left_out(run, left_out, said)
            progress.advance(1)
    if without is not None and not writer.done:
        raise ConfigError(f"without={without.words}: every episode begins with it; say another")
    written = Episodes(folder)
    labelled = written.labelled
    results = {
        "episodes": float(len(written)),
        "frames": float(sum(written.lengths)),
        "labelled_episodes": float(len(labelled)),
        "labelled_frames": float(sum(labelled.lengths)),
    }
    return results if without is None else results | _cut(run, written, without, len(jobs))


def _cut(run: "Run", written: Episodes, without: Way, asked: int) -> dict[str, float]:
    """How many episodes end before what they are without, and how many are not there at all."""
    cut = 0
    for path in written.paths:
        with open_episode(path) as file:
            cut += CUT in (file.metadata() or {})
    run.say(
        f"without a {without.words}: {cut} of {len(written)} episodes end before it, and "
        f"{asked - len(written)} more would not have lasted a step and are not written"
    )
    return {"cut_episodes": float(cut), "empty_episodes": float(asked - len(written))}


def plan_jobs(
    episodes: int, *, labelled_fraction: float, seed: int, first: int = 0,
    apart: Sequence[int] = (),
) -> list[_Job]:  # fmt: skip
    """The reset seed of each episode, and if it keeps its actions; the arguments decide both.

    Those that keep them are evenly spread, among the episodes of `apart` and among the others, and
    stay the same if more episodes follow.
    """
    if not 1 <= episodes <= FIRST_HELD_OUT_SEED or not 0 <= labelled_fraction <= 1:
        raise ConfigError(
            f"collect needs 1 to {FIRST_HELD_OUT_SEED} episodes and labelled_fraction in [0, 1], "
            f"got {episodes} and {labelled_fraction}"
        )
    phase = np.random.default_rng(seed).random()
    others = sorted(set(range(episodes)) - set(apart))
    labelled = {
        group[i]
        for group in (others, sorted(apart))
        for i in evenly_spread(len(group), labelled_fraction, phase)
    }
    return [
        _Job(i, first + (seed * SEEDS_PER_RUN + i) % FIRST_HELD_OUT_SEED, i in labelled)
        for i in range(episodes)
    ]


def held_out_numbers(episodes: int, share: float) -> tuple[int, ...]:
    """Which episodes are held out from training: evenly spread, and the same if more follow."""
    if not 0 <= share < 1:
        raise ConfigError(f"recording.held_out_share must lie in [0, 1), got {share}")
    return tuple(evenly_spread(episodes, share, 0.0))


def evenly_spread(count: int, share: float, phase: float) -> list[int]:
    """A share of the numbers from 0 on, evenly spread; of more of them, the first are the same."""
    # A little more than the share, or sums of tenths would fall short of whole numbers.
    ends = np.floor(np.arange(count + 1) * (share + 1e-9) + phase)
    return np.flatnonzero(np.diff(ends) > 0).tolist()


def folder_info(env: gymnasium.Env, env_id: str, *, labelled: bool) -> FolderInfo:
    """The contents of `episodes.json` for episodes of this environment."""
    fps = float(env.metadata.get("render_fps") or 1.0)
    if not labelled:
        return FolderInfo(env_id, fps, (), ())
    space = ActionSpace.of(env.action_space)
    low, high = (tuple(map(float, bound)) for bound in space.recorded_bounds)
    return FolderInfo(env_id, fps, low, high, action_choices=space.choices)


def to_episode(
    record: EpisodeRecord, info: FolderInfo, *, labelled: bool = True,
    about: Mapping[str, str] | None = None,
) -> Episode:  # fmt: skip
    """A record in the form that is written to disk; `about` is what else it says of itself."""
    metadata = {"env": info.env_id, "seed": str(record.seed), **(about or {})}
    if record.restores:
        metadata["restores"] = "state"
    if record.options:
        metadata["reset_options"] = json.dumps(record.options)
    if record.success is not None:
        metadata["success"] = str(record.success)
    return Episode.from_numpy(
        record.frames,
        record.actions if labelled else None,
        fps=info.fps,
        info={REWARD: _from_first_step(record.rewards)} | record.infos | record.images,
        metadata=metadata,
    )


def _from_first_step(rewards: np.ndarray) -> np.ndarray:
    """One for each frame (t+1, float32): that of the step that led to it, NaN at the first."""
    return np.concatenate([[np.nan], rewards]).astype(np.float32)


@contextmanager
def _open_collector(
    make: Callable[[], gymnasium.Env],
    record_one: Callable[..., EpisodeRecord],
    without: Way | None,
    info: FolderInfo,
    folder: Path,
) -> Iterator[Callable[[_Job], dict[str, str]]]:
    with make() as opened:

        def collect_one(job: _Job) -> dict[str, str]:
            record, about = record_one(opened, seed=job.seed), {}
            if without is not None:
                kept = without.frames_before(record.infos)
                if kept < 2:
                    return record.left_out
                if kept <= record.steps:
                    record, about = record.first(kept), {CUT: without.words}
            episode = to_episode(record, info, labelled=job.labelled, about=about)
            write_episode(episode, folder / f"{job.index:06d}.safetensors")
            return record.left_out

        yield collect_one


def say_left_out(run: "Run", left_out: Mapping[str, str], said: set[str]) -> None:
    """Name the infos that are not recorded, each once in a run: `said` holds those named before."""
    for name in sorted(left_out.keys() - said):
        run.say(f"info '{name}' {left_out[name]}")
    said.update(left_out)
