"""How often the collapse alarm is wrong, on small pretrainings that learned and that collapsed.

python -m benchmarks.collapse_alarm              run what is missing, write the table
python -m benchmarks.collapse_alarm --seeds 1    run a part; the table is written once all are there

A disc moves over a plain ground, the same in all clips. Whether a run learned is told by something
that is not the alarm's: a linear read-out of the disc's position from its latents on held-out
clips, beside the same read-out of the same model untrained and of a constant (R² of 0). The
thresholds in `worldmodel.training.collapse` were chosen on the development seeds; the table counts
the report seeds. Each run's numbers are kept in a file of records, so that this can be interrupted.
"""

import argparse
import copy
import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from torch import Tensor, nn

from benchmarks.records import Record, measure_all, read_records
from benchmarks.table import origin
from worldmodel.architecture import Architecture
from worldmodel.checkpoint import load_own
from worldmodel.evaluation.statistics import wilson
from worldmodel.loading.in_memory import ClipDataset, MemoryVideo
from worldmodel.loading.sources import ClipSource
from worldmodel.nn.encoder import Encoder, VideoViT
from worldmodel.nn.heads import Head, time_step_latents
from worldmodel.objectives.masks import AllButOne, Future, MaskMixture, Tubes
from worldmodel.objectives.regularisers import NoRegulariser, Regulariser, SIGReg, VICReg
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.report import results
from worldmodel.runs.run import Run, read_log
from worldmodel.training import collapse
from worldmodel.training.optimisation import Optimisation
from worldmodel.training.pretrain import pretrain

DEVELOPMENT, REPORT = (1, 2, 11, 12), (21, 22)
"""Seeds: on the first the thresholds were chosen, the others are reported."""

SIZE, FRAMES, LENGTH, RADIUS = 32, 4, 8, 3.5  # pixels, frames of a clip and of a video, pixels
VIDEOS, HELD_OUT = 128, 64
WIDTH = 32  # of latents
LOG_EVERY = 10
NOISE = 0.1  # of latents whose standard deviation is 1
NUMBERS = ("feature_std", "effective_rank", "joint_rank", "mean_cosine")

MASKS = {
    "time": MaskMixture([AllButOne(), Future()], [0.9, 0.1]),
    "future": MaskMixture([Future()], [1]),
    "tubes": MaskMixture([Tubes(4, 0.15), Tubes(1, 0.5)], [1, 1]),
    "mixture": MaskMixture(
        [AllButOne(), Future(), Tubes(4, 0.15), Tubes(1, 0.5)], [0.5, 0.2, 0.15, 0.15], drop=0.1
    ),
}


@dataclass(frozen=True)
class Case:
    """One way to pretrain."""

    head: str  # `state` predicts a latent of each time step, `tokens` one of each token
    masks: str
    targets: Any
    regulariser: str
    weight: float = 10.0  # of SIGReg
    batch: int = 16
    learning_rate: float = 4e-3
    steps: int = 80
    patch: int = 16

    @property
    def name(self) -> str:
        """All that it differs in, in a word."""
        parts = [self.head, self.masks, self.targets, self.regulariser]
        parts += [f"weight{self.weight:g}"] if self.weight != 10 else []
        parts += [f"batch{self.batch}"] if self.batch != 16 else []
        parts += [f"rate{self.learning_rate:g}"] if self.learning_rate != 4e-3 else []
        parts += [f"steps{self.steps}"] if self.steps != 80 else []
        parts += [f"patch{self.patch}"] if self.patch != 16 else []
        return "-".join(parts)

    def architecture(self) -> Architecture:
        """The model, with new weights."""
        encoder = VideoViT(32, 2, heads=2, patch=self.patch)
        return Architecture(
            encoder=encoder, size=SIZE, latent_width=WIDTH, extra_width=WIDTH,
            latent_per_token=self.head == "tokens", predictor_width=64,
        )  # fmt: skip

    def objective(self) -> Callable[[Architecture], TimeSteps]:
        """What it minimises."""
        return partial(
            TimeSteps,
            masks=MASKS[self.masks],
            regulariser=self.penalty(),
            targets=self.targets,
            centre="none",
        )

    def penalty(self) -> Regulariser:
        """What keeps it from collapsing, if anything does."""
        if self.regulariser == "sigreg":
            return SIGReg(self.weight, num_slices=64)
        return VICReg() if self.regulariser == "vicreg" else NoRegulariser()


