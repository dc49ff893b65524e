"""Which score orders trainings as a probe does, without labels?

python -m benchmarks.select                   run what is missing, write the table
python -m benchmarks.select --worlds own      run a part; the table is written once all are there

Short pretrainings that differ in learning rate, weight of SIGReg, masks and width, on two worlds
of `benchmarks/static_shortcut.py` in which a white disc moves over one plain ground, or over a
ground of its own in each video. Two probes, the R² of the disc's place on held-out videos by ridge
regression: from all tokens of a time step side by side, out of which on the plain ground even an
untrained network tells it, and from their mean. Scores see no place: the training loss, the same
over lambda to a power that is chosen on the other world, RankMe, LiDAR, and numbers of every run.
Each run's numbers are kept in a file of records, so that this can be interrupted.
"""

import argparse
import copy
import itertools
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from scipy.stats import rankdata
from sklearn.linear_model import RidgeCV
from torch import Generator, Tensor

from benchmarks.records import Record, measure_all, read_records
from benchmarks.static_shortcut import HELD_OUT, MASKS, SIZE, VIDEOS, Drawn, videos
from benchmarks.table import origin
from worldmodel.architecture import Architecture
from worldmodel.checkpoint import load_own
from worldmodel.evaluation.label_free import (
    ALPHA,
    lidar,
    loss_over_lambda,
    mean_tokens,
    rankme,
    spearman,
    views,
)
from worldmodel.nn.encoder import Encoder, VideoViT
from worldmodel.objectives.masks import AllButOne, Future, MaskMixture, Tubes
from worldmodel.objectives.regularisers import SIGReg
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.report import results
from worldmodel.runs.run import Run, read_log
from worldmodel.training.loop import Optimisation
from worldmodel.training.pretrain import pretrain

WORLDS = ("plain", "own")
SEEDS = (1,)
STEPS, BATCH, NUM_FRAMES = 200, 32, 4
LAST = 0.1  # share of the log whose mean is the training loss
PROBES = ("tokens", "mean")  # all tokens of a time step side by side, or their mean
PROBED = 250  # videos that a probe is fitted on
VIEWS = 8
ALPHAS = tuple(round(0.05 * i, 2) for i in range(31))  # 0 to 1.5
RESAMPLES = 1000
BAR = 0.90

RATES = (5e-4, 2e-3, 6e-3)
WEIGHTS = (0.5, 2.0, 8.0, 30.0)
HIDDEN = {
    "time_steps": MaskMixture([AllButOne(), Future()], [0.9, 0.1]),
    "tubes": MaskMixture([Tubes(4, 0.15), Tubes(1, 0.5)], [1, 1]),
    "mixture": MASKS,
}
WIDTHS = (64, 128)
RUNS = 32  # of the 72 combinations, the same on both worlds


@dataclass(frozen=True)
class Case:
    """One training."""

    world: str
    rate: float
    weight: float
    masks: str
    width: int
    seed: int

    @property
    def name(self) -> str:
        """Names it among the records."""
        return f"{self.world}.{self.rate:g}.{self.weight:g}.{self.masks}.{self.width}.{self.seed}"


def cases(worlds: Sequence[str], seeds: Sequence[int]) -> list[Case]:
    """All trainings: `RUNS` combinations, drawn once, on every world."""
    every = list(itertools.product(RATES, WEIGHTS, HIDDEN, WIDTHS))
    drawn = np.random.default_rng(0).permutation(len(every))[:RUNS]
    return [
        Case(world, *every[number], seed)
        for seed, number, world in itertools.product(seeds, drawn, worlds)
    ]


@torch.inference_mode()
def label_free(encoder: Encoder, frames: Tensor, seed: int) -> dict[str, float]:
    """RankMe and LiDAR on clips n t c h w, uint8."""
    generator, steps, seen = Generator().manual_seed(seed), [], []
    for part in frames.split(50):
        clips = part.float() / 255
        steps.append(mean_tokens(encoder, clips))
        seen.append(views(encoder, clips, count=VIEWS, generator=generator))
    return {"rankme": rankme(torch.cat(steps).flatten(0, 1)), "lidar": lidar(torch.cat(seen))}


