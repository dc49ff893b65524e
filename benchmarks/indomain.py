"""Is a short pretraining on a world's own videos worth more than a long one on others?

python -m benchmarks.indomain                run what is missing, write the table
python -m benchmarks.indomain --seeds 22     a part

LeJEPA's third claim (arXiv:2511.08544, section 6), small: `tube_sigreg` on 2,000 videos of moving
digits, against ten times as many steps on as many videos of two other worlds, against no
pretraining. Each then learns the digit and its direction from 1, 10 and 100 % of the labels, by an
attentive pooler alone (frozen) or with the encoder (fine-tuned), and is tested on digit images that
nothing has shown. Every start's numbers are kept, so that this can be interrupted.
"""

import argparse
import copy
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from benchmarks.readouts import FRAMES, Clips
from benchmarks.recipe_rows import interval, overview
from benchmarks.recipes import RESULTS, chosen_rate
from benchmarks.records import Record, measure_all, read_records
from benchmarks.table import Grid, origin
from benchmarks.worlds import WORLDS
from benchmarks.worlds.videos import InMemory, Videos
from worldmodel.cli.compose import settle
from worldmodel.cli.runner import build
from worldmodel.nn.classifier import AttentiveClassifier
from worldmodel.nn.encoder import Encoder
from worldmodel.report import results
from worldmodel.runs.run import Run
from worldmodel.training.pretrain import pretrain

SEEDS = (22, 23, 24)
TARGET, OTHERS = "digits", ("tworoom", "solids")
VIDEOS, TEST = 2000, 600
STEPS, TIMES_LONGER = 200, 10
RECIPE = "tube_sigreg"
BATCH = 48
STARTS = ("untrained", "others", "own")
SHARES = (0.01, 0.1, 1.0)
CLASSES = {"digit": 10, "direction": 8}
LABELLED_STEPS, EPOCHS, LABELLED_RATE = 150, 10, 5e-4  # at least, and of all labels


@dataclass(frozen=True)
class Case:
    """An encoder, and all that is made of it."""

    start: str
    seed: int
    rate: float  # of the pretraining


def videos_of(start: str, seed: int, kept_in: Path) -> Videos:
    """What it is pretrained on, of one size and length: `VIDEOS` of them."""
    if start == "own":
        return WORLDS[TARGET].videos(VIDEOS, seed, part="train", kept_in=kept_in)
    each = VIDEOS // len(OTHERS)
    found = [WORLDS[name].videos(each, seed, part="train", kept_in=kept_in) for name in OTHERS]
    shortest, size = min(v.frames.shape[1] for v in found), WORLDS[TARGET].size
    return Videos(torch.cat([_resized(v.frames[:, :shortest], size) for v in found]), {})


def _resized(frames: Tensor, size: int) -> Tensor:
    flat = [F.interpolate(video.float(), size=size, mode="area") for video in frames]
    return torch.stack(flat).round().byte()


def pretrained(case: Case, kept_in: Path) -> Encoder:
    """The encoder that all labels are learned with."""
    world = WORLDS[TARGET]
    steps = STEPS * (TIMES_LONGER if case.start == "others" else 1)
    chosen = settle(
        "pretrain",
        [
            f"recipe={RECIPE}", "transforms=plain", "data.path=.", f"model.size={world.size}",
            f"model.encoder.patch={world.patch}", f"num_frames={FRAMES}", f"batch={BATCH}",
            f"optimisation.steps={steps}", f"optimisation.learning_rate={case.rate}",
        ],
    )  # fmt: skip
    torch.manual_seed(case.seed)
    model = build("model", chosen["model"])
    encoder: Encoder = model.encoder
    if case.start == "untrained":
        return encoder
    videos = videos_of(case.start, case.seed, kept_in)
    with tempfile.TemporaryDirectory() as temporary:
        run = Run.open(Path(temporary) / "run", verb="pretrain", config={}, seed=case.seed)
        pretrain(
            run, data=InMemory(videos, chosen["data"]["clips_per_video"]), model=model,
            objective=build("objective", chosen["objective"]),
            optimisation=replace(build("optimisation", chosen["optimisation"]), save_seconds=1e9),
            num_frames=FRAMES, batch=BATCH,
        )  # fmt: skip
        run.close()
    return encoder


