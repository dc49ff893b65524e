"""What makes token prediction without a teacher work: `tube_sigreg`, one choice changed at a time.

python -m benchmarks.tokens                          run what is missing, write the table
python -m benchmarks.tokens --only base l1 --worlds digits
python -m benchmarks.tokens --only base untrained --worlds digits --seeds 21 --epochs 10

Everything else is that of `benchmarks.recipes`. Each line is one short training at the rate of the
recipe, on a seed of development, scored on videos of validation: lines to choose by, and no result.
Changes that a configuration cannot say, because nothing in the package does them, are made here.
"""

import argparse
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from benchmarks.readouts import EPOCHS, FRAMES, Clips, read_out
from benchmarks.recipes import (
    BATCH,
    DEVELOPMENT,
    FIT,
    RESULTS,
    TEST,
    VALIDATION,
    VIDEOS,
    of_encoder,
    settings,
    train,
)  # fmt: skip
from benchmarks.recipes import (
    Case as Training,
)
from benchmarks.records import Record, measure_all, read_records
from benchmarks.table import Grid
from benchmarks.worlds import WORLDS
from worldmodel.architecture import Architecture
from worldmodel.cli.runner import build
from worldmodel.nn.encoder import Encoder
from worldmodel.objectives.centre import MOVING_SHARE, moving_part
from worldmodel.objectives.masked_tokens import MaskedTokens
from worldmodel.objectives.objective import Objective
from worldmodel.objectives.regularisers import Regularisation, Regulariser
from worldmodel.report import results

RECIPE, RATE, STEPS = "tube_sigreg", 3e-3, 300
SEEDS = (*DEVELOPMENT, 20)
SEEN_IN = ("tworoom_own_ground", "digits")
CLIPS_PER_VIDEO = 4  # `data.clips_per_video`
HALF = "{_target_: worldmodel.objectives.masks.RandomTokens, share: 0.5}"

Change = Callable[[MaskedTokens], None]


class OfAll(Regulariser):
    """One sample of the latents of all positions, in place of a sample for each."""

    def __init__(self, of: Regulariser) -> None:
        self.of = of

    def __call__(self, features: Tensor, *, step: int) -> Regularisation:
        """See `Regulariser`."""
        return self.of(rearrange(features, "p b d -> (p b) d"), step=step)


