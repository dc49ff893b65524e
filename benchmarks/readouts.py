"""Read-outs of a frozen encoder on a world: linear and attentive, of classes and of numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from benchmarks.worlds import Videos, World
from worldmodel.evaluation.frozen_features import Features
from worldmodel.evaluation.probes.attentive import AttentiveProbe
from worldmodel.evaluation.probes.linear import LinearProbe
from worldmodel.evaluation.probes.probe import Labelled, Probe, Task
from worldmodel.evaluation.statistics import auroc
from worldmodel.nn.positions import sincos

FRAMES = 8  # of a clip
EPOCHS = 40  # of the attentive probe: after ten it has often not begun to learn


def probes(*, epochs: int = EPOCHS) -> dict[str, Probe]:
    """Linear, and V-JEPA's attentive pooler without blocks: they would learn what was not."""
    return {
        "linear": LinearProbe(penalties=(1.0, 10.0, 100.0)),
        "attentive": AttentiveProbe(
            depth=0, heads=4, learning_rates=(3e-3, 1e-3), weight_decays=(0.05,), epochs=epochs
        ),
    }


Encode = Callable[[Tensor], Tensor]
"""Clips b t c h w in [0, 1] -> tokens b t n d."""


@dataclass(frozen=True)
class InMemory(Features):
    """Features that are not kept in files."""

    kept: Tensor  # b n d

    def take(self, rows: Sequence[int]) -> "InMemory":
        """Only the clips at these places."""
        return replace(self, means=self.means[list(rows)], kept=self.kept[list(rows)])

    def tokens(self, rows: Sequence[int], views: Sequence[int]) -> Tensor:
        """The tokens b n d of these clips."""
        return self.kept[list(rows)]


@dataclass(frozen=True)
class Clips:
    """One clip of each video, and what is known of its last frame."""

    frames: Tensor  # b t c h w, uint8
    labels: dict[str, np.ndarray]  # b ...

    @staticmethod
    def of(videos: Videos, seed: int) -> "Clips":
        """A clip from anywhere in each video."""
        length = videos.frames.shape[1]
        starts = np.random.default_rng(seed).integers(0, length - FRAMES + 1, len(videos))
        frames = [video[s : s + FRAMES] for video, s in zip(videos.frames, starts, strict=True)]
        last = np.arange(len(videos)), starts + FRAMES - 1
        return Clips(torch.stack(frames), {name: of[last] for name, of in videos.labels.items()})


@torch.inference_mode()
def tokens_of(encode: Encode, clips: Clips) -> Tensor:
    """Tokens b t n d."""
    return torch.cat([encode(part.float() / 255) for part in clips.frames.split(64)])


def read_out(
    world: World, encode: Encode, parts: Sequence[Clips], *, seed: int, epochs: int = EPOCHS
) -> dict[str, float]:
    """The accuracy of each class and the R² of each number, on the last of three parts.

    Probes are fitted on the first part, with what does best on the second. Each token is told its
    position, for the attentive probe, as the encoders' own positions are rotations.

    Returns:
        `linear.X_accuracy` and `attentive.X_accuracy` of classes, `..._auroc` of two; `X_r2` of
        numbers, linear in all tokens of the last time step.
    """
    tokens = [tokens_of(encode, part) for part in parts]
    scale = tokens[0].mean((0, 1, 2)), tokens[0].std((0, 1, 2)) + 1e-6
    tokens = [(part - scale[0]) / scale[1] for part in tokens]
    results = {}
    for name in world.numbers:
        results[f"{name}_r2"] = _r2(tokens, [part.labels[name] for part in parts])
    t, n, d = tokens[0].shape[1:]
    side = round(n**0.5)
    placed = sincos(d, (t, side, side)).reshape(t * n, d)
    for name in world.classes:
        known = [torch.from_numpy(part.labels[name]) for part in parts]
        task = Task(tuple(map(str, range(int(known[0].max()) + 1))), seed=seed)
        for kind, probe in probes(epochs=epochs).items():
            labelled = []
            for of, labels in zip(tokens, known, strict=True):
                flat = rearrange(of, "b t n d -> b (t n) d")
                labelled.append(
                    Labelled(InMemory(flat.mean(1)[:, None], [], "", flat + placed), labels)
                )
            fit, validation, test = labelled
            scores = probe.fit(fit, validation, task).scores(test.features)
            if len(task.classes) == 2:  # one of them may be rare
                above = (scores[:, 1] - scores[:, 0]).numpy()
                is_so = test.labels.numpy() == 1
                results[f"{kind}.{name}_auroc"] = auroc(above[~is_so], above[is_so]).value
            else:
                right = scores.argmax(1) == test.labels
                results[f"{kind}.{name}_accuracy"] = float(right.float().mean())
    return results


def _r2(tokens: Sequence[Tensor], numbers: Sequence[np.ndarray]) -> float:
    fit, validation, test = (rearrange(of[:, -1], "b n d -> b (n d)").numpy() for of in tokens)
    scaler = StandardScaler().fit(fit)
    tried = [
        RidgeCV(alphas=[alpha]).fit(scaler.transform(fit), numbers[0])
        for alpha in (10, 100, 1000, 10000)
    ]
    best = max(tried, key=lambda ridge: ridge.score(scaler.transform(validation), numbers[1]))
    return float(best.score(scaler.transform(test), numbers[2]))
