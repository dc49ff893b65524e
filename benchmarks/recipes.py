"""What every recipe learns of three worlds: the same data, network, batch and processor time.

python -m benchmarks.recipes                  run what is missing, write the table
python -m benchmarks.recipes --sweep          try learning rates, on seeds of development
python -m benchmarks.recipes --pace --recipes time_steps   of a recipe that joins the table later
python -m benchmarks.recipes --worlds digits --recipes tube_sigreg vjepa2 --seeds 22

The recipes are those of `worldmodel pretrain recipe=...`, with the batch and the length of the
clips made equal, the rate that did best in the sweep, and as many steps as fit into the time that a
step took there. Processor seconds are of the machine as it was: a recipe that joins the table on
another day is timed in turn with one that stands in it. Beside them stand the same encoder
untrained, and the pixels. Every run's numbers are kept, so that this can be interrupted.
"""

import argparse
import hashlib
import itertools
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.readouts import EPOCHS, FRAMES, Clips, Encode, read_out
from benchmarks.recipe_rows import SIGNS, kept_rows, overview, rows
from benchmarks.records import Record, measure_all, read_records
from benchmarks.table import Grid, origin
from benchmarks.worlds import WORLDS, World
from benchmarks.worlds.videos import InMemory
from worldmodel.cli.compose import settle
from worldmodel.cli.runner import build
from worldmodel.errors import ConfigError
from worldmodel.model import WorldModel
from worldmodel.nn.encoder import Encoder
from worldmodel.report import results
from worldmodel.runs.run import Run
from worldmodel.training.pretrain import pretrain

DEVELOPMENT, REPORT = (21,), (22, 23, 24)
"""Seeds: on the first the learning rates and the defaults of recipes were chosen."""

SECONDS, SWEPT_STEPS = 240, 400  # of one processor core for a training; of the sweep's
BATCH = 48
VIDEOS, FIT, VALIDATION, TEST = 1500, 1500, 300, 600
RATES = {  # that the sweep tries; which were tried so far, the table says
    "tube_sigreg": (1e-3, 3e-3, 1e-2),
    "time_steps": (3e-4, 1e-3, 3e-3),
    "vjepa2": (1e-4, 3e-4, 1e-3),
    "videomae": (3e-4, 1e-3, 3e-3),
}
SWEPT = ("tworoom", "digits")  # the worlds on which the rates are chosen
RECIPES = ("tube_sigreg", "time_steps", "vjepa2", "videomae")
BASELINES = ("untrained", "pixels")
RESULTS = Path(__file__).parents[1] / "docs/results"
OVERRIDES = {"time_steps": ["recipe=none"]}  # of those that are no recipe's name


@dataclass(frozen=True)
class Case:
    """One training, or one baseline."""

    world: str
    recipe: str
    seed: int
    rate: float | None = None  # None: of a baseline
    steps: int = 0
    swept: bool = False  # scored on videos of validation, others than those that probes choose on

    def key(self) -> str:
        """Names it, and the settings that it was measured with, among the records."""
        chosen = settings(WORLDS[self.world], self)
        taken = chosen["model"] if self.rate is None else chosen
        digest = hashlib.sha256(json.dumps(taken, sort_keys=True, default=str).encode())
        words = (self.world, self.recipe, self.seed, self.swept, digest.hexdigest()[:12])
        return ".".join(map(str, words))


def of_record(case: Case) -> str:
    """Names what was read out of a case: the same training may be read in another way."""
    return f"{case.key()}.{EPOCHS}"


def settings(world: World, case: Case, more: Sequence[str] = ()) -> dict[str, Any]:
    """What `worldmodel pretrain` would be told, and `more` of it."""
    name = case.recipe if case.rate is not None else "tube_sigreg"
    words = [
        *OVERRIDES.get(name, [f"recipe={name}"]), "transforms=plain", "data.path=.",
        f"model.size={world.size}", f"model.encoder.patch={world.patch}", f"num_frames={FRAMES}",
        f"batch={BATCH}",
    ]  # fmt: skip
    if case.rate is not None:
        words += [f"optimisation.steps={case.steps}", f"optimisation.learning_rate={case.rate}"]
    return settle("pretrain", [*words, *more])


def pixels(frames: Tensor) -> Tensor:
    """Frames as tokens b t n d: 4 x 4 patches, each averaged to 4 x 4 pixels."""
    small = torch.nn.functional.adaptive_avg_pool2d(frames.flatten(0, 1), 16)
    return rearrange(
        small, "(b t i) c (h p) (w q) -> b t (h w) (i c p q)", b=len(frames), i=2, p=4, q=4
    )