LONG: dict[str, Any] = {"learning_rate": 5e-3, "steps": 350, "patch": 8}
CASES = (
    Case("tokens", "tubes", "live", "none", batch=32, steps=400),
    Case("tokens", "future", "live", "none", **LONG),
    Case("tokens", "time", "live", "none", **LONG),
    Case("tokens", "mixture", "live", "none", **LONG),
    Case("tokens", "future", "live", "none", batch=8, **LONG),
    Case("tokens", "time", "live", "none", batch=8, **LONG),
    Case("tokens", "mixture", "live", "none", batch=8, **LONG),
    Case("state", "tubes", "live", "none", steps=200),
    Case("state", "future", "live", "none", learning_rate=5e-3, steps=200, patch=8),
    Case("tokens", "mixture", "live", "none"),
    Case("tokens", "tubes", "ema", "none"),
    Case("state", "tubes", "ema", "none"),
    Case("state", "mixture", "ema", "none"),
    Case("state", "mixture", "live", "sigreg"),
    Case("state", "time", "live", "sigreg", weight=3),
    Case("state", "time", "live", "vicreg"),
)


def discs(count: int, random: np.random.Generator) -> tuple[Tensor, np.ndarray]:
    """Videos of a disc that bounces, n t c h w uint8, and its places, n t 2 in pixels."""
    place = random.uniform(RADIUS, SIZE - RADIUS, (count, 2))
    angle = random.uniform(0, 2 * np.pi, count)
    velocity = random.uniform(0.5, 2.0, (count, 1)) * np.stack([np.cos(angle), np.sin(angle)], 1)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    frames, places = [], []
    for _ in range(LENGTH):
        x, y = place[:, 0, None, None], place[:, 1, None, None]
        distance = np.hypot(columns - x, rows - y)
        frames.append(120 + 135 * np.clip(RADIUS + 0.5 - distance, 0, 1))
        places.append(place)
        place = place + velocity
        velocity = np.where((place < RADIUS) | (place > SIZE - RADIUS), -velocity, velocity)
    grey = torch.from_numpy(np.stack(frames, 1).astype(np.uint8))
    return grey[:, :, None].expand(-1, -1, 3, -1, -1).contiguous(), np.stack(places, 1)


class Discs(ClipSource):
    """Videos in memory, as something to pretrain on."""

    def __init__(self, frames: Tensor) -> None:
        self.frames = frames

    def open(self, *, size: int, num_frames: int, **_: Any) -> ClipDataset:
        """Clips of them."""
        times = torch.arange(LENGTH) / 10
        videos = [MemoryVideo(f"disc {i}", frames, times) for i, frames in enumerate(self.frames)]
        return ClipDataset(videos, num_frames=num_frames, stride=1, size=size, epochs=True)


@torch.inference_mode()
def readout(encoder: Encoder, head: Head, data: Sequence[tuple[Tensor, np.ndarray]]) -> float:
    """R² of the disc's place on held-out clips, read from what is predicted of each time step.

    The penalty of the ridge regression counts what is below a tenth of a unit as noise.
    """
    parts = []
    for frames, places in data:
        latents = time_step_latents(encoder, head, frames.float() / 255)[..., : head.dim]
        steps = places.reshape(len(places), latents.shape[1], -1, 2).mean(2)
        parts.append((latents.flatten(2).flatten(0, 1).double().numpy(), steps.reshape(-1, 2)))
    (x, y), (unseen, truth) = parts
    model = Ridge(NOISE**2 * len(x)).fit(x, y)
    return float(r2_score(truth, model.predict(unseen)))


