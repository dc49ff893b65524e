"""DreamerV3 and TD-MPC2, which are told a reward, beside plans of ours, which are not.

python -m benchmarks.comparators --python peers/bin/python     run what is missing, write the table
python -m benchmarks.comparators --peers tdmpc2 --worlds reacher --seeds 1     a part

*Everybody is asked the same*: the tasks of `benchmarks.planning` with `offset25`, from a step of an
episode that is held out to the image of what it showed 25 steps later, in 50 steps, on the same
starts and goals. The learners of others learn that very task: lessons are such tasks from the
episodes that our model was trained on, acted in by the learner itself. They see the frame and the
goal's image at 64 pixels, and are told minus the distance to the goal in every step, in radii of
success; ours is told neither reward nor distance, and learns from episodes of random actions. The
environments' own tasks would be no fair question: ours would have to be given their goals as images
that it has not seen, and TD-MPC2 and DreamerV3 would not have to look at any.

*For as long as ours took*: collecting and training of the same seed on this machine, in minutes, or
`--minutes`. Theirs begin when their process is ready, and hold what their own steps in the world
take. How many steps, updates and parameters that came to stands in the table, and so does how long
one decision takes. An action is held for two steps, as both were published; ours acts in each step.

Each learner is other people's package in a Python of its own; `dreamerv3.py` and `tdmpc2.py` beside
this file say which, and what differs from what its authors did. A training goes on where it was
interrupted, and evaluations keep each episode. All of it lies below `runs/comparators`, our side
below `runs/planning`, where it is that of `benchmarks.planning`.
"""

import argparse
import itertools
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import planning
from benchmarks.comparators.foreign import REPEAT, Peer, require_packages
from benchmarks.comparators.measuring import Question, measure
from benchmarks.records import Record
from benchmarks.table import origin
from worldmodel.errors import ConfigError, WorldModelError
from worldmodel.evaluation.statistics import wilson
from worldmodel.planners.plan_results import write_json
from worldmodel.report import results
from worldmodel.runs.run import read_metrics

TABLE = Path(__file__).parents[2] / "docs/results/comparators.json"
COMMAND = "python -m benchmarks.comparators"
WORLDS = ("tworoom", "reacher")
GOAL = "offset25"
SEEDS = (1, 2)
OURS = "ours"
PEERS = {
    "dreamerv3": Peer(
        "benchmarks.comparators.dreamerv3", ("sheeprl",), "sheeprl==0.8.4",
        "DreamerV3 (2025), 1M, sheeprl 0.8.4 in its own loop; after 256 actions, an update every "
        "two; batches of 8 x 32 frames",
    ),
    "tdmpc2": Peer(
        "benchmarks.comparators.tdmpc2", ("stable_worldmodel",),
        "stable-worldmodel==0.1.1 opencv-python-headless imageio",
        "TD-MPC2, smallest size, stable-worldmodel 0.1.1 (networks, losses, CEM) in a loop of "
        "ours; after 250 random actions and as many updates, an update every action; batches of "
        "64 x 4 frames",
    ),
}  # fmt: skip
SUCCESS = {"held": "success_held", "at_end": "success_at_end", "reached": "success"}
FLOORS = ("random", "noop", "cloning")
COSTS = ("environment_steps", "minutes", "updates", "parameters", "seconds_per_decision")


def ours(name: str, seed: int, folder: Path) -> dict[str, float]:
    """Results of our plan and of its baselines, with what they cost; nothing is done twice."""
    planning.learn(name, seed, folder)
    found = planning.planned(name, seed, folder, GOAL, planning.WORLDS[name].goals[GOAL])
    place = folder / name / str(seed)
    collected = read_metrics(place / "collect/episodes")
    minutes = found["train_minutes"] + collected["seconds"] / 60
    counted = collected["results"]
    steps = counted["frames"] - counted["episodes"]  # each episode has a frame before its steps
    told_of = {"environment_steps": steps, "minutes": minutes}
    return kept_of(found | told_of)


def beside(
    name: str, seed: int, peer: str, folders: Mapping[str, Path], *, python: Path, minutes: float
) -> dict[str, float]:
    """Results of a learner of others in the tasks of our plan.

    Args:
        name, seed, peer: World, seed and learner.
        folders: `planning`, where our plan of that world and seed is, and `comparators`.
        python: Has the learner's packages.
        minutes: Of training.
    """
    folder = folders["comparators"] / name / str(seed) / peer
    kept = folder / "results.json"
    if kept.is_file():
        done: dict[str, float] = json.loads(kept.read_text())
        if done["minutes"] >= minutes:
            return done
    place = folders["planning"] / name / str(seed)
    question = Question.of_plan(
        planning.WORLDS[name].env, place / "collect/episodes", place / "plan" / GOAL
    )
    found = measure(PEERS[peer], python, question, folder, seed=seed, minutes=minutes)
    write_json(kept, kept_of(found))
    return kept_of(found)


def kept_of(found: Mapping[str, float]) -> dict[str, float]:
    """The numbers that rows are made of, and no others: some have no value."""
    actors = ("", *(f"{floor}_" for floor in FLOORS))
    rates = [before + key for before in actors for key in SUCCESS.values()]
    keys = {*rates, *(f"{rate}.n" for rate in rates), *COSTS}
    return {key: value for key, value in found.items() if key in keys}