class OfParts(Regulariser):
    """Several parts of the latents, the penalty of each: takes latents without a centre."""

    def __init__(self, of: Regulariser, parts: Callable[[Tensor], Sequence[Tensor]]) -> None:
        self.of, self.parts = of, parts

    def __call__(self, features: Tensor, *, step: int) -> Regularisation:
        """See `Regulariser`."""
        latents = rearrange(features, "(t m) b d -> b t m d", t=FRAMES // 2)
        found = [self.of(part, step=step) for part in self.parts(latents)]
        loss, statistic, over = (
            torch.stack(numbers).mean()
            for numbers in zip(*((f.loss, f.statistic, f.over_floor) for f in found), strict=True)
        )
        return Regularisation(loss, statistic, over)


def mean_and_residue(latents: Tensor) -> list[Tensor]:
    """A clip's mean over time, and what differs from the mean of its video, each of unit variance.

    Both are asked for half of the variance of the latents.
    """
    mean = reduce(latents, "b t m d -> m b d", "mean")
    moving = moving_part(latents, "episode", clips_per_video=CLIPS_PER_VIDEO)
    return [
        mean / (1 - MOVING_SHARE) ** 0.5,
        rearrange(moving, "b t m d -> (t m) b d") / MOVING_SHARE**0.5,
    ]


def differences(latents: Tensor) -> list[Tensor]:
    """From each time step to the next, asked for half of the variance of the latents."""
    return [rearrange(latents.diff(dim=1), "b t m d -> (t m) b d") / MOVING_SHARE**0.5]


def linear_projector(objective: MaskedTokens) -> None:
    """Token to latent by one matrix, and batch normalisation."""
    _project(objective, lambda width, dim: [nn.Linear(width, dim), _norm(dim)])


def without_norms(objective: MaskedTokens) -> None:
    """The recipe's projector, without either batch normalisation."""
    _project(objective, lambda w, d: [nn.Linear(w, 256), nn.GELU(), nn.Linear(256, d)])


def _project(objective: MaskedTokens, layers: Callable[[int, int], Sequence[nn.Module]]) -> None:
    assert objective.head is not None
    made = layers(objective.encoder.width, objective.predicted)
    objective.head.project = nn.Sequential(*made)


def _norm(dim: int) -> nn.Module:
    return nn.BatchNorm1d(dim, affine=False)


def regularised(by: Callable[[Regulariser], Regulariser]) -> Change:
    """Another regulariser, made of the recipe's."""

    def change(objective: MaskedTokens) -> None:
        objective.regulariser = by(objective.regulariser)

    return change


@dataclass(frozen=True)
class Line:
    """One choice that differs from the recipe's."""

    says: str
    words: tuple[str, ...] = ()  # of the command line
    change: Change | None = None  # what no word can say
    trained: bool = True


LINES: dict[str, Line] = {
    "untrained": Line("the encoder untrained", trained=False),
    "base": Line("the recipe"),
    "tubes": Line("masks: tubes alone", ("masks=multiblock",)),
    "time_steps": Line("masks: all time steps but one", ("masks=time_steps",)),
    "columns": Line("masks: nine tenths of the columns", ("masks=columns",)),
    "random": Line("masks: four fifths of the tokens", ("masks=random",)),
    "l1": Line("distance: L1", ("objective.distance=l1",)),
    "l1_tubes": Line(
        "distance: L1, masks: tubes alone", ("objective.distance=l1", "masks=multiblock")
    ),
    "l1_layernorm": Line(
        "distance: L1, targets: normed",
        ("objective.distance=l1", "objective.target_norm=layernorm"),
    ),
    "layernorm": Line("targets: normed", ("objective.target_norm=layernorm",)),
    "stopgrad": Line("targets: without gradient", ("objective.targets=stopgrad",)),
    "linear": Line("projector: one matrix", change=linear_projector),
    "without_norms": Line("projector: without batch normalisation", change=without_norms),
    "l1_without_norms": Line(
        "distance: L1, projector: without batch normalisation", ("objective.distance=l1",),
        without_norms,
    ),
    "depth_4": Line("predictor: four blocks", ("objective.predictor_depth=4",)),
    "pooled": Line("SIGReg: one sample of all positions", change=regularised(OfAll)),
    "mean_and_residue": Line(
        "SIGReg: of the clip's mean and of what moves, half each", ("objective.centre=none",),
        regularised(partial(OfParts, parts=mean_and_residue)),
    ),
    "l1_mean_and_residue": Line(
        "distance: L1, SIGReg: of the mean and of what moves",
        ("objective.distance=l1", "objective.centre=none"),
        regularised(partial(OfParts, parts=mean_and_residue)),
    ),
    "differences": Line(
        "SIGReg: of differences in time", ("objective.centre=none",),
        regularised(partial(OfParts, parts=differences)),
    ),
    "half": Line(
        "masks: half of the tokens", ("masks=random", f"objective.masks.kinds=[{HALF}]")
    ),
    "clip": Line("targets: know the whole clip", ("objective.target_context=clip",)),
    "visible": Line("loss on visible tokens too, .5", ("objective.visible_weight=0.5",)),
}  # fmt: skip


Case = tuple[str, str, int]  # world, line, seed


def measure(case: Case, kept_in: Path, epochs: int, steps: int) -> Record:
    """Train once with a changed choice, and read out what was learned."""
    torch.set_num_threads(1)
    name, line, seed = case[0], LINES[case[1]], case[2]
    world = WORLDS[name]
    seen, validation, unseen = (
        world.videos(count, at, part=part, kept_in=kept_in)
        for count, at, part in (
            (VIDEOS, seed, "train"), (VALIDATION, seed, "validation"),
            (TEST, seed + 500, "validation"),
        )
    )  # fmt: skip
    torch.manual_seed(seed)
    chosen = settings(world, Training(name, RECIPE, seed, RATE, steps), line.words)
    model = build("model", chosen["model"])
    make = build("objective", chosen["objective"])

    def changed(sizes: Architecture) -> Objective:
        objective: MaskedTokens = make(sizes)
        if line.change is not None:
            line.change(objective)
        return objective

    found: dict[str, float] = {}
    if line.trained:
        found = train({**chosen, "objective": changed}, model, seen, seed)
    encoder: Encoder = model.encoder.eval()
    parts = [Clips.of(seen[:FIT], 0), Clips.of(validation, 1), Clips.of(unseen, 2)]
    return {
        "case": key(case, epochs, steps),
        **{sign: found[sign] for sign in ("collapsed", "feature_std") if sign in found},
        "read": read_out(world, of_encoder(encoder), parts, seed=seed, epochs=epochs),
    }  # fmt: skip


def key(case: Case, epochs: int = EPOCHS, steps: int = STEPS) -> str:
    """Names a case, and the settings that it was measured with, among the records."""
    return ".".join(map(str, (*case, steps, epochs)))


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--worlds", nargs="*", choices=SEEN_IN, default=[*SEEN_IN])
    parser.add_argument("--only", nargs="*", choices=[*LINES], default=[*LINES])
    parser.add_argument("--seeds", type=int, nargs="*", default=[*SEEDS])
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="another is only printed")
    parser.add_argument("--steps", type=int, default=STEPS, help="others are only printed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kept-in", type=Path, default=Path("runs/recipes"))
    words = parser.parse_args()
    file = words.kept_in / "tokens.jsonl"
    cases = [
        (world, line, seed)
        for seed, line, world in itertools.product(words.seeds, words.only, words.worlds)
    ]
    known = {record["case"]: record for record in read_records(file)}
    todo = [case for case in cases if key(case, words.epochs, words.steps) not in known]
    one = partial(measure, kept_in=words.kept_in, epochs=words.epochs, steps=words.steps)
    for record in measure_all(todo, one, kept_in=file, workers=words.workers):
        known[record["case"]] = record
        read = ", ".join(f"{k} {v:.3f}" for k, v in record["read"].items())
        print(f"{record['case']}: {read}", flush=True)
    write_table(known)


