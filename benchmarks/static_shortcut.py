"""What is learned of a thing that moves, by what else a video shows; and how often the alarm errs.

python -m benchmarks.static_shortcut --videos FOLDER    run what is missing, write the table
python -m benchmarks.static_shortcut --worlds own       run a part

A white disc moves over a ground: one plain ground for all videos, a ground of its own in each, the
same seen by a camera that moves, with a second mover, under light that flickers, and over real
videos from a folder. Its place is read out by ridge regression from all tokens of a time step and
from its state, on held-out videos, beside the same network untrained. Every case is one short
training; each one's numbers are kept in a file of records, so that this can be interrupted.
"""

import argparse
import copy
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from sklearn.linear_model import RidgeCV
from torch import Tensor

from benchmarks.records import Record, measure_all, read_records
from benchmarks.table import Grid, origin
from worldmodel.architecture import Architecture
from worldmodel.checkpoint import load_own
from worldmodel.evaluation.statistics import wilson
from worldmodel.loading.in_memory import ClipDataset, MemoryVideo
from worldmodel.loading.sources import ClipSource
from worldmodel.nn.encoder import Encoder
from worldmodel.nn.heads import Head, time_step_latents
from worldmodel.objectives.centre import Centre
from worldmodel.objectives.masks import AllButOne, Future, MaskMixture, Tubes
from worldmodel.objectives.regularisers import Regulariser, SIGReg, VICReg
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.report import results
from worldmodel.runs.run import Run
from worldmodel.training.optimisation import Optimisation
from worldmodel.training.pretrain import pretrain
from worldmodel.video.clip import VideoReader

DEVELOPMENT, REPORT = (1, 21), (22, 23, 24)
"""Seeds: on the first the settings and the rule of `outcome` were chosen."""

SIZE, LENGTH, RADIUS = 64, 20, 6  # pixels, frames, pixels
VIDEOS, HELD_OUT = 500, 200
STEPS = 600
WORLDS = ("plain", "own", "camera", "two", "flicker", "real")
WAYS: tuple[tuple[Centre, str], ...] = (
    ("none", "sigreg"), ("clip", "sigreg"), ("episode", "sigreg"), ("episode", "vicreg"),
)  # fmt: skip
MASKS = MaskMixture(  # those of pretraining by default
    [AllButOne(), Future(), Tubes(4, 0.15), Tubes(1, 0.5)], [0.5, 0.2, 0.15, 0.15], drop=0.1
)


@dataclass(frozen=True)
class Case:
    """One training."""

    world: str
    centre: Centre
    regulariser: str
    seed: int

    @property
    def name(self) -> str:
        """What it is a row of."""
        return f"{self.world}.{self.centre}.{self.regulariser}"

    def penalty(self) -> Regulariser:
        """What keeps its latents from collapsing."""
        if self.regulariser == "vicreg":
            return VICReg()
        return SIGReg(3.0, num_slices=256, seed=self.seed)


def path_of(random: np.random.Generator) -> np.ndarray:
    """The places of a mover that bounces: t 2, x y in pixels."""
    place, angle = random.uniform(10, SIZE - 10, 2), random.uniform(0, 2 * np.pi)
    velocity = random.uniform(0.8, 2.0) * np.array([np.cos(angle), np.sin(angle)])
    places = []
    for _ in range(LENGTH):
        places.append(place)
        place = place + velocity
        velocity = np.where((place < 8) | (place > SIZE - 8), -velocity, velocity)
        place = place.clip(8, SIZE - 8)
    return np.stack(places)


