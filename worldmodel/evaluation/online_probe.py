"""A probe beside a training: how much of held-out labels is read out of the encoder so far.

A linear read-out, made anew at every look from the frozen encoder as it then is. It shows whether a
training gets better at what it is for while its loss says little; it never touches the training.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from worldmodel.datasets import find_format, open_episodes
from worldmodel.datasets.catalogue import Item
from worldmodel.datasets.format import Format
from worldmodel.episodes.windows import EpisodeArrays, load_arrays
from worldmodel.errors import ConfigError
from worldmodel.evaluation.labelled import LabelledSet, LabelledVideos
from worldmodel.evaluation.overlap import told_overlap
from worldmodel.evaluation.probe import (
    PENALTIES,
    check_size,
    check_targets,
    extract,
    features_of,
    linear_readout,
    time_steps_of,
)
from worldmodel.evaluation.views import ViewRequest, Views, read_views
from worldmodel.loading.workers import WorkerPool
from worldmodel.model import WorldModel
from worldmodel.training.loop import Watcher
from worldmodel.video.decoding import Decoding

if TYPE_CHECKING:
    from worldmodel.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class OnlineProbe:
    """Read labels out of the encoder while it is trained.

    Of labelled videos it logs `probe.accuracy`, of episodes `probe.<target>_r2`, for example
    `probe.position_r2`; half of them are fitted on and half tested on, where nothing else divides
    them.

    Attributes:
        data: videos with labels that are not trained on (a folder for each class, a manifest, a
            published layout), or episodes with `targets` in their infos; None for no probe.
        every: steps from one look to the next; the first is after so many.
        targets: infos of episodes that are read out.
        format: layout of the data; `auto` looks.
        reading: options of the layout.
        videos: at most so many videos or episodes are looked at, drawn by the run's seed.
        views: clips of labelled videos; one from the middle of each, of as many frames and as far
            apart as the training's, by default.
    """

    data: str | None = None
    every: int = 100
    targets: Sequence[str] = ("position",)
    format: str = "auto"
    reading: Mapping[str, Any] | None = None
    videos: int = 256
    views: Views | None = None

    def __post_init__(self) -> None:
        if self.every < 1 or self.videos < 4:
            raise ConfigError(
                "probe.every must be at least 1 and probe.videos at least 4, got "
                f"{self.every} and {self.videos}"
            )

    def __call__(self, model: WorldModel, run: "Run", video: Decoding) -> list[Watcher]:
        """Read the data into memory; a watcher that looks at the model, or none without data.

        Raises:
            WorldModelError: the data cannot be read, have no labels, or do not fit the model.
        """
        if self.data is None:
            return []
        found = find_format(self.data, format=self.format, **dict(self.reading or {}))
        if type(found).episodes is not Format.episodes:
            return [self._of_episodes(model, run)]
        return [self._of_videos(model, run, video)]

    def _of_episodes(self, model: WorldModel, run: "Run") -> Watcher:
        assert self.data is not None
        store = open_episodes(
            self.data, format=self.format, **({"fit": model.size} | dict(self.reading or {}))
        )
        some = [store[i] for i in _drawn(len(store), self.videos, run.seed)]
        arrays = load_arrays(some)
        check_targets(arrays, self.data, self.targets)
        check_size(arrays, self.data, model)
        if len(arrays) < 4:
            raise ConfigError(
                f"{self.data}: has {len(arrays)} episodes; a probe beside a training takes four, "
                "two to fit on and two to test on"
            )
        catalogue = find_format(self.data, format=self.format, **dict(self.reading or {}))
        _say_overlap(run, list(catalogue.open(self.data)))
        return EpisodeWatcher(model, self.every, arrays, self.targets)

    def _of_videos(self, model: WorldModel, run: "Run", video: Decoding) -> Watcher:
        labelled = LabelledVideos(
            path=self.data, format=self.format, reading=self.reading, test_share=0.5
        )
        division = labelled.divide(seed=run.seed)
        views = self.views or views_of_training(run.config)
        if views.num_frames % (p := model.tubelet_frames):
            raise ConfigError(
                f"probe.views.num_frames={views.num_frames} does not divide into tubelets of {p} "
                "frames"
            )
        half = self.videos // 2
        parts = [
            part.take(_drawn(len(part), half, run.seed)) for part in (division.train, division.test)
        ]
        run.say(f"probe beside the training: {division.how}")
        _say_overlap(run, parts[1].items)
        train, test = read_all(parts, views, model.size, video, run)
        return VideoWatcher(model, self.every, train, test)


class ModelWatcher(Watcher):
    """Looks at a model every so many steps, and leaves it as it was."""

    def __init__(self, model: WorldModel, every: int) -> None:
        self.model, self.every = model, every

    def look(self, step: int) -> dict[str, float]:
        """The read-outs, at every `every`th step."""
        if step % self.every:
            return {}
        with at_rest(self.model), torch.inference_mode():
            return self.read_out()

    @abstractmethod
    def read_out(self) -> dict[str, float]:
        """Numbers about the model as it is now."""


class EpisodeWatcher(ModelWatcher):
    """R² of linear read-outs from the latents of time steps, on the second half of the episodes."""

    def __init__(
        self, model: WorldModel, every: int, arrays: EpisodeArrays, targets: Sequence[str]
    ) -> None:
        super().__init__(model, every)
        self._frames, rows, self._groups = time_steps_of(arrays, model.tubelet_frames)
        self._targets = {
            name: arrays.info[name][rows].double().numpy().reshape(len(rows), -1)
            for name in targets
        }
        self._fit = (self._groups < len(arrays) // 2).numpy()

    def read_out(self) -> dict[str, float]:
        """`probe.<target>_r2` of every target."""
        x, fit = extract(features_of(self.model), self._frames), self._fit
        groups, found = self._groups.numpy()[~fit], {}
        for name, y in self._targets.items():
            readout = linear_readout((x[fit], y[fit]), (x[~fit], y[~fit]), groups)
            found[f"probe.{name}_r2"] = readout.r2
        return found


class VideoWatcher(ModelWatcher):
    """Accuracy of a linear read-out of the mean token.

    Args:
        model: what is trained.
        every: steps from one look to the next.
        train: frames b t c h w (uint8) and classes b to fit on.
        test: the same, to test on.
    """

    def __init__(
        self, model: WorldModel, every: int, train: tuple[Tensor, Tensor],
        test: tuple[Tensor, Tensor],
    ) -> None:  # fmt: skip
        super().__init__(model, every)
        self._train, self._test = train, test

    def read_out(self) -> dict[str, float]:
        """`probe.accuracy`."""
        found = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES))
        found.fit(self._means(self._train[0]), self._train[1].numpy())
        right = found.predict(self._means(self._test[0])) == self._test[1].numpy()
        return {"probe.accuracy": float(right.mean())}

    def _means(self, frames: Tensor) -> np.ndarray:
        tokens = (
            self.model.encoder(some.to(self.model.device).float() / 255).mean(dim=1)
            for some in frames.split(16)
        )
        return torch.cat([some.double().cpu() for some in tokens]).numpy()


@contextmanager
def at_rest(model: WorldModel) -> Iterator[None]:
    """The model in evaluation mode; its modes and all random numbers are as before afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    with torch.random.fork_rng():
        try:
            model.eval()
            yield
        finally:
            for module, mode in modes:
                module.training = mode


