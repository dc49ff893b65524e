"""Plans in worlds of others, from pixels and without reward, beside what acts without planning.

python -m benchmarks.planning                             run what is missing, write the table
python -m benchmarks.planning --worlds reacher --seeds 1   a part

For each world and seed: collect, train, and plan from held-out episodes, once to what the same
episode showed later and once to what another one did, as far away. Every verb's run is kept below
`runs/planning`, so that this can be interrupted and goes on. Success is *held*: in all of the last
fifth of the budget.
"""

import argparse
import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.recipe_rows import interval
from benchmarks.records import Record
from benchmarks.table import origin
from worldmodel.cli.runner import run_verb
from worldmodel.envs import View
from worldmodel.evaluation.statistics import wilson
from worldmodel.planners.environment import make_env
from worldmodel.report import results
from worldmodel.runs.run import read_log, read_metrics

SEEDS = (1, 2, 3)
EPISODES = 50  # of each evaluation
CROSSED_LESS = 0.05  # that crossed goals may be reached less often than those of one episode
FLOORS = ("random", "noop", "cloning", "inverse")
ALSO = (
    "success", "success_at_end", "steps_to_success", "seconds_per_decision", "model_calls",
    "solved_starts", "already_solved", "train_minutes",
)  # fmt: skip
"""What is kept of the planner's numbers beside that of the table."""

FRAMES = ("recipe=frames", "batch=64")
"""States of single frames, three actions apart."""
GOALS = {
    "offset25": ("goal=episodes", "offset=25"), "crossed": ("goal=crossed", "offset=25"),
}  # fmt: skip


@dataclass(frozen=True)
class World:
    """How one world is learned and what is asked of it."""

    env: str
    collect: Sequence[str]
    train: Sequence[str] = (*FRAMES, "optimisation.steps=3000")
    view: Sequence[str] = ()
    plan: Sequence[str] = ("planner.horizon=5",)
    goals: Mapping[str, Sequence[str]] = field(default_factory=lambda: GOALS)
    success: str = "success_held"
    reward: float | None = None  # instead of success: the mean of the total reward, a share of this
    images: Callable[[Path], None] | None = None  # draws the goals, where they are images
    bars: Mapping[str, float] = field(default_factory=dict)  # by goal


def upright(folder: Path) -> None:
    """Images of a pole that stands upright, in the middle and near to it."""
    env = make_env("CartPole-v1", None, View())
    for number, x in enumerate(np.linspace(-1, 1, 41)):
        shown, _ = env.reset(seed=0, options={"state": [x, 0.0, 0.0, 0.0]})
        Image.fromarray(shown).save(folder / f"{number:02d}.png")
    env.close()


WORLDS = {
    "tworoom": World(
        "worldmodel.envs:worldmodel/TwoRoom-v0",
        ("episodes=800", "steps=120", "recording.reset_options={task: explore}"),
        goals=GOALS | {"offset100": ("goal=episodes", "offset=100", "cost=landmarks")},
        bars={"offset25": 0.97, "offset100": 0.95},
    ),
    "reacher": World(
        "Reacher-v5", ("episodes=800", "steps=50", "behaviour=random"),
        train=(*FRAMES, "optimisation.steps=3000", "rollouts.centre=episode",
               "rollouts.per_episode=8"),
        bars={"offset25": 0.90},
    ),
    "reacher_hidden": World(
        "Reacher-v5", ("episodes=800", "steps=50", "behaviour=random"),
        view=("view.hidden=[target]",), bars={"offset25": 0.97},
    ),
    "umaze": World(
        "gymnasium_robotics:PointMaze_UMaze-v3", ("episodes=800", "steps=60"),
        view=("view.hidden=[target]",), bars={"offset25": 0.95},
    ),
    "medium": World(
        "gymnasium_robotics:PointMaze_Medium-v3", ("episodes=800", "steps=100"),
        view=("view.hidden=[target]",), bars={"offset25": 0.90},
    ),
    "cartpole": World(
        "CartPole-v1", ("episodes=1200", "steps=100", "behaviour=random"),
        train=(*FRAMES, "model.action_block=1", "optimisation.steps=3000"),
        plan=("planner=categorical", "planner.horizon=12", "evaluation.max_steps=500",
              "guardrail=keepout", "evaluation.violation=terminated"),
        goals={"upright": ("goal=IMAGES",)}, images=upright, reward=500.0,
        bars={"upright": 0.95},
    ),
    "pusht": World(
        "gym_pusht:gym_pusht/PushT-v0",
        ("episodes=800", "steps=100",
         "behaviour._target_=benchmarks.worlds.scripted.PushBlock"),
        train=(*FRAMES, "optimisation.steps=6000"), bars={"offset25": 0.80},
    ),
    "cube": World(
        "ogbench:cube-single-v0",
        ("episodes=500", "steps=100",
         "behaviour._target_=benchmarks.worlds.scripted.PickAndPlace"),
        train=(*FRAMES, "optimisation.steps=6000"), bars={"offset25": 0.70},
    ),
    "biased_point": World(
        "benchmarks.worlds.biased_point:benchmarks/BiasedPoint-v0", ("episodes=400",), train=(),
        plan=("success.within={position: 0.12}",), bars={"offset25": 0.95},
    ),
}  # fmt: skip


