"""The side of a learner of others: its process, and the world as it sees it.

PYTHON -m benchmarks.comparators.learner MODULE learn|play --connection N --folder F --seed S

`MODULE` is one learner in one file. It has two functions: `learn(world, folder, seed)` acts and
learns for ever, keeps all in the folder every minute or so, and goes on from what is there;
`load(folder)` is the `Player` that was kept. This file needs NumPy alone.
"""

import argparse
import importlib
from abc import ABC, abstractmethod
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from benchmarks.comparators.messages import receive, send


class Stopped(SystemExit):
    """The time of a training is over, or whoever asked for it is gone; no failure."""


class World:
    """Tasks, one after another, each in a world of images with a goal image.

    Actions are vectors in [-1, 1]; what they are, and for how long each is held, is told on the
    other side.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def reset(self) -> tuple[np.ndarray, np.ndarray]:
        """Begin the next task: what is seen, and what is to be seen (h w 3 each, uint8).

        Raises:
            Stopped: there is none.
        """
        _, arrays = self._next()
        return arrays["frame"], arrays["goal"]

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """Act (a): what is seen then (h w 3), the reward, and whether the task's time is up.

        Raises:
            Stopped: the time of the training is up.
        """
        try:
            send(self._connection, {}, action=np.asarray(action, np.float32))
        except OSError as cause:  # nobody waits for it any more
            raise Stopped from cause
        words, arrays = self._next()
        return arrays["frame"], float(words["reward"]), bool(words["over"])

    def check(self) -> None:
        """To be called now and then by who learns for long between two steps.

        Raises:
            Stopped: the time of the training is up.
        """
        if self._connection.poll():
            self._next()

    def _next(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        try:
            words, arrays = receive(self._connection)
        except EOFError as cause:
            raise Stopped from cause
        if words["kind"] == "stop":
            raise Stopped
        return words, arrays


class Player(ABC):
    """Acts as it has learned, without exploring.

    Attributes:
        facts: Numbers about the training, such as `updates`.
    """

    facts: dict[str, float]

    @abstractmethod
    def begin(self) -> None:
        """Begin a task."""

    @abstractmethod
    def act(self, frame: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """The action (a) after seeing a frame, to come to the goal (h w 3 each, uint8)."""


def play(connection: Connection, player: Player) -> NoReturn:
    """Act in tasks of an evaluation until they are over."""
    send(connection, {"facts": player.facts})
    goal = np.zeros((0, 0, 3), np.uint8)
    while True:
        try:
            words, arrays = receive(connection)
        except EOFError as cause:
            raise Stopped from cause
        if words["kind"] == "stop":
            raise Stopped
        if words["kind"] == "begin":
            goal = arrays["goal"]
            player.begin()
        send(connection, {}, action=np.asarray(player.act(arrays["frame"], goal), np.float32))


def main() -> None:
    """Learn or play, as the words say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("does", choices=("learn", "play"))
    parser.add_argument("--connection", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    words = parser.parse_args()
    connection = Connection(words.connection)
    module = importlib.import_module(words.module)
    if words.does == "play":
        play(connection, module.load(words.folder))
    send(connection, {"facts": {}})
    module.learn(World(connection), words.folder, words.seed)


if __name__ == "__main__":
    main()