def of_encoder(encoder: Encoder) -> Encode:
    """Tokens b t n d of a complete clip."""
    return lambda frames: rearrange(
        encoder(frames), "b (t n) d -> b t n d", t=encoder.grid(frames)[0]
    )


def measure(case: Case, kept_in: Path) -> Record:
    """Train once, and read out what was learned."""
    torch.set_num_threads(1)
    world = WORLDS[case.world]
    seen, validation = (
        world.videos(count, case.seed, part=part, kept_in=kept_in)
        for count, part in ((VIDEOS, "train"), (VALIDATION, "validation"))
    )
    if case.swept:
        unseen = world.videos(TEST, case.seed + 500, part="validation", kept_in=kept_in)
    else:
        unseen = world.videos(TEST, case.seed, part="test", kept_in=kept_in)
    torch.manual_seed(case.seed)
    chosen = settings(world, case)
    model = build("model", chosen["model"])
    found: dict[str, float] = {}
    if case.rate is not None:
        found = learned(kept_in / "encoders" / case.key(), chosen, model, seen, case.seed)
    encode = pixels if case.recipe == "pixels" else of_encoder(model.encoder.eval())
    parts = [Clips.of(seen[:FIT], 0), Clips.of(validation, 1), Clips.of(unseen, 2)]
    signs = (*SIGNS, "collapsed", "static_shortcut")
    return {
        "case": of_record(case), "epochs": EPOCHS,
        "world": case.world, "recipe": case.recipe, "seed": case.seed, "rate": case.rate,
        "steps": case.steps, "cpu_seconds": found.get("cpu_seconds", 0.0),
        "read": read_out(world, encode, parts, seed=case.seed),
        **{name: found[name] for name in signs if name in found},
    }  # fmt: skip


def learned(
    place: Path, chosen: Mapping[str, Any], model: WorldModel, seen: Sequence[Any], seed: int
) -> dict[str, float]:
    """What `train` found, and how long it took; an encoder that was kept is not trained again.

    So that what was learned can be read out once more in another way.
    """
    weights, numbers = (Path(f"{place}{ending}") for ending in (".safetensors", ".json"))
    if numbers.is_file():
        model.encoder.load_state_dict(load_file(weights))
        known: dict[str, float] = json.loads(numbers.read_text())
        return known
    begun = time.process_time()
    found = train(chosen, model, seen, seed) | {"cpu_seconds": time.process_time() - begun}
    place.parent.mkdir(exist_ok=True)
    save_file(model.encoder.state_dict(), weights)
    numbers.write_text(json.dumps(found))
    return found


