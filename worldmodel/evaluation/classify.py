"""`probe task=classify`: how well the classes of labelled videos are read out of a frozen encoder.

Attentive, linear and nearest-neighbour read-outs of the encoder, of the same encoder with the
weights that it starts with, and of pixels, on the same videos; the encoder is never changed.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from worldmodel import checkpoint
from worldmodel.errors import ConfigError
from worldmodel.evaluation.baselines import untrained
from worldmodel.evaluation.frozen_features import Extraction, Features, pixels, tokens_of
from worldmodel.evaluation.labelled import Division, LabelledSet, LabelledVideos, few, held_out
from worldmodel.evaluation.overlap import run_settings, told_overlap
from worldmodel.evaluation.probes.attentive import scores_of
from worldmodel.evaluation.probes.probe import Fitted, Labelled, Probe, Task
from worldmodel.evaluation.statistics import rate_results
from worldmodel.evaluation.views import Views
from worldmodel.interop.load import load
from worldmodel.loading.skipped import SkippedTable
from worldmodel.model import WorldModel
from worldmodel.storage.files import whole_file
from worldmodel.video.decoding import Decoding

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

MODEL, RANDOM, PIXELS = "model", "random_init", "pixels"
Shots = int | str | Sequence[int | str]
OWN = "own"  # the classifier that a model brings


@dataclass(frozen=True)
class Parts:
    """Places of videos: those to fit on and to choose on for each number of shots, those to test.

    They count in the training videos of a division, and after them the test videos.
    """

    fit: Mapping[str, np.ndarray]
    validation: Mapping[str, np.ndarray]
    test: np.ndarray

    @property
    def used(self) -> np.ndarray:
        """All of them, once each."""
        return np.unique(np.concatenate([*self.fit.values(), *self.validation.values(), self.test]))


def classify(
    run: "Run", *, model: str, data: LabelledVideos, views: Views, probes: Mapping[str, Probe],
    shots: Shots = "all", video: Decoding | None = None, seed: int = 0, device: str = "cpu",
) -> dict[str, float]:  # fmt: skip
    """Read the classes of labelled videos out of a frozen encoder.

    Leaves `model/`, the encoder with the attentive classifier, `confusion.json`, `predictions.csv`,
    and the features in `features/`.

    Args:
        run: where results go.
        model: a trained model, the run that made it, or weights of others.
        data: the labelled videos.
        views: clips and squares of each video.
        probes: the read-outs, by the names of their results.
        shots: videos of each class to fit on: a number, `all`, or a list of these. Beside them at
            most as many choose the hyper-parameters.
        video: how videos are decoded.
        seed: of the division into parts, of initial weights and of batches.
        device: where to compute.

    Returns:
        `<probe>.accuracy` on the test videos, `<probe>.random_init_accuracy` of the same encoder
        untrained, `<probe>.pixels_accuracy` of downsampled frames, and `majority.accuracy`, each
        with `.n`, `.low` and `.high`; `own.accuracy` where the model brings a classifier of these
        classes. With several shots, each begins with `shots_<number>.`.
    """
    learned = load(model, device=device)
    if views.num_frames % (p := learned.tubelet_frames):
        raise ConfigError(
            f"views.num_frames={views.num_frames} does not divide into tubelets of {p} frames; say "
            f"a multiple of {p}"
        )
    for name, probe in probes.items():
        if not isinstance(probe, Probe):  # settings of one that ~probes.<name> has removed
            raise ConfigError(
                f"probes.{name}: has settings and names no probe; leave them out, or say what it "
                f"is with probes.{name}._target_="
            )
        probe.check(learned.encoder.width)
    wanted = _wanted(shots)
    division = data.divide(seed=seed)
    parts = _parts(division, wanted, data, seed=seed)
    run.say(f"{division.train.name}: {division.how}")
    seen = _say_overlap(run, division.test, model)
    own = _own_outputs(run, learned, division.train)
    used = parts.used if probes else parts.test
    encoders, places = _extract(
        run, learned, division, used, views=views, decoding=video or Decoding(), seed=seed,
        tokens=own is not None or any(probe.wants_tokens for probe in probes.values()),
        baselines=bool(probes),
    )  # fmt: skip
    labels = torch.from_numpy(np.concatenate([division.train.labels, division.test.labels]))
    judge = _Judge(run, division, encoders, places, labels, parts.test)
    results: dict[str, float] = {}
    for name in wanted:
        prefix = f"shots_{name}." if len(wanted) > 1 else ""
        task = Task(division.train.classes, seed, device)
        results |= judge.compare(
            prefix,
            probes,
            parts.fit[name].tolist(),
            parts.validation[name].tolist(),
            task,
            model=learned,
        )
    if own is not None:
        results |= judge.own(learned, own)
    judge.write()
    return results | {
        "videos.to_test": len(judge.test), "videos.classes": len(division.train.classes),
        "videos.trained_on": seen,
        "videos.left_out": division.left_out + len(used) - len(places),
    }  # fmt: skip


def _wanted(shots: Shots) -> list[str]:
    """The numbers of shots, as names.

    Raises:
        ConfigError: one is neither a number from 1 on nor `all`.
    """
    several = [shots] if isinstance(shots, int | str) else list(shots)
    for one in several:
        if one != "all" and (type(one) is not int or one < 1):
            raise ConfigError(
                f"shots={one}: say how many videos of each class to fit on, for example 1, 10 or "
                "100, or all, or a list of these"
            )
    if not several or len(set(several)) < len(several):
        raise ConfigError(f"shots={shots}: name each number once, and at least one")
    return [str(one) for one in several]


def _parts(
    division: Division, wanted: Sequence[str], data: LabelledVideos, *, seed: int
) -> Parts:  # fmt: skip
    """Divide the training videos into those to fit on and those to choose on.

    Raises:
        ConfigError: a class has fewer videos than a number of shots, or none is left to choose on.
    """
    labels = division.train.labels
    fit: dict[str, np.ndarray] = {}
    validation: dict[str, np.ndarray] = {}
    for name in wanted:
        number = None if name == "all" else int(name)
        rest, chosen = held_out(labels, data.validation_share, seed=seed, most=number)
        if not len(chosen):
            raise ConfigError(
                f"{division.train.name}: no class has two videos to train on, so none is left to "
                "choose hyper-parameters on; add videos"
            )
        validation[name] = chosen
        kept = rest if number is None else few(labels, rest, number, seed=seed)
        if kept is None:
            assert number is not None
            counts = np.bincount(labels[rest], minlength=len(division.train.classes))
            least = int(counts.argmin())
            raise ConfigError(
                f"shots={number}: class '{division.train.classes[least]}' has {counts[least]} "
                f"videos to fit on and others to choose on; say at most {counts[least]}, or all"
            )
        fit[name] = kept
    return Parts(fit, validation, len(labels) + np.arange(len(division.test)))


def _say_overlap(run: "Run", test: LabelledSet, model: str) -> int:
    """Say which test videos the model learned from; returns their number."""
    shared, line = told_overlap(test.items, run_settings(model), whose=model)
    if line is not None:
        run.say(line)
    return shared


def _own_outputs(run: "Run", model: WorldModel, train: LabelledSet) -> list[int] | None:
    """For each class the output of the model's own classifier; None where it has no such one."""
    if model.classifier is None:
        return None
    names, outputs = model.classifier.labels, model.classifier.spec["classes"]
    if names is not None and set(train.classes) <= set(names):
        return [names.index(name) for name in train.classes]
    if names is None and max(train.numbers) < outputs:
        return list(train.numbers)
    run.say(
        f"the model's own classifier has {outputs} other classes than {train.name} and is not "
        "compared"
    )
    return None


