"""Pretrainings that several processes share, started without torchrun, for tests."""

import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from worldmodel import checkpoint
from worldmodel.cli.compose import settle
from worldmodel.cli.runner import build
from worldmodel.cli.signatures import parameters
from worldmodel.episodes.episode import Episode, FolderInfo
from worldmodel.episodes.folder import EpisodeWriter
from worldmodel.model import WorldModel
from worldmodel.runs.processes import is_first, rank, together, wait_for_all, world
from worldmodel.runs.run import Run
from worldmodel.runs.torchrun import place
from worldmodel.training import pretrain as verb

SIZE = 64


@dataclass(frozen=True)
class Job:
    """A pretraining to do.

    Attributes:
        name: of its folder.
        recipe: what is trained.
        words: more settings.
        parallel: how it is shared.
        steps: of the optimiser.
        ask_at: at this step the last of the processes is asked to end, by SIGTERM.
    """

    name: str
    recipe: str = "none"
    words: tuple[str, ...] = ()
    parallel: str = "ddp"
    steps: int = 10
    ask_at: int | None = None


def write_squares(folder: Path, *, episodes: int = 12, length: int = 24) -> Path:
    """Episodes in which a square moves over blocks of grey, 64 pixels wide."""
    random = np.random.default_rng(0)
    with EpisodeWriter(folder, FolderInfo("test/Square-v0", 10.0, (-1, -1), (1, 1))) as writer:
        for index in range(episodes):
            ground = random.integers(0, 180, (8, 8, 1)).repeat(8, 0).repeat(8, 1).repeat(3, 2)
            frames = np.repeat(ground[None], length, 0).astype(np.uint8)
            at = random.uniform(0, SIZE - 12, 2)
            for frame, (y, x) in zip(frames, _walk(at, length, random), strict=True):
                frame[y : y + 12, x : x + 12] = 255
            writer.write(Episode.from_numpy(frames, None, fps=10.0, metadata={"seed": str(index)}))
    return folder


def _walk(at: np.ndarray, length: int, random: np.random.Generator) -> list[tuple[int, int]]:
    places = at + np.cumsum(random.uniform(-4, 4, (length, 2)), 0)
    return [(int(y), int(x)) for y, x in places.clip(0, SIZE - 12)]


def write_teacher(folder: Path) -> Path:
    """An untrained model for recipes that want a finished one."""
    torch.manual_seed(5)
    sizes = build("model", settle("pretrain", ["model=smoke", "data.path=x"])["model"])
    return checkpoint.save(WorldModel(sizes.encoder, size=SIZE), folder)


def learn(job: Job, folder: Path, *, double: bool) -> None:
    """Do a job in `folder / job.name`, with what `write_squares` and `write_teacher` left there.

    Args:
        job: what to do.
        folder: where.
        double: in float64, where what differs is no rounding.
    """
    words = [
        f"recipe={job.recipe}", "data=episodes", f"data.path={folder / 'data'}",
        "data.clips_per_video=2", "batch=8", f"optimisation.steps={job.steps}",
        "optimisation.log_every=1", f"parallel={job.parallel}", *job.words,
    ]  # fmt: skip
    settings = settle("pretrain", words, checked=False)
    if settings["model"]["encoder"]["_target_"].endswith("VideoViT"):
        words.insert(1, "model=smoke")
    if settings["model"]["encoder"].get("levels"):
        words.append("model.encoder.levels=[0,1]")  # of the small model's two blocks
    if settings["objective"].get("targets") == "frozen":
        words.append(f"objective.teacher={folder / 'teacher'}")
    torch.manual_seed(0)
    settings = settle("pretrain", words)
    accepted = parameters(settings["_target_"])
    arguments = {key: build(key, x) for key, x in settings.items() if key in accepted}
    if double:
        make = arguments["objective"]
        arguments["objective"] = lambda model: make(model).double()
    how: dict[str, Any] = {"verb": "pretrain", "config": {}, "seed": 3, "device": "cpu"}
    place = folder / job.name
    run = Run.open(place, **how) if is_first() else Run.joined(place, **how)
    wait_for_all()
    try:
        with (
            patch.object(verb.VideoLearner, "frames", _in_double if double else _frames),
            patch.object(verb.VideoLearner, "after_step", _asking(job)),
        ):
            run.finish(verb.pretrain(run, **arguments))
    finally:
        run.close()


_frames, _after_step = verb.VideoLearner.frames, verb.VideoLearner.after_step


def _in_double(learner: verb.VideoLearner, step: int, **how: Any) -> Tensor:
    return _frames(learner, step, **how).double()


def _asking(job: Job) -> Callable[[verb.VideoLearner, float], None]:
    """What is done after a step, and in the last process a signal to itself."""

    def after_step(learner: verb.VideoLearner, progress: float) -> None:
        _after_step(learner, progress)
        if job.ask_at == round(progress * job.steps) + 1 and rank() == world() - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    return after_step


def work(number: int, count: int, port: int, jobs: list[Job], folder: Path, double: bool) -> None:
    """One of the processes."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    with together(place(), "cpu"):
        for job in jobs:
            learn(job, folder, double=double)


def do(jobs: list[Job], folder: Path, *, processes: int, double: bool = True) -> None:
    """Do jobs one after the other, each in so many processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = (processes, port, jobs, folder, double)
    torch.multiprocessing.spawn(work, args=given, nprocs=processes)
