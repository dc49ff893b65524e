"""A learner for tests of `benchmarks.comparators`: it learns nothing and writes down what it heard.

What it does otherwise is said by a file `does` in its folder: `think` without end after the first
reset, `break` when it begins, `die` when it plays its second task.
"""

import json
import time
from pathlib import Path
from typing import NoReturn

import numpy as np

from benchmarks.comparators.learner import Player, World


def does(folder: Path) -> str:
    return (folder / "does").read_text() if (folder / "does").is_file() else ""


def write_down(folder: Path, **heard: object) -> None:
    with (folder / "heard.jsonl").open("a") as file:
        file.write(json.dumps(heard) + "\n")


def learn(world: World, folder: Path, seed: int) -> NoReturn:
    write_down(folder, started=seed)
    if does(folder) == "break":
        raise ValueError("it broke")
    while True:
        (frame, goal), over = world.reset(), False
        write_down(folder, frame=int(frame.sum()), goal=int(goal.sum()))
        while does(folder) == "think":
            world.check()
            time.sleep(0.01)
        while not over:
            _, reward, over = world.step(np.array([1.0, 0.0]))
            write_down(folder, reward=reward, over=over)


class Fake(Player):
    def __init__(self, folder: Path) -> None:
        self._folder, self._tasks = folder, 0
        self.facts = {"updates": 7.0}

    def begin(self) -> None:
        self._tasks += 1
        write_down(self._folder, plays=self._tasks)
        if does(self._folder) == "die" and self._tasks == 2:
            raise ValueError("it died")

    def act(self, frame: np.ndarray, goal: np.ndarray) -> np.ndarray:
        assert frame.shape == goal.shape == (64, 64, 3)
        return np.array([5.0, 0.0])  # more than there is


def load(folder: Path) -> Fake:
    return Fake(folder)