@torch.inference_mode()
def probes(encoder: Encoder, data: Sequence[tuple[Tensor, np.ndarray]]) -> dict[str, float]:
    """R² of the disc's place on held-out videos, from the tokens of each time step."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in PROBES}
    truth = []
    for frames, places in data:
        parts = [encoder(part.float() / 255) for part in frames[:PROBED, :16].split(50)]
        tokens = rearrange(torch.cat(parts), "n (t m) d -> (n t) m d", t=8).numpy()
        found["tokens"].append(tokens.reshape(len(tokens), -1))
        found["mean"].append(tokens.mean(1))
        truth.append(rearrange(places[:PROBED, :16], "n (t i) x -> (n t) i x", i=2).mean(1))
    scores = {}
    for name, (seen, unseen) in found.items():
        mean, scale = seen.mean(0), seen.std(0) + 1e-6
        ridge = RidgeCV(alphas=(1, 10, 100, 1000, 10000)).fit((seen - mean) / scale, truth[0])
        scores[name] = float(ridge.score((unseen - mean) / scale, truth[1]))
    return scores


def measure(case: Case) -> Record:
    """Pretrain once; the probe, and every score."""
    torch.set_num_threads(1)
    begun = time.process_time()
    random = np.random.default_rng(case.seed)
    data = [videos(case.world, count, random, None) for count in (VIDEOS, HELD_OUT)]
    torch.manual_seed(case.seed)
    encoder = VideoViT(case.width, 4, heads=4, patch=16)
    model = Architecture(encoder=encoder, size=SIZE)
    untrained = copy.deepcopy(encoder).eval()
    regulariser = SIGReg(case.weight, num_slices=256, seed=case.seed)
    objective = partial(TimeSteps, masks=HIDDEN[case.masks], regulariser=regulariser)
    with tempfile.TemporaryDirectory() as temporary:
        run = Run.open(Path(temporary) / "run", verb="pretrain", config={}, seed=case.seed)
        found = pretrain(
            run, data=Drawn(data[0][0], 4), model=model, objective=objective, batch=BATCH,
            optimisation=Optimisation(STEPS, learning_rate=case.rate), num_frames=NUM_FRAMES,
        )  # fmt: skip
        run.close()
        trained, log = load_own(run.folder).eval(), read_log(run.folder)
    last = log[-max(round(len(log) * LAST), 1) :]
    clips = rearrange(data[1][0][:, : 4 * NUM_FRAMES], "n (k t) c h w -> (n k) t c h w", k=4)
    return {
        "case": case.name, "world": case.world, "seed": case.seed, "weight": case.weight,
        "probe": probes(trained.encoder, data), "untrained": probes(untrained, data),
        "loss": float(np.mean([line["loss"] for line in last])),
        "prediction": float(np.mean([line["loss.prediction"] for line in last])),
        **label_free(trained.encoder, clips[::2], case.seed),
        "effective_rank": found["effective_rank"],
        "over_copying": found["prediction_over_copying"],
        "collapsed": found["collapsed"],
        "seconds": time.process_time() - begun,  # of one thread
    }  # fmt: skip


def over_lambda(record: Record, alpha: float) -> float:
    """Loss over lambda to the power alpha, with the sign that makes high good."""
    return -loss_over_lambda(record["loss"], weight=record["weight"], batch=BATCH, alpha=alpha)


SCORES: dict[str, Callable[[Record], float]] = {  # high is good
    "loss": lambda record: -record["loss"],
    "prediction": lambda record: -record["prediction"],
    "rankme": lambda record: record["rankme"],
    "lidar": lambda record: record["lidar"],
    "effective_rank": lambda record: record["effective_rank"],
    "over_copying": lambda record: -record["over_copying"],
    f"loss_over_lambda_{ALPHA}": partial(over_lambda, alpha=ALPHA),
}


def correlation(records: Sequence[Record], probe: str, score: Callable[[Record], float]) -> float:
    """Spearman's correlation of a score with a probe."""
    return spearman([score(r) for r in records], [r["probe"][probe] for r in records])


def best_alpha(records: Sequence[Record], probe: str) -> float:
    """The power of lambda with the highest correlation; the smallest of several."""
    return max(
        ALPHAS, key=lambda alpha: correlation(records, probe, partial(over_lambda, alpha=alpha))
    )


def _or_lowest(value: float) -> float:
    """A number that exists, for comparing."""
    return value if math.isfinite(value) else -math.inf