def views_of_training(settings: Mapping[str, Any]) -> Views:
    """One clip of each video, of as many frames and as far apart as a training's."""
    data = settings.get("data") or {}
    return Views(
        num_frames=settings.get("num_frames", 16), stride=data.get("stride"), fps=data.get("fps"),
        duration=data.get("duration"), clips=1, workers=data.get("workers", 2),
    )  # fmt: skip


def read_all(
    parts: Sequence[LabelledSet], views: Views, size: int, video: Decoding, run: "Run"
) -> list[tuple[Tensor, Tensor]]:
    """Of each part frames (b k) t c h w of all views of all videos, uint8, and their classes."""
    work = partial(read_views, views, size, video)
    found: list[tuple[Tensor, Tensor]] = []
    with (
        run.progress(sum(map(len, parts)), "read videos of the probe") as bar,
        WorkerPool(work, workers=views.workers, seconds=video.limits.seconds) as pool,
    ):
        tasks = (ViewRequest(item) for part in parts for item in part.items)
        done = pool.each(tasks, ahead=2 * views.workers)
        for part in parts:
            frames = []
            for _, (_, future) in zip(part.items, done, strict=False):
                frames.append(torch.from_numpy(future.result()))
                bar.advance()
            labels = torch.from_numpy(part.labels).repeat_interleave(len(views))
            found.append((torch.cat(frames), labels))
    return found


def _drawn(count: int, most: int, seed: int) -> np.ndarray:
    """At most `most` of the first `count` numbers, in order."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def _say_overlap(run: "Run", items: Sequence[Item]) -> None:
    _, line = told_overlap(items, {"verb": "pretrain", **run.config}, whose="this run")
    if line is not None:
        run.say(f"probe beside the training: {line}")