TABLE = Path(__file__).parents[1] / "docs/results/planning.json"

Found = dict[str, dict[str, float]]
"""Results by goal."""


def settings(name: str) -> str:
    """A hash of what is asked of a world and how it is learned, as it stands here, without bars.

    Defaults of the verbs are not in it: those of a release are in the commit that each run names.
    """
    world = WORLDS[name]
    told = [
        world.env, [*world.collect], [*world.train], [*world.view], [*world.plan], world.success,
        world.reward, world.images and world.images.__name__, EPISODES,
        sorted((goal, [*words]) for goal, words in world.goals.items()),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


def measure(name: str, seed: int, folder: Path) -> Found:
    """The results of one world and seed, by goal; runs that are there are not done again."""
    world = WORLDS[name]
    learn(name, seed, folder)
    images = folder / name / "goals"
    if world.images is not None and not images.is_dir():
        unfinished = images.with_name("goals.unfinished")
        unfinished.mkdir(parents=True, exist_ok=True)
        world.images(unfinished)
        unfinished.rename(images)
    found: Found = {}
    for goal, words in world.goals.items():
        words = [word.replace("IMAGES", str(images)) for word in words]
        found[goal] = planned(name, seed, folder, goal, words)
    return found


def learn(name: str, seed: int, folder: Path) -> None:
    """Collect episodes of a world and train its model, unless that has been done."""
    world, place = WORLDS[name], folder / name / str(seed)
    about = (f"env={world.env}", *world.view)
    _run("collect", "episodes", place, seed, *about, *world.collect, "recording.workers=2")
    _run("train", "model", place, seed, f"episodes={place / 'collect/episodes'}", *world.train)


def planned(
    name: str, seed: int, folder: Path, goal: str, words: Sequence[str]
) -> dict[str, float]:
    """What a plan with the model of `learn` came to, with the minutes that the model took.

    Args:
        name, seed, folder: See `learn`.
        goal: The name of the plan's run.
        words: That say which goals.
    """
    world, place = WORLDS[name], folder / name / str(seed)
    model = place / "train/model"
    _run(
        "plan", goal, place, seed, f"env={world.env}", *world.view, f"model={model}", *words,
        *world.plan, f"episodes={EPISODES}",
    )  # fmt: skip
    minutes = read_log(model)[-1]["elapsed"] / 60
    return read_metrics(place / "plan" / goal)["results"] | {"train_minutes": minutes}


def _run(verb: str, called: str, place: Path, seed: int, *words: str) -> None:
    run_verb(verb, [*words, f"seed={seed}"], runs_dir=place, name=called)


def rows(
    found: Mapping[tuple[str, int], Mapping[str, Mapping[str, float]]],
) -> list[dict[str, Any]]:
    """A row for each world, goal and policy: trials of all seeds together, Wilson's interval."""
    written = []
    for name in dict.fromkeys(world for world, _ in found):
        world = WORLDS[name]
        seeds = [seed for one, seed in found if one == name]
        for goal, policy in itertools.product(world.goals, ("", *FLOORS)):
            measured = "total_reward" if world.reward else world.success
            key = f"{policy}_{measured}" if policy else measured
            runs = [found[name, seed][goal] for seed in seeds]
            if not all(key in run for run in runs):
                continue
            if world.reward:
                shares = [run[key] / world.reward for run in runs]
                written.append({
                    "key": f"{name}.{goal}.{policy or 'reward'}", "value": float(np.mean(shares)),
                    "n": EPISODES * len(runs), **interval(shares), "seeds": seeds,
                    "per_seed": shares,
                    **({"bar": world.bars[goal]} if not policy and goal in world.bars else {}),
                })  # fmt: skip
                continue
            value, low, high = wilson(*pooled(runs, key))
            row: dict[str, Any] = {
                "key": f"{name}.{goal}.{policy or 'success'}", "value": value,
                "n": pooled(runs, key)[1], "low": low, "high": high, "seeds": seeds,
                "per_seed": [run[key] for run in runs],
            }  # fmt: skip
            if not policy:
                names = [f"{p}_{world.success}" for p in FLOORS]
                floors = [pooled(runs, n) for n in names if all(n in run for run in runs)]
                row |= {"floor": max(hits / n for hits, n in floors)} if floors else {}
                row |= bar(name, goal, written)
            written.append(row)
    return written


def bar(name: str, goal: str, written: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What is asked for; of crossed goals, as much as of those of one episode, but for 0.05."""
    if goal in WORLDS[name].bars:
        return {"bar": WORLDS[name].bars[goal]}
    found = [row["value"] for row in written if row["key"] == f"{name}.offset25.success"]
    return {"bar": round(found[0] - CROSSED_LESS, 4)} if goal == "crossed" and found else {}


def pooled(runs: Sequence[Mapping[str, float]], key: str) -> tuple[int, int]:
    """Successes and trials of all runs together."""
    trials = [int(run[f"{key}.n"]) for run in runs]
    return sum(round(run[key] * n) for run, n in zip(runs, trials, strict=True)), sum(trials)


def recorded(table: Mapping[str, Any]) -> tuple[list[Record], list[str]]:
    """The runs of a table that were measured with the settings of today, and words on others."""
    kept, said = [], []
    for run in table.get("runs", ()):
        now = settings(run["world"]) if run["world"] in WORLDS else "no world of today"
        if run["settings"] == now:
            kept.append(run)
        else:
            said.append(
                f"{run['world']} seed {run['seed']} is left out: it was measured with settings "
                f"{run['settings']}, now {now}"
            )
    return kept, said


def record(name: str, seed: int, goals: Found) -> Record:
    """The numbers that the table's rows are made of, so that it can grow elsewhere."""
    measured = "total_reward" if WORLDS[name].reward else WORLDS[name].success
    keys = [f"{policy}_{measured}" if policy else measured for policy in ("", *FLOORS)]
    keys += [*ALSO, *(f"{policy}_p" for policy in FLOORS)]
    kept = {
        goal: {k: v for k, v in run.items() if k.removesuffix(".n") in keys}
        for goal, run in goals.items()
    }
    made = origin("planning", "python -m benchmarks.planning")
    where = {key: made[key] for key in ("version", "git_commit", "machine")}
    return {"world": name, "seed": seed, "settings": settings(name), **where, "results": kept}


def main() -> None:
    """Run what is missing and write the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--worlds", nargs="*", default=[*WORLDS], choices=[*WORLDS])
    parser.add_argument("--seeds", type=int, nargs="*", default=[*SEEDS])
    parser.add_argument("--kept-in", type=Path, default=Path("runs/planning"))
    words = parser.parse_args()
    runs, said = recorded(json.loads(TABLE.read_text())) if TABLE.is_file() else ([], [])
    for line in said:
        print(line, flush=True)
    known = {(run["world"], run["seed"]) for run in runs}
    for name, seed in itertools.product(words.worlds, words.seeds):
        if (name, seed) not in known:
            runs.append(record(name, seed, measure(name, seed, words.kept_in)))
            write(runs)  # after each: it has taken half an hour
    write(runs)


def write(runs: Sequence[Record]) -> None:
    """Write the table of these runs, in the order of worlds and seeds."""
    runs = sorted(runs, key=lambda run: ([*WORLDS].index(run["world"]), run["seed"]))
    found = {(run["world"], run["seed"]): run["results"] for run in runs}
    table = {
        **origin("planning", "python -m benchmarks.planning"),
        "protocol": {
            "seeds": sorted({seed for _, seed in found}), "episodes": EPISODES,
            "success": "held for the last fifth of the budget",
        },
        "rows": rows(found),
        "runs": runs,
    }  # fmt: skip
    results.write(table, TABLE)


if __name__ == "__main__":
    main()
