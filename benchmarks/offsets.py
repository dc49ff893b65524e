"""How far a plan reaches: success by how many steps later a goal was shown.

python -m benchmarks.offsets                              run what is missing, write the table
python -m benchmarks.offsets --worlds umaze --seeds 1

The models and settings are those of `benchmarks.planning`, whose runs are taken where they are
there. The budget is twice the offset; success is held, as there.
"""

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.planning import EPISODES, FLOORS, WORLDS, learn, planned, pooled, recorded, settings
from benchmarks.records import Record
from benchmarks.table import origin
from worldmodel.evaluation.statistics import wilson
from worldmodel.report import results

OFFSETS = (10, 25, 50, 100)
TABLE = Path(__file__).parents[1] / "docs/results/offsets.json"
ASKED = [name for name, world in WORLDS.items() if "offset25" in world.goals]


def words_of(name: str, offset: int) -> Sequence[str]:
    """What is said of goals so far away: the words of `benchmarks.planning` where it has them."""
    own = WORLDS[name].goals.get(f"offset{offset}")
    return own or ("goal=episodes", f"offset={offset}")


def rows(runs: Sequence[Record]) -> list[dict[str, Any]]:
    """A row for each world, offset and policy: the trials of all seeds together."""
    written = []
    for name, offset in dict.fromkeys((run["world"], run["offset"]) for run in runs):
        chosen = [run for run in runs if (run["world"], run["offset"]) == (name, offset)]
        measured = WORLDS[name].success
        found = {}
        for policy in ("", *FLOORS):
            key = f"{policy}_{measured}" if policy else measured
            if all(key in run["results"] for run in chosen):
                found[policy or "success"] = pooled([run["results"] for run in chosen], key)
        hits, n = found.pop("success")
        value, low, high = wilson(hits, n)
        floor = max((h / m for h, m in found.values()), default=None)
        written.append({
            "key": f"{name}.offset{offset}.success", "value": value, "n": n, "low": low,
            "high": high, "seeds": [run["seed"] for run in chosen],
            "per_seed": [run["results"][measured] for run in chosen],
            **({} if floor is None else {"floor": floor}),
        })  # fmt: skip
    return written


def main() -> None:
    """Run what is missing and write the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--worlds", nargs="*", default=ASKED, choices=ASKED)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1])
    parser.add_argument("--offsets", type=int, nargs="*", default=[*OFFSETS])
    parser.add_argument("--kept-in", type=Path, default=Path("runs/planning"))
    words = parser.parse_args()
    runs, said = recorded(json.loads(TABLE.read_text())) if TABLE.is_file() else ([], [])
    for line in said:
        print(line, flush=True)
    known = {(run["world"], run["seed"], run["offset"]) for run in runs}
    for name, seed, offset in itertools.product(words.worlds, words.seeds, words.offsets):
        if (name, seed, offset) not in known:
            learn(name, seed, words.kept_in)
            called = f"offset{offset}"
            done = planned(name, seed, words.kept_in, called, words_of(name, offset))
            about = {"world": name, "seed": seed, "offset": offset, "settings": settings(name)}
            runs.append(about | {"results": done})
            write(runs)  # after each: it has taken a while


def write(runs: Sequence[Mapping[str, Any]]) -> None:
    """Write the table of these runs, in the order of worlds and offsets."""
    ordered = sorted(
        (dict(run) for run in runs),
        key=lambda run: (ASKED.index(run["world"]), run["offset"], run["seed"]),
    )
    made = origin("offsets", "python -m benchmarks.offsets")
    protocol = {"episodes": EPISODES, "offsets": [*OFFSETS], "budget": "twice the offset"}
    results.write(made | {"protocol": protocol, "rows": rows(ordered), "runs": ordered}, TABLE)


if __name__ == "__main__":
    main()