def measure(chosen: tuple[Case, int]) -> Record:
    """Pretrain once; signs of collapse, and what can be read from the latents before and after."""
    torch.set_num_threads(1)
    case, seed = chosen
    random = np.random.default_rng(seed)
    data = [discs(VIDEOS, random), discs(HELD_OUT, random)]
    torch.manual_seed(seed)
    model = case.architecture()
    untrained = copy.deepcopy(model.encoder), model.head()
    for part in untrained[1].modules():  # its batch statistics are taken from the videos at once
        if isinstance(part, nn.BatchNorm1d):
            part.momentum = 1.0
    with torch.no_grad():
        time_step_latents(*untrained, data[0][0].float() / 255)
    for network in untrained:
        network.eval()
    with tempfile.TemporaryDirectory() as folder:
        run = Run.open(Path(folder) / "run", verb="pretrain", config={}, seed=seed)
        pretrain(
            run, data=Discs(data[0][0]), model=model, objective=case.objective(),
            batch=case.batch, num_frames=FRAMES,
            optimisation=Optimisation(
                case.steps, learning_rate=case.learning_rate, log_every=LOG_EVERY
            ),
        )  # fmt: skip
        run.close()
        log, trained = read_log(run.folder), load_own(run.folder)
    assert trained.head is not None
    clips = data[1][0][:, :FRAMES].float() / 255
    with torch.inference_mode():
        latents = time_step_latents(trained.encoder, trained.head, clips)[..., : trained.head.dim]
    end = collapse.diagnose(rearrange(latents, "b t m d -> t m b d")).numbers()
    return {
        "case": case.name, "seed": seed, "untrained": readout(*untrained, data),
        "trained": readout(trained.encoder, trained.head, data),
        "log": [{name: line[name] for name in NUMBERS} for line in log],
        "end": {name: end[name] for name in NUMBERS},
    }  # fmt: skip


def outcome(record: Record) -> str:
    """`learned` where the disc is clearly better than untrained, `collapsed`, or `between`."""
    if record["trained"] > record["untrained"] + 0.05:
        return "learned"
    return "collapsed" if record["trained"] < record["untrained"] * 2 / 3 else "between"


def raises(numbers: Mapping[str, float], batch: int) -> bool:
    """True where these numbers raise the alarm in a batch of so many clips."""
    told = {name: numbers[name] for name in NUMBERS}
    return collapse.alarm(**told, most=WIDTH, most_joint=batch - 1) is not None


def alarms(record: Record) -> list[bool]:
    """True for the logged steps of a run that raised the alarm."""
    batch = {case.name: case.batch for case in CASES}[record["case"]]
    return [raises(numbers, batch) for numbers in record["log"]]


def rows(name: str, records: Sequence[Record], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The rates of wrong alarms and of missed collapses among the records of some seeds."""
    chosen = [record for record in records if record["seed"] in seeds]
    learned = [record for record in chosen if outcome(record) == "learned"]
    collapsed = [record for record in chosen if outcome(record) == "collapsed"]
    found = {
        "false_alarm.at_the_end": [raises(record["end"], HELD_OUT) for record in learned],
        "false_alarm.at_any_step": [any(alarms(record)) for record in learned],
        "false_alarm.of_all_steps": [told for record in learned for told in alarms(record)],
        "missed.at_the_end": [not raises(record["end"], HELD_OUT) for record in collapsed],
        "missed.at_every_step": [not any(alarms(record)) for record in collapsed],
        "neither_learned_nor_collapsed": [outcome(record) == "between" for record in chosen],
    }
    written = []
    for key, told in found.items():
        rate = wilson(sum(told), len(told))
        written.append(
            {"key": f"{name}.{key}", "value": rate.value, "n": len(told), "low": rate.low,
             "high": rate.high, "seeds": list(seeds)}
        )  # fmt: skip
    return written


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, nargs="*", default=[*REPORT])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--records", type=Path, default=Path("runs/collapse-alarm.jsonl"))
    words = parser.parse_args()
    records = read_records(words.records)
    done = {(record["case"], record["seed"]) for record in records}
    todo = [x for x in itertools.product(CASES, words.seeds) if (x[0].name, x[1]) not in done]
    records += measure_all(todo, measure, kept_in=words.records, workers=words.workers)
    for record in records:
        told = "alarm" if raises(record["end"], HELD_OUT) else "no alarm"
        r2 = f"{record['untrained']:.2f} untrained, {record['trained']:.2f} trained"
        print(f"{record['case']} seed {record['seed']}: R2 {r2}: {outcome(record)}, {told}")
    if sum(record["seed"] in REPORT for record in records) == len(CASES) * len(REPORT):
        write_table(records)


def write_table(records: Sequence[Record]) -> None:
    """Write docs/results/collapse-alarm.json."""
    table = {
        **origin("collapse-alarm", "python -m benchmarks.collapse_alarm"),
        "protocol": {
            "seeds": list(REPORT), "development_seeds": list(DEVELOPMENT),
            "cases": [case.name for case in CASES],
            "log_every": LOG_EVERY, "size": SIZE, "frames": FRAMES,
            "videos": VIDEOS, "held_out": HELD_OUT,
        },
        "rows": rows("report", records, REPORT),
    }  # fmt: skip
    results.write(table, Path(__file__).parents[1] / "docs/results/collapse-alarm.json")


if __name__ == "__main__":
    main()