class Classifier(nn.Module):
    """An encoder and a pooler over its tokens: clips to scores of all classes side by side."""

    def __init__(self, encoder: Encoder, *, frozen: bool) -> None:
        super().__init__()
        self.encoder, self.frozen = encoder.requires_grad_(not frozen), frozen
        self.pooler = AttentiveClassifier(
            encoder.width, sum(CLASSES.values()), heads=4, depth=0, labels=None
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Frames b t c h w in [0, 1] -> scores b classes."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            tokens = self.encoder(frames)
        scores: Tensor = self.pooler(tokens)
        return scores


def learn(encoder: Encoder, clips: Clips, *, share: float, frozen: bool, seed: int) -> Classifier:
    """Learn the labels of a share of the clips."""
    torch.manual_seed(seed)
    network = Classifier(copy.deepcopy(encoder), frozen=frozen)
    count = max(1, round(share * len(clips.frames)))
    steps = max(LABELLED_STEPS, EPOCHS * -(-count // BATCH))
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=LABELLED_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2 * LABELLED_RATE, steps)
    for rows in itertools.islice(_batches(count, seed), steps):
        scores = network(clips.frames[rows].float() / 255)
        loss = sum(
            F.cross_entropy(part, torch.from_numpy(clips.labels[name])[rows])
            for name, part in _by_name(scores).items()
        )
        optimiser.zero_grad(set_to_none=True)
        torch.as_tensor(loss).backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def _batches(count: int, seed: int) -> Iterator[Tensor]:
    generator = Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=generator).split(BATCH)


def _by_name(scores: Tensor) -> dict[str, Tensor]:
    return dict(zip(CLASSES, scores.split(list(CLASSES.values()), dim=1), strict=True))


@torch.inference_mode()
def accuracies(network: Classifier, clips: Clips) -> dict[str, float]:
    """Shares of clips whose label has the highest score."""
    scores = torch.cat([network(part.float() / 255) for part in clips.frames.split(100)])
    return {
        name: float(np.mean(part.argmax(1).numpy() == clips.labels[name]))
        for name, part in _by_name(scores).items()
    }


def measure(case: Case, kept_in: Path) -> Record:
    """Pretrain once, then learn the labels in every way."""
    torch.set_num_threads(1)
    world = WORLDS[TARGET]
    fit, test = (
        Clips.of(world.videos(count, case.seed, part=part, kept_in=kept_in), number)
        for number, (count, part) in enumerate([(VIDEOS, "train"), (TEST, "test")])
    )
    encoder = pretrained(case, kept_in)
    read = {}
    for share, frozen in itertools.product(SHARES, (True, False)):
        network = learn(encoder, fit, share=share, frozen=frozen, seed=case.seed)
        way = "frozen" if frozen else "fine_tuned"
        for name, accuracy in accuracies(network, test).items():
            read[f"{way}.{share:.0%}.{name}_accuracy"] = accuracy
    return {"start": case.start, "seed": case.seed, "rate": case.rate, "read": read}


def rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """A row for each start and way of learning: the mean over seeds."""
    written = []
    for start in dict.fromkeys(record["start"] for record in records):
        chosen = [record for record in records if record["start"] == start]
        for key in chosen[0]["read"]:
            values = [record["read"][key] for record in chosen]
            written.append({
                "key": f"{TARGET}.{start}.{key}", "value": float(np.mean(values)),
                "n": len(values), **interval(values),
                "seeds": [record["seed"] for record in chosen], "per_seed": values,
            })  # fmt: skip
    return written


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, nargs="*", default=[*SEEDS])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kept-in", type=Path, default=Path("runs/recipes"))
    words = parser.parse_args()
    file = words.kept_in / "indomain.jsonl"
    rate = chosen_rate(read_records(words.kept_in / "sweep.jsonl"), RECIPE)
    cases = [Case(start, seed, rate) for seed, start in itertools.product(words.seeds, STARTS)]
    kept = {Case(r["start"], r["seed"], r["rate"]): r for r in read_records(file)}
    records = [kept[case] for case in cases if case in kept]
    todo = [case for case in cases if case not in kept]
    one = partial(measure, kept_in=words.kept_in)
    for record in measure_all(todo, one, kept_in=file, workers=words.workers):
        records.append(record)
        read = ", ".join(f"{k} {v:.3f}" for k, v in record["read"].items())
        print(f"{record['start']} seed {record['seed']}: {read}", flush=True)
    command = "python -m benchmarks.indomain"
    if words.seeds != [*SEEDS]:
        command += f" --seeds {' '.join(map(str, words.seeds))}"
    table = {
        **origin("indomain", command),
        "protocol": {
            "seeds": words.seeds, "target": TARGET, "others": list(OTHERS), "videos": VIDEOS,
            "steps": STEPS, "times_longer_on_others": TIMES_LONGER, "rate": rate, "batch": BATCH,
            "labelled_steps_at_least": LABELLED_STEPS, "epochs_of_labels": EPOCHS,
            "labelled_rate": LABELLED_RATE, "test": TEST,
        },
        "rows": rows(records),
    }  # fmt: skip
    results.write(table, RESULTS / "indomain.json")
    grid = Grid(
        "indomain-overview", command, {"seeds": words.seeds},
        ["", *STARTS], overview(table["rows"], STARTS),
    )  # fmt: skip
    results.write(grid.to_json(device="cpu"), RESULTS / "indomain-overview.json")


if __name__ == "__main__":
    main()