def grounds(world: str, random: np.random.Generator, real: np.ndarray | None) -> np.ndarray:
    """What is behind the disc: t h w c, uint8."""
    if world == "plain":
        return np.full((LENGTH, SIZE, SIZE, 3), 120, np.uint8)
    if real is not None:
        return real[random.integers(len(real))].copy()
    side = SIZE + 32
    blocks = random.integers(0, 256, (side // 8, side // 8, 3)).astype(np.uint8)
    wide = blocks.repeat(8, 0).repeat(8, 1)
    drift = random.uniform(-1.5, 1.5, 2) if world == "camera" else np.zeros(2)
    corners = 16 + np.round((np.arange(LENGTH)[:, None] * drift).clip(-15, 15)).astype(int)
    return np.stack([wide[y : y + SIZE, x : x + SIZE] for x, y in corners])


def videos(
    world: str, count: int, random: np.random.Generator, real: np.ndarray | None
) -> tuple[Tensor, np.ndarray]:
    """Videos n t c h w, uint8, and the disc's places, n t 2 in pixels."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    shown, places = [], []
    for _ in range(count):
        frames, place = grounds(world, random, real), path_of(random)
        other = path_of(random) if world == "two" else None
        light = random.uniform(0.6, 1.0, LENGTH) if world == "flicker" else np.ones(LENGTH)
        for t, frame in enumerate(frames):
            for centre, colour in ((None if other is None else other[t], 0), (place[t], 255)):
                if centre is not None:
                    near = (columns - centre[0]) ** 2 + (rows - centre[1]) ** 2 <= RADIUS**2
                    frame[near] = colour
            frames[t] = (frame * light[t]).astype(np.uint8)
        shown.append(frames)
        places.append(place)
    return torch.from_numpy(np.stack(shown)).movedim(-1, 2).contiguous(), np.stack(places)


def real_parts(folder: Path, held_out: bool) -> np.ndarray:
    """Parts of the real videos in a folder, n t h w c uint8; held-out ones are of other videos."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".mp4", ".avi", ".webm"))
    parts = []
    for path in files[::2] if held_out else files[1::2]:
        reader = VideoReader(path)
        for start in np.linspace(0, max(reader.num_frames - LENGTH - 1, 0), 12).astype(int):
            if reader.num_frames <= LENGTH:
                continue
            frames = reader.read(np.arange(start, start + LENGTH)).float()
            side = min(frames.shape[-2:])
            square = frames[..., :side, :side]
            small = torch.nn.functional.interpolate(square, size=SIZE, mode="area")
            parts.append(small.round().byte().movedim(1, -1).numpy())
        reader.close()
    return np.stack(parts)


class Drawn(ClipSource):
    """Videos in memory, as something to pretrain on."""

    def __init__(self, frames: Tensor, clips_per_video: int) -> None:
        self.frames, self.clips_per_video = frames, clips_per_video

    def open(self, *, size: int, num_frames: int, **_: Any) -> ClipDataset:
        """Clips of them."""
        times = torch.arange(LENGTH) / 10
        sources = [MemoryVideo(f"video {i}", frames, times) for i, frames in enumerate(self.frames)]
        return ClipDataset(
            sources, num_frames=num_frames, stride=1, size=size, flip=True, epochs=True,
            clips_per_video=self.clips_per_video,
        )  # fmt: skip


@torch.inference_mode()
def features(encoder: Encoder, head: Head, frames: Tensor) -> dict[str, np.ndarray]:
    """The tokens of each time step side by side, and its state: n t d each."""
    tokens, states = [], []
    for part in frames[:, :16].split(50):
        clips = part.float() / 255
        tokens.append(rearrange(encoder(clips), "b (t n) d -> b t (n d)", t=8))
        states.append(time_step_latents(encoder, head, clips)[:, :, 0])
    return {"tokens": torch.cat(tokens).numpy(), "states": torch.cat(states).numpy()}


def readout(
    encoder: Encoder, head: Head, data: Sequence[tuple[Tensor, np.ndarray]]
) -> dict[str, float]:
    """R² of the disc's place on held-out videos."""
    found = {}
    (seen, places), (unseen, truth) = (
        (features(encoder, head, frames), rearrange(where[:, :16], "n (t i) x -> n t i x", i=2))
        for frames, where in data
    )
    y, z = (part.mean(2).reshape(-1, 2) for part in (places, truth))
    for name in seen:
        mean, scale = seen[name].mean((0, 1)), seen[name].std((0, 1)) + 1e-6
        a, b = (((x[name] - mean) / scale).reshape(len(p), -1) for x, p in ((seen, y), (unseen, z)))
        found[name] = float(RidgeCV(alphas=(1, 10, 100, 1000, 10000)).fit(a, y).score(b, z))
    return found


def measure(case: Case, folder: Path | None) -> Record:
    """Pretrain once; what can be read from the tokens and states, before and after."""
    torch.set_num_threads(1)
    random = np.random.default_rng(case.seed)
    data = []
    for count, held_out in ((VIDEOS, False), (HELD_OUT, True)):
        real = real_parts(folder, held_out) if case.world == "real" and folder else None
        data.append(videos(case.world, count, random, real))
    torch.manual_seed(case.seed)
    model = Architecture()
    untrained = copy.deepcopy(model.encoder), model.head()
    with torch.no_grad():
        time_step_latents(*untrained, data[0][0][:100, :16].float() / 255)
    for network in untrained:
        network.eval()
    objective = partial(TimeSteps, masks=MASKS, regulariser=case.penalty(), centre=case.centre)
    with tempfile.TemporaryDirectory() as temporary:
        run = Run.open(Path(temporary) / "run", verb="pretrain", config={}, seed=case.seed)
        found = pretrain(
            run, data=Drawn(data[0][0], 4 if case.centre == "episode" else 1), model=model,
            objective=objective, optimisation=Optimisation(STEPS, learning_rate=2e-3),
        )  # fmt: skip
        run.close()
        trained = load_own(run.folder)
    assert trained.head is not None
    taken = ("between_clips", "copy_error", "prediction_over_copying", "static_shortcut")
    return {
        "case": case.name, "seed": case.seed,
        "untrained": readout(*untrained, data),
        "trained": readout(trained.encoder, trained.head, data),
        **{name: found[name] for name in (*taken, "collapsed", "feature_std", "effective_rank")},
    }  # fmt: skip


def outcome(record: Record) -> str:
    """`learned` where the tokens tell the disc's place, `shortcut` where training hid it."""
    before, after = record["untrained"]["tokens"], record["trained"]["tokens"]
    return "learned" if after > 0.7 else "shortcut" if after < before else "between"


def rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """A row for each number of each case, over its seeds, and the alarm's error rates."""
    written = []
    for name in dict.fromkeys(record["case"] for record in records):
        chosen = [record for record in records if record["case"] == name]
        found = {
            **{f"{k}_r2": [r["trained"][k] for r in chosen] for k in ("tokens", "states")},
            **{f"{k}_untrained": [r["untrained"][k] for r in chosen] for k in ("tokens", "states")},
            **{k: [r[k] for r in chosen] for k in ("between_clips", "prediction_over_copying")},
        }
        for key, values in found.items():
            written.append(
                {"key": f"{name}.{key}", "value": float(np.mean(values)), "n": len(values),
                 "seeds": [r["seed"] for r in chosen], "per_seed": values}
            )  # fmt: skip
    told = {
        "alarm.false": [r["static_shortcut"] > 0 for r in records if outcome(r) == "learned"],
        "alarm.missed": [r["static_shortcut"] == 0 for r in records if outcome(r) == "shortcut"],
        "alarm.neither": [outcome(r) == "between" for r in records],
    }
    for key, wrong in told.items():
        rate = wilson(sum(wrong), len(wrong))
        written.append(
            {"key": key, "value": rate.value, "n": len(wrong), "low": rate.low, "high": rate.high}
        )
    return written


def overview(records: Sequence[Record]) -> list[list[str]]:
    """A line for each world, a cell for each way of learning: R² from tokens and from states.

    Means over seeds; each with an alarm where one rang in half of the seeds at least.
    """
    lines = []
    for world in dict.fromkeys(record["case"].split(".")[0] for record in records):
        mine = [record for record in records if record["case"].split(".")[0] == world]
        untrained = _both([record["untrained"] for record in mine])
        cells = []
        for centre, regulariser in WAYS:
            chosen = [r for r in mine if r["case"] == f"{world}.{centre}.{regulariser}"]
            rang = 2 * sum(r["static_shortcut"] > 0 for r in chosen) >= len(chosen)
            cell = _both([record["trained"] for record in chosen]) if chosen else ""
            cells.append(f"{cell}, alarm" if chosen and rang else cell)
        lines.append([world, untrained, *cells])
    return lines


def _both(read: Sequence[dict[str, float]]) -> str:
    return " / ".join(f"{np.mean([one[k] for one in read]):.3f}" for k in ("tokens", "states"))


def main() -> None:
    """Run what is missing and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--videos", type=Path, help="real videos, for the world `real`")
    parser.add_argument("--worlds", nargs="*", choices=WORLDS, default=[*WORLDS])
    parser.add_argument("--seeds", type=int, nargs="*", default=[*REPORT])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--records", type=Path, default=Path("runs/static-shortcut.jsonl"))
    words = parser.parse_args()
    if "real" in words.worlds and words.videos is None:
        parser.error("the world `real` needs --videos FOLDER; or name others with --worlds")
    records = read_records(words.records)
    done = {(record["case"], record["seed"]) for record in records}
    cases = [
        Case(world, *way, seed)
        for seed, way, world in itertools.product(words.seeds, WAYS, words.worlds)
    ]
    todo = [case for case in cases if (case.name, case.seed) not in done]
    one = partial(measure, folder=words.videos)
    for record in measure_all(todo, one, kept_in=words.records, workers=words.workers):
        records.append(record)
        r2 = " ".join(
            f"{k} {record['untrained'][k]:.3f} -> {v:.3f}" for k, v in record["trained"].items()
        )
        alarm = "alarm" if record["static_shortcut"] else "no alarm"
        print(f"{record['case']} seed {record['seed']}: {r2}: {outcome(record)}, {alarm}")
    write_table([record for record in records if record["seed"] in words.seeds], words.seeds)


def write_table(records: Sequence[Record], seeds: Sequence[int]) -> None:
    """Write docs/results/static-shortcut.json, and its overview."""
    command = "python -m benchmarks.static_shortcut --videos FOLDER"
    if list(seeds) != list(REPORT):
        command += f" --seeds {' '.join(map(str, seeds))}"
    table = {
        **origin("static-shortcut", command),
        "protocol": {
            "seeds": list(seeds), "development_seeds": list(DEVELOPMENT), "steps": STEPS,
            "videos": VIDEOS, "held_out": HELD_OUT, "size": SIZE, "length": LENGTH,
        },
        "rows": rows(records),
    }  # fmt: skip
    folder = Path(__file__).parents[1] / "docs/results"
    results.write(table, folder / "static-shortcut.json")
    columns = ["", "untrained", *(f"{centre}, {regulariser}" for centre, regulariser in WAYS)]
    grid = Grid(
        "static-shortcut-overview", command, {"seeds": list(seeds)}, columns, overview(records)
    )
    results.write(grid.to_json(device="cpu"), folder / "static-shortcut-overview.json")


if __name__ == "__main__":
    main()
