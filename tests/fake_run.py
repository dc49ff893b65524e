"""A quickstart's folder with invented contents: everything that a page can show."""

import json
import math
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from worldmodel.episodes.episode import Episode, FolderInfo
from worldmodel.episodes.folder import EpisodeWriter
from worldmodel.runs.run import Run

SIZE = 64
FLOOR, AGENT, HAZARD, WALL = (214, 208, 196), (40, 88, 160), (226, 140, 70), (90, 90, 96)


def draw(x: float, y: float, *, agent: tuple[int, int, int] | None = AGENT) -> np.ndarray:
    """A world seen from above, `h w c`, with the agent at x, y in [-1, 1]."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    px, py = (columns + 0.5) / SIZE * 2 - 1, 1 - (rows + 0.5) / SIZE * 2
    frame = np.full((SIZE, SIZE, 3), FLOOR, np.uint8)
    frame[np.hypot(px - 0.45, py) < 0.2] = HAZARD
    frame[(np.abs(px) < 0.04) & (np.abs(py) > 0.25)] = WALL
    if agent is not None:
        frame[np.hypot(px - x, py - y) < 0.09] = agent
    return frame


def make_fake_run(folder: Path, *, spread: float = 0.95) -> Path:
    """Write the folder; `spread` below 0.3 is a pretraining that collapsed."""
    top = Run.open(folder, verb="quickstart", config={"seed": 1}, seed=1)
    _training(folder / "pretrain" / "video", "pretrain", spread)
    _training(folder / "train" / "actions", "train", 0.97)
    _plan(folder / "plan" / "cem")
    _surprise(folder / "surprise" / "suite")
    top.finish(json.loads((Path(__file__).parent / "fake_results.json").read_text()))
    return folder


def _training(folder: Path, verb: str, spread: float) -> None:
    run = Run.open(folder, verb=verb, config={"steps": 600}, seed=1)
    noise = np.random.default_rng(0)
    for step in range(10, 601, 10):
        fall = math.exp(-step / 150)
        wobble = 1 + 0.06 * noise.normal()
        run.log(
            step,
            feature_std=spread * (1 - 0.7 * fall) * wobble,
            effective_rank=70 * (1 - fall) + 4 * wobble,
            mean_cosine=0.6 * fall * wobble,
            sigreg_over_floor=1.4 + 22 * fall * wobble,
            **{
                "loss": 0.2 + 1.5 * fall * wobble,
                "loss.prediction": 0.12 + 0.8 * fall * wobble,
                "loss.sigreg": 0.08 + 0.7 * fall * wobble,
            },
        )
    run.finish({"steps": 600})


def _plan(folder: Path) -> None:
    run = Run.open(folder, verb="plan", config={"planner": "cem"}, seed=1)
    info = FolderInfo("worldmodel/TwoRoom-v0", 10.0, (-1.0, -1.0), (1.0, 1.0))
    outcomes = []
    with EpisodeWriter(folder / "episodes", info) as writer:
        for index in range(6):
            start = np.array([-0.8, 0.6 - 0.25 * index])
            goal = np.array([0.7, 0.5 * math.sin(index)])
            corner = np.array([0.0, 0.1])
            path = np.concatenate([np.linspace(start, corner, 14), np.linspace(corner, goal, 14)])
            touched = np.hypot(path[:, 0] - 0.45, path[:, 1]) < 0.2
            success = np.zeros(len(path), bool)
            success[-1] = index != 4
            writer.write(
                Episode.from_numpy(
                    np.stack([draw(*at) for at in path]),
                    np.zeros((len(path) - 1, 2), np.float32),
                    fps=10,
                    info={
                        "goal_image": draw(*goal),
                        "hazard_contact": touched,
                        "success": success,
                    },
                ),
                index,
            )
            outcomes.append({"task": ("same_room", "other_room")[index % 2], "success": True})
    (folder / "outcomes.json").write_text(json.dumps(outcomes))
    run.finish({"success": 0.97, "success.n": 100, "success.low": 0.92, "success.high": 0.99})


def _surprise(folder: Path) -> None:
    run = Run.open(folder, verb="surprise", config={"kinds": "all"}, seed=1)
    generator = np.random.default_rng(1)
    frames, scores, steps, kinds = [], [], [], []
    for kind in ("teleport", "vanish", "colour"):
        for _ in range(3):
            at, step = np.linspace(-0.8, 0.4, 16), 9
            height = generator.uniform(-0.6, 0.6)
            possible = np.stack([draw(x, height) for x in at])
            later = {
                "teleport": lambda x, y=height: draw(-x, -y),
                "vanish": lambda x, y=height: draw(x, y, agent=None),
                "colour": lambda x, y=height: draw(x, y, agent=(160, 60, 120)),
            }[kind]
            impossible = np.stack([possible[i] if i < step else later(at[i]) for i in range(16)])
            low = generator.uniform(0.05, 0.2, 7)
            high = low.copy()
            high[(step - 2) // 2] += 2.2
            frames += [possible, impossible]
            scores += [low, high]
            steps.append(step)
            kinds.append(kind)
    tensors = {
        "frames": np.stack(frames),
        "scores": np.stack(scores),
        "step": np.array(steps, np.int64),
    }
    save_file(tensors, folder / "examples.safetensors", {"kinds": json.dumps(kinds)})
    run.finish({"teleport.pair_accuracy": 0.99})