def rows(found: Mapping[tuple[str, int, str], Mapping[str, float]]) -> list[dict[str, Any]]:
    """A row for each world, who acts, and number: successes of all seeds are counted together.

    Beside ours, which also stands for the baselines that do its tasks.

    Args:
        found: Results by world, seed and who.
    """
    written: list[dict[str, Any]] = []
    for name, who in dict.fromkeys((name, who) for name, _, who in found):
        seeds = [seed for one, seed, other in found if (one, other) == (name, who)]
        runs = [found[name, seed, who] for seed in seeds]
        acting = {who: "", **({floor: f"{floor}_" for floor in FLOORS} if who == OURS else {})}
        for actor, before in acting.items():
            for word, key in SUCCESS.items():
                if all(before + key in run for run in runs):
                    written.append(
                        {"key": f"{name}.{actor}.{word}", **_rate(runs, before + key),
                         "seeds": seeds}
                    )  # fmt: skip
        for key in COSTS:
            if all(key in run for run in runs):
                values = [run[key] for run in runs]
                written.append(
                    {"key": f"{name}.{who}.{key}", "value": statistics.fmean(values),
                     "n": len(values), "seeds": seeds, "per_seed": values}
                )  # fmt: skip
    return written


def _rate(runs: Sequence[Mapping[str, float]], key: str) -> dict[str, Any]:
    hits, trials = planning.pooled(runs, key)
    value, low, high = wilson(hits, trials)
    return {"value": value, "n": trials, "low": low, "high": high,
            "per_seed": [run[key] for run in runs]}  # fmt: skip


def settings(name: str, who: str, minutes: float | None) -> str:
    """What a record was measured with, in short: our world's settings, and the learner's."""
    ours_is = planning.settings(name)
    if who == OURS:
        return ours_is
    return f"{ours_is}, {PEERS[who].words}, minutes {'as ours' if minutes is None else minutes:}"


def write(records: Sequence[Record]) -> None:
    """Write the table of these records, in the order of worlds, seeds and who."""
    order = [OURS, *PEERS]
    records = sorted(
        records, key=lambda r: (WORLDS.index(r["world"]), order.index(r["who"]), r["seed"])
    )
    found = {(r["world"], r["seed"], r["who"]): r["results"] for r in records}
    table = {
        **origin("comparators", COMMAND),
        "protocol": {
            "tasks": f"{GOAL} of benchmarks.planning: held-out starts, an image of the goal",
            "episodes": planning.EPISODES, "seeds": sorted({seed for _, seed, _ in found}),
            "held": "in all of the last fifth of the budget",
            "reward": "of the learners of others: minus the distance to the goal in every step, "
            "in radii of success; of ours: none",
            "seen": "the frame and the goal's image, 64 pixels",
            "action_repeat": {OURS: 1, **dict.fromkeys(PEERS, REPEAT)},
            "learners": {name: peer.words for name, peer in PEERS.items()},
        },
        "rows": rows(found),
        "runs": records,
    }  # fmt: skip
    results.write(table, TABLE)


def recorded(table: Mapping[str, Any], minutes: float | None) -> tuple[list[Record], list[str]]:
    """The records of a table that were measured as it is asked for now, and words on others."""
    kept, said = [], []
    for record in table.get("runs", ()):
        known = record["world"] in WORLDS and record["who"] in (OURS, *PEERS)
        now = settings(record["world"], record["who"], minutes) if known else "nothing of today"
        if record["settings"] == now:
            kept.append(record)
        else:
            said.append(
                f"{record['world']} seed {record['seed']}, {record['who']}, is left out: it was "
                f"measured with {record['settings']}; now it is {now}"
            )
    return kept, said


def run(words: argparse.Namespace) -> None:
    """Run what is missing, and write the table after each part.

    Raises:
        ConfigError: the Python lacks a package.
    """
    if words.minutes is not None and not words.minutes > 0:
        raise ConfigError(f"--minutes {words.minutes:g}: a training takes more than 0")
    for peer in words.peers:
        require_packages(PEERS[peer], peer, words.python)
    folders = {"planning": words.planning_in, "comparators": words.kept_in}
    table = json.loads(TABLE.read_text()) if TABLE.is_file() else {}
    records, said = recorded(table, words.minutes)
    for line in said:
        print(line, flush=True)
    known = {(r["world"], r["seed"], r["who"]) for r in records}
    for name, seed in itertools.product(words.worlds, words.seeds):
        missing = [who for who in (OURS, *words.peers) if (name, seed, who) not in known]
        if not missing:
            continue
        found = ours(name, seed, folders["planning"])
        minutes = found["minutes"] if words.minutes is None else words.minutes
        for who in missing:
            of = found if who == OURS else beside(
                name, seed, who, folders, python=words.python, minutes=minutes
            )  # fmt: skip
            records.append({
                "world": name, "seed": seed, "who": who,
                "settings": settings(name, who, words.minutes), **_made(), "results": of,
            })  # fmt: skip
            write(records)


def _made() -> dict[str, Any]:
    made = origin("comparators", COMMAND)
    return {key: made[key] for key in ("version", "git_commit", "machine")}


def main() -> None:
    """Do what the words say; an error is one line."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", nargs="*", default=[*WORLDS], choices=WORLDS)
    parser.add_argument("--seeds", type=int, nargs="*", default=[*SEEDS])
    parser.add_argument("--peers", nargs="*", default=[*PEERS], choices=[*PEERS])
    parser.add_argument(
        "--minutes", type=float, help="of each training of others; as long as ours took if not said"
    )
    parser.add_argument(
        "--python", type=Path, default=Path(sys.executable), help="has the packages of others"
    )
    parser.add_argument("--kept-in", type=Path, default=Path("runs/comparators"))
    parser.add_argument("--planning-in", type=Path, default=Path("runs/planning"))
    try:
        run(parser.parse_args())
    except WorldModelError as cause:
        sys.exit(f"{COMMAND}: {cause}")


if __name__ == "__main__":
    main()