def row(
    key: str, records: Sequence[Record], probe: str, score: Callable[[Record], float]
) -> dict[str, Any]:
    """A correlation with its 95 % interval, resampling runs."""
    value = correlation(records, probe, score)
    found: dict[str, Any] = {"key": key, "value": value, "n": len(records)}
    if not math.isfinite(value):  # it is the same for all runs, or missing in one
        return found | {"value": None}
    draws = np.random.default_rng(0).integers(len(records), size=(RESAMPLES, len(records)))
    x, y = (
        rankdata(np.array(values)[draws], axis=1)
        for values in ([score(r) for r in records], [r["probe"][probe] for r in records])
    )
    x, y = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (x, y))
    spread = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    varied = spread > 0  # a draw of one run again and again says nothing
    low, high = np.quantile((x * y).sum(axis=1)[varied] / spread[varied], [0.025, 0.975])
    return found | {"low": float(low), "high": float(high)}


def rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """For each world and probe every score's correlation; choices are made on the other world."""
    written = []
    for (world, other), probe in itertools.product((WORLDS, WORLDS[::-1]), PROBES):
        here, there = ([r for r in records if r["world"] == name] for name in (world, other))
        key, alpha = f"{world}.{probe}", best_alpha(there, probe)
        scores = {**SCORES, "loss_over_lambda": partial(over_lambda, alpha=alpha)}
        for name, score in scores.items():
            found = row(f"{key}.{name}", here, probe, score)
            written.append(found | ({"alpha": alpha} if name == "loss_over_lambda" else {}))
        best = max(scores, key=lambda name: _or_lowest(correlation(there, probe, scores[name])))
        written.append(
            row(f"{key}.best", here, probe, scores[best])
            | {"which": best, "bar": BAR, "at_least": True}
        )
        found_r2 = np.array([r["probe"][probe] for r in here])
        for name, value in (
            ("lowest", found_r2.min()), ("median", np.median(found_r2)),
            ("highest", found_r2.max()),
            ("untrained", np.mean([r["untrained"][probe] for r in here])),
        ):  # fmt: skip
            written.append({"key": f"{key}.r2_{name}", "value": float(value), "n": len(here)})
    return written


def main() -> None:
    """Run what is missing; with all there, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--worlds", nargs="*", choices=WORLDS, default=[*WORLDS])
    parser.add_argument("--seeds", type=int, nargs="*", default=[*SEEDS])
    parser.add_argument("--limit", type=int, help="trainings, at most, for a look")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--records", type=Path, default=Path("runs/select.jsonl"))
    words = parser.parse_args()
    records = read_records(words.records)
    done = {record["case"] for record in records}
    todo = [case for case in cases(words.worlds, words.seeds) if case.name not in done]
    todo = todo[: words.limit]
    for record in measure_all(todo, measure, kept_in=words.records, workers=words.workers):
        records.append(record)
        taken = {k: record[k] for k in ("loss", "rankme", "lidar", "seconds")}
        taken |= {f"{k}_r2": value for k, value in record["probe"].items()}
        numbers = " ".join(f"{k} {value:.3g}" for k, value in taken.items())
        print(f"{record['case']}: {numbers}", flush=True)
    wanted = {case.name for case in cases(WORLDS, words.seeds)}
    kept = [record for record in records if record["case"] in wanted]
    missing = len(wanted) - len(kept)
    if missing:
        print(f"{missing} of {len(wanted)} trainings are missing: no table is written")
        return
    write_table(kept, words.seeds)


def write_table(records: Sequence[Record], seeds: Sequence[int]) -> None:
    """Write docs/results/select.json."""
    table = {
        **origin("select", "python -m benchmarks.select"),
        "protocol": {
            "seeds": list(seeds), "rates": RATES, "weights": WEIGHTS, "masks": list(HIDDEN),
            "widths": WIDTHS, "runs_per_world": RUNS, "steps": STEPS, "batch": BATCH,
            "num_frames": NUM_FRAMES, "videos": VIDEOS, "held_out": HELD_OUT, "views": VIEWS,
            "resamples": RESAMPLES,
        },
        "rows": rows(records),
    }  # fmt: skip
    results.write(table, Path(__file__).parents[1] / "docs/results/select.json")


if __name__ == "__main__":
    main()
