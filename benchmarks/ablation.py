"""What each term of learning under actions is worth to plans, one left out or added at a time.

python -m benchmarks.ablation                        run what is missing, write the table
python -m benchmarks.ablation --seeds 1 --terms all no_rollout

In one world of `benchmarks.planning`, on the same episodes, with the same planner and tasks; every
verb's run is kept below `runs/ablation`. Success is held, as there.
"""

import argparse
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.planning import EPISODES, WORLDS, pooled
from benchmarks.recipes import RESULTS
from benchmarks.table import origin
from worldmodel.cli.runner import run_verb
from worldmodel.evaluation.statistics import wilson
from worldmodel.report import results
from worldmodel.runs.run import read_metrics

WORLD, GOAL = "reacher_hidden", "offset25"
SEEDS = (1, 2, 3)
TERMS: Mapping[str, Sequence[str]] = {
    "all": (),
    "no_rollout": ("rollouts.weight=0",),  # one step ahead alone
    "no_regulariser": ("regulariser=none",),
    "vicreg": ("regulariser=vicreg",),  # in place of SIGReg
    "inverse": ("rollouts.inverse_weight=1",),
    "straight": ("rollouts.straight_weight=1",),
    "terminal_cost": (),  # plans by the last state alone
}
PLANNED: Mapping[str, Sequence[str]] = {"terminal_cost": ("cost.running=0",)}
MEASURED = ("success_held", "diagnosis_error_over_standing_still_15", "diagnosis_rank_random")


def measure(term: str, seed: int, place: Path) -> dict[str, float]:
    """Results of plans with a model that learned so; runs that are there are not done again."""
    world = WORLDS[WORLD]
    about = (f"env={world.env}", *world.view)

    def run(verb: str, called: str, *words: str) -> None:
        run_verb(verb, [*words, f"seed={seed}"], runs_dir=place, name=called)

    run("collect", "episodes", *about, *world.collect, "recording.workers=2")
    model = "all" if term in PLANNED else term  # what differs is in planning
    episodes = f"episodes={place / 'collect/episodes'}"
    run("train", model, episodes, *world.train, *TERMS[term])
    run(
        "plan", term, *about, f"model={place / 'train' / model}", *world.goals[GOAL], *world.plan,
        *PLANNED.get(term, ()), f"episodes={EPISODES}", "evaluation.diagnose=8",
    )  # fmt: skip
    found: dict[str, float] = read_metrics(place / "plan" / term)["results"]
    return found


def rows(found: Mapping[tuple[str, int], Mapping[str, float]]) -> list[dict[str, Any]]:
    """A row for each term and number; successes of all seeds counted together.

    A number that has no value in some run, as a rank where a collapsed model tells no plans apart,
    is no row.
    """
    written: list[dict[str, Any]] = []
    for term in dict.fromkeys(term for term, _ in found):
        seeds = [seed for one, seed in found if one == term]
        runs = [found[term, seed] for seed in seeds]
        for name in MEASURED:
            values = [run.get(name, math.nan) for run in runs]
            if not all(map(math.isfinite, values)):
                continue
            row: dict[str, Any] = {
                "key": f"{WORLD}.{term}.{name}", "value": sum(values) / len(values),
                "n": len(values), "seeds": seeds, "per_seed": values,
            }  # fmt: skip
            if name == "success_held":
                hits, trials = pooled(runs, name)
                row["value"], row["low"], row["high"] = wilson(hits, trials)
                row["n"] = trials
            written.append(row)
    return written


def finished(place: Path) -> dict[tuple[str, int], Mapping[str, float]]:
    """Results of every term and seed that have been planned with."""
    return {
        (term, int(folder.name)): read_metrics(folder / "plan" / term)["results"]
        for term in TERMS
        for folder in sorted(place.glob("[0-9]*"))
        if (folder / "plan" / term / "metrics.json").is_file()
    }


def main() -> None:
    """Run what is missing and write the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--terms", nargs="*", default=[*TERMS], choices=[*TERMS])
    parser.add_argument("--seeds", type=int, nargs="*", default=[*SEEDS])
    parser.add_argument("--kept-in", type=Path, default=Path("runs/ablation"))
    words = parser.parse_args()
    for seed, term in itertools.product(words.seeds, words.terms):
        measure(term, seed, words.kept_in / str(seed))
    found = finished(words.kept_in)
    table = {
        **origin("ablation", "python -m benchmarks.ablation"),
        "protocol": {
            "seeds": sorted({seed for _, seed in found}), "world": WORLD, "goal": GOAL,
            "episodes": EPISODES, "terms": {term: list(words) for term, words in TERMS.items()},
            "planned": {term: list(words) for term, words in PLANNED.items()},
        },
        "rows": rows(found),
    }  # fmt: skip
    results.write(table, RESULTS / "ablation.json")


if __name__ == "__main__":
    main()