def train(
    chosen: Mapping[str, Any], model: WorldModel, seen: Sequence[Any], seed: int
) -> dict[str, float]:
    """Pretrain as `settings` say, in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as temporary:
        run = Run.open(Path(temporary) / "run", verb="pretrain", config={}, seed=seed)
        found = pretrain(
            run, data=InMemory(seen, chosen["data"]["clips_per_video"]), model=model,
            objective=build("objective", chosen["objective"]),
            optimisation=replace(build("optimisation", chosen["optimisation"]), save_seconds=1e9),
            num_frames=FRAMES, batch=BATCH,
        )  # fmt: skip
        run.close()
    return found


def pace(recipe: str, kept_in: Path, *, steps: int = 20, repeats: int = 5) -> float:
    """Processor seconds of a step, as they would have been where the recorded table was made.

    It is timed in turn with the recipe that the table names first, whose time there is known; the
    median of so many ratios.
    """
    torch.set_num_threads(1)
    reference, known = next(iter(_recorded()["step_seconds"].items()))
    world = WORLDS[SWEPT[0]]
    seen = world.videos(VIDEOS, DEVELOPMENT[0], part="train", kept_in=kept_in)

    def seconds(name: str, count: int) -> float:
        chosen = settings(world, Case(SWEPT[0], name, DEVELOPMENT[0], RATES[name][0], count))
        model = build("model", chosen["model"])
        begun = time.process_time()
        train(chosen, model, seen, DEVELOPMENT[0])
        return time.process_time() - begun

    ratios = []
    for _ in range(repeats):
        taken = [seconds(name, 1 + steps) - seconds(name, 1) for name in (recipe, reference)]
        ratios.append(taken[0] / taken[1])
    return float(known * np.median(ratios))


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--worlds", nargs="*", choices=[*WORLDS])
    parser.add_argument("--recipes", nargs="*", default=[*RECIPES])
    parser.add_argument("--seeds", type=int, nargs="*", default=[*REPORT])
    parser.add_argument("--sweep", action="store_true", help="try learning rates")
    parser.add_argument("--pace", action="store_true", help="time a step beside the table's")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of one core, for a training")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kept-in", type=Path, default=Path("runs/recipes"))
    words = parser.parse_args()
    words.worlds = words.worlds or [*(SWEPT if words.sweep else WORLDS)]
    words.kept_in.mkdir(parents=True, exist_ok=True)
    if words.pace:
        for recipe in words.recipes:
            note_pace(words.kept_in, recipe, pace(recipe, words.kept_in))
        return
    swept = [with_pace(r, words.kept_in) for r in read_records(words.kept_in / "sweep.jsonl")]
    file = words.kept_in / ("sweep.jsonl" if words.sweep else "records.jsonl")
    cases, seeds = [], DEVELOPMENT if words.sweep else words.seeds
    for seed, world, recipe in itertools.product(seeds, words.worlds, words.recipes):
        if words.sweep:
            cases += [Case(world, recipe, seed, rate, SWEPT_STEPS, True) for rate in RATES[recipe]]
        else:
            steps = int(words.seconds / step_seconds(swept, recipe))
            cases.append(Case(world, recipe, seed, chosen_rate(swept, recipe), steps))
    if not words.sweep:
        cases += [
            Case(world, name, seed)
            for seed, world, name in itertools.product(seeds, words.worlds, BASELINES)
            if not in_table(world, name, seeds, words.seconds)
        ]
    wanted = {of_record(case): case for case in cases}
    records = [record for record in read_records(file) if record["case"] in wanted]
    todo = [case for key, case in wanted.items() if key not in {r["case"] for r in records}]
    one = partial(measure, kept_in=words.kept_in)
    for record in measure_all(todo, one, kept_in=file, workers=words.workers):
        records.append(record)
        read = ", ".join(f"{k} {v:.3f}" for k, v in record["read"].items())
        print(f"{record['world']} {record['recipe']} {record['rate']} seed {record['seed']}: "
              f"{read}", flush=True)  # fmt: skip
    if not words.sweep:
        write_table(records, swept, seconds=words.seconds)


def note_pace(kept_in: Path, recipe: str, seconds: float) -> None:
    """Keep what `pace` found, beside the records."""
    path = kept_in / "pace.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(known | {recipe: seconds}))
    print(f"{recipe}: {seconds:.4f} s a step", flush=True)


def with_pace(record: Record, kept_in: Path) -> Record:
    """A record of the sweep, its seconds those of `pace` where its recipe was timed so."""
    path = kept_in / "pace.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    if record["recipe"] not in known:
        return record
    return {**record, "cpu_seconds": known[record["recipe"]] * record["steps"]}


def step_seconds(swept: Sequence[Record], recipe: str) -> float:
    """Processor seconds of a step of a recipe, as the recorded table was made with.

    Of a recipe that it does not have, as the sweep found them, the least of its runs: machines
    differ from day to day, and a row that joins has to have the time of the others.

    Raises:
        ConfigError: neither says anything of this recipe.
    """
    found = [r["cpu_seconds"] / r["steps"] for r in swept if r["recipe"] == recipe]
    if found and recipe not in _recorded().get("step_seconds", {}):
        return min(found)
    return _in_table("step_seconds", recipe)


def chosen_rate(swept: Sequence[Record], recipe: str) -> float:
    """The rate with the highest mean over worlds and their numbers, an R² below zero being zero.

    Where the sweep has not been run here, the one that the table was made with.

    Raises:
        ConfigError: not every rate was tried on every world of the sweep, or the table says
            nothing of this recipe.
    """
    if not any(r["recipe"] == recipe for r in swept):
        return _in_table("rates", recipe)
    found = {
        (r["world"], r["rate"]): float(np.mean([max(v, 0.0) for v in r["read"].values()]))
        for r in swept if r["recipe"] == recipe
    }  # fmt: skip
    missing = [pair for pair in itertools.product(SWEPT, RATES[recipe]) if pair not in found]
    if missing:
        raise ConfigError(f"the sweep of {recipe} lacks {missing}: run --sweep first")
    return max(
        RATES[recipe], key=lambda rate: float(np.mean([found[world, rate] for world in SWEPT]))
    )


def rates_tried(swept: Sequence[Record]) -> dict[str, list[float]]:
    """Of each recipe that was swept here, the rates that were tried on every world of the sweep."""
    tried: dict[tuple[str, float], set[str]] = {}
    for r in swept:
        tried.setdefault((r["recipe"], r["rate"]), set()).add(r["world"])
    whole = sorted(pair for pair, worlds in tried.items() if worlds >= {*SWEPT})
    return {recipe: [rate for one, rate in whole if one == recipe] for recipe, _ in whole}


def _in_table(what: str, recipe: str) -> float:
    """What the sweep of the recorded table had found."""
    found = _recorded().get(what, {})
    if recipe not in found:
        raise ConfigError(f"nothing is known of the {what} of {recipe}: run --sweep first")
    return float(found[recipe])


def in_table(world: str, baseline: str, seeds: Sequence[int], seconds: int) -> bool:
    """Whether the recorded table has what a baseline, which learns nothing, is at these seeds."""
    found = [
        row for row in _table(seconds).get("rows", ())
        if row["key"].split(".")[:2] == [world, baseline]
    ]  # fmt: skip
    return bool(found) and all(
        row["seeds"] == [*seeds] and row.get("epochs", EPOCHS) == EPOCHS for row in found
    )


def _table(seconds: int) -> dict[str, Any]:
    """The recorded table; empty where there is none."""
    path = RESULTS / f"{_name(seconds)}.json"
    table: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return table


def _name(seconds: int) -> str:
    return "recipes" if seconds == SECONDS else f"recipes-{seconds}"


def _recorded() -> dict[str, Any]:
    """The protocol of the recorded table; empty where there is none."""
    protocol: dict[str, Any] = _table(SECONDS).get("protocol", {})
    return protocol


def write_table(records: Sequence[Record], swept: Sequence[Record], *, seconds: int) -> None:
    """Write docs/results/recipes.json, and its overview; of other times, `recipes-SECONDS`.

    What the table says of other worlds and recipes stays.
    """
    name, before = _name(seconds), _table(seconds)
    protocol: dict[str, Any] = {
        "development_seeds": list(DEVELOPMENT), "cpu_seconds": seconds, "batch": BATCH,
        "frames": FRAMES, "videos": VIDEOS, "fit": FIT, "validation": VALIDATION, "test": TEST,
        "rates_tried": _recorded().get("rates_tried", {}) | rates_tried(swept),
        "swept_on": list(SWEPT), "swept_steps": SWEPT_STEPS,
    }  # fmt: skip
    measured = {(r["world"], r["recipe"]) for r in records}
    kept = kept_rows(before, protocol, measured)
    written = [*kept, *rows(records, kept)]
    written.sort(key=lambda row: [*WORLDS].index(row["key"].split(".")[0]))
    known = [*BASELINES, *RECIPES]
    columns = sorted({row["key"].split(".")[1] for row in written}, key=known.index)
    trained = [recipe for recipe in columns if recipe not in BASELINES]
    protocol |= {
        "seeds": sorted({seed for row in written for seed in row["seeds"]}),
        "rates": _recorded().get("rates", {}) | {r: chosen_rate(swept, r) for r in trained},
        "step_seconds": _recorded().get("step_seconds", {})
        | {r: step_seconds(swept, r) for r in trained},
    }
    command = _command(written, trained, protocol["seeds"], seconds=seconds)
    table = {**origin(name, command), "protocol": protocol, "rows": written}
    results.write(table, RESULTS / f"{name}.json")
    grid = Grid(
        f"{name}-overview", command, {"seeds": protocol["seeds"]},
        ["", *columns], overview(written, columns),
    )  # fmt: skip
    results.write(grid.to_json(device="cpu"), RESULTS / f"{name}-overview.json")


def _command(
    written: Sequence[Mapping[str, Any]], trained: Sequence[str], seeds: Sequence[int], *,
    seconds: int,
) -> str:  # fmt: skip
    """What measures these rows from nothing."""
    worlds = list(dict.fromkeys(row["key"].split(".")[0] for row in written))
    words = {"--recipes": (trained, RECIPES), "--worlds": (worlds, WORLDS),
             "--seeds": (seeds, REPORT), "--seconds": ([seconds], [SECONDS])}  # fmt: skip
    return " ".join([
        "python -m benchmarks.recipes",
        *(f"{word} {' '.join(map(str, given))}" for word, (given, default) in words.items()
          if list(given) != list(default)),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
