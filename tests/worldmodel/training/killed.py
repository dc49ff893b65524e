"""Trains a small model in children that are killed at random times, until one comes to its end.

python -m tests.worldmodel.training.killed FOLDER EPISODES STEPS KILLS SEED
"""

import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

import torch

from tests.worldmodel.toys import small
from worldmodel.loading.sources import EpisodeVideos
from worldmodel.objectives.masks import AllButOne, MaskMixture
from worldmodel.objectives.regularisers import SIGReg
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.runs.run import Run
from worldmodel.training.optimisation import Optimisation
from worldmodel.training.pretrain import pretrain


def learn(folder: Path, episodes: str, steps: int) -> None:
    run = Run.open(folder, verb="pretrain", config={}, seed=0)
    how = {"masks": MaskMixture([AllButOne()], [1]), "regulariser": SIGReg(num_slices=8)}
    results = pretrain(
        run,
        data=EpisodeVideos(episodes),
        model=small(),
        objective=partial(TimeSteps, targets="ema", **how),
        optimisation=Optimisation(steps, log_every=1, save_seconds=0.02, accumulate=2),
        batch=8,
    )
    results.pop("data_wait")
    run.finish(results)


def main() -> None:
    folder, episodes, steps, kills, seed = sys.argv[1:]
    torch.set_num_threads(1)  # and no other thread yet: it may fork
    draw, killed = random.Random(int(seed)), 0
    while True:
        child = os.fork()
        if child == 0:
            learn(Path(folder), episodes, int(steps))
            os._exit(0)
        if killed < int(kills):
            time.sleep(draw.uniform(0.05, 0.6))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
        killed += 1
    assert os.WEXITSTATUS(status) == 0
    print(killed)


if __name__ == "__main__":
    main()