def _extract(
    run: "Run", model: WorldModel, division: Division, used: np.ndarray, *, views: Views,
    decoding: Decoding, seed: int, tokens: bool, baselines: bool,
) -> tuple[dict[str, Features], dict[int, int]]:  # fmt: skip
    """Features of all videos that are used, and at which place each video has them."""
    encoders = {MODEL: tokens_of(model)}
    if baselines:
        encoders[RANDOM] = tokens_of(untrained(model, seed=seed))
        encoders[PIXELS] = pixels(model.tubelet_frames)
    extraction = Extraction(encoders, views, model.size, decoding, tokens, run.folder / "features")
    every = (*division.train.items, *division.test.items)
    skipped = SkippedTable(run.folder / "skipped.csv", run.say)
    with run.progress(len(used), "extract features") as bar:
        found, kept = extraction.run(
            [every[i] for i in used], progress=bar.update, on_skip=skipped.add
        )
    skipped.write()
    return found, {int(used[at]): place for place, at in enumerate(kept)}


class _Judge:
    """Fits probes and counts what they get right on the test videos."""

    def __init__(
        self, run: "Run", division: Division, encoders: Mapping[str, Features],
        places: Mapping[int, int], labels: Tensor, test: np.ndarray,
    ) -> None:  # fmt: skip
        self._run, self._division, self._encoders = run, division, encoders
        self._places, self._labels = places, labels
        self.test = [int(i) for i in test if int(i) in places]
        if not self.test:
            raise ConfigError(f"{division.test.name}: none of its videos can be read")
        self._truth = labels[self.test]
        self._predicted: dict[str, Tensor] = {}

    def _of(self, encoder: str, rows: Sequence[int]) -> Labelled:
        good = [int(i) for i in rows if int(i) in self._places]
        features = self._encoders[encoder].take([self._places[i] for i in good])
        return Labelled(features, self._labels[good])

    def compare(
        self, prefix: str, probes: Mapping[str, Probe], fit: Sequence[int],
        validation: Sequence[int], task: Task, *, model: WorldModel,
    ) -> dict[str, float]:  # fmt: skip
        """Every probe of every encoder, and the most frequent class."""
        results: dict[str, float] = {}
        with self._run.progress(len(probes) * len(self._encoders), f"{prefix}fit probes") as bar:
            for name, probe in probes.items():
                for encoder in self._encoders:
                    fitted = probe.fit(self._of(encoder, fit), self._of(encoder, validation), task)
                    results |= self._count(prefix, name, encoder, fitted)
                    if encoder == MODEL and fitted.classifier is not None:
                        self._save(model, fitted)
                    bar.advance()
        most = int(torch.bincount(self._labels[list(fit)]).argmax())
        right = int((self._truth == most).sum())
        results |= rate_results(f"{prefix}majority.accuracy", right, len(self.test))
        return results | {
            f"{prefix}videos.to_fit": sum(i in self._places for i in fit),
            f"{prefix}videos.to_choose": sum(i in self._places for i in validation),
        }

    def _count(self, prefix: str, name: str, encoder: str, fitted: Fitted) -> dict[str, float]:
        scores = fitted.scores(self._of(encoder, self.test).features)
        predicted = scores.argmax(dim=1)
        right = int((predicted == self._truth).sum())
        before = "" if encoder == MODEL else f"{encoder}_"
        results = rate_results(f"{prefix}{name}.{before}accuracy", right, len(self.test))
        if encoder == MODEL:
            self._predicted[f"{prefix}{name}"] = predicted
            results |= {f"{prefix}{name}.{key}": value for key, value in fitted.chosen.items()}
        return results

    def own(self, model: WorldModel, outputs: Sequence[int]) -> dict[str, float]:
        """The model's own classifier; a class that these videos have not counts as wrong."""
        classifier = model.classifier
        assert classifier is not None
        scores = scores_of(classifier, 16, self._of(MODEL, self.test).features)
        ours = torch.tensor(outputs)
        right = int((scores.argmax(dim=1) == ours[self._truth]).sum())
        self._predicted[OWN] = scores[:, ours].argmax(dim=1)
        return rate_results(f"{OWN}.accuracy", right, len(self.test))

    def _save(self, model: WorldModel, fitted: Fitted) -> None:
        """The encoder with the classifier, as a model that classifies."""
        made = WorldModel(model.encoder, size=model.size, classifier=fitted.classifier)
        checkpoint.save(made.eval(), self._run.model_folder)

    def write(self) -> None:
        """Confusion matrices, and what was predicted of each test video."""
        classes = self._division.train.classes
        matrices = {
            name: confusion(self._truth, predicted, len(classes)).tolist()
            for name, predicted in self._predicted.items()
        }
        with whole_file(self._run.folder / "confusion.json") as temporary:
            temporary.write_text(json.dumps({"classes": classes, "matrices": matrices}))
        first = len(self._division.train)
        with whole_file(self._run.folder / "predictions.csv") as temporary:
            with temporary.open(
                "w", newline="", encoding="utf-8", errors="surrogateescape"
            ) as file:
                rows = csv.writer(file)
                rows.writerow(["video", "class", *self._predicted])
                for at, place in enumerate(self.test):
                    said = [classes[int(p[at])] for p in self._predicted.values()]
                    name = self._division.test.items[place - first].name
                    rows.writerow([name, classes[int(self._truth[at])], *said])


def confusion(truth: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """How many videos of each class (rows) were taken for each class (columns)."""
    counts = torch.bincount(truth * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes)