def write_table(known: Mapping[str, Record]) -> None:
    """Write docs/results/tokens.json: a cell for whatever was measured, its seeds in order."""
    found: dict[tuple[str, str], list[Mapping[str, float]]] = {}
    for world, line, seed in itertools.product(SEEN_IN, LINES, SEEDS):
        if (record := known.get(key((world, line, seed)))) is not None:
            found.setdefault((world, line), []).append(record["read"])
    numbers = list(dict.fromkeys((w, number) for (w, _), of in found.items() for number in of[0]))
    lines = [line for line in LINES if any((world, line) in found for world in SEEN_IN)]

    def cell(line: str, world: str, number: str) -> str:
        return " / ".join(f"{read[number]:.3f}" for read in found.get((world, line), ()))

    grid = Grid(
        "tokens", "python -m benchmarks.tokens",
        {"seeds": [*SEEDS], "rate": RATE, "steps": STEPS, "batch": BATCH, "videos": VIDEOS,
         "epochs": EPOCHS},
        ["", *(f"{world} {number}" for world, number in numbers)],
        [[LINES[line].says, *(cell(line, *column) for column in numbers)] for line in lines],
    )  # fmt: skip
    results.write(grid.to_json(device="cpu"), RESULTS / "tokens.json")


if __name__ == "__main__":
    main()
