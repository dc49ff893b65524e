"""Attentive classification: V-JEPA's pooler over all tokens of a frozen encoder, trained here."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from worldmodel.errors import ConfigError
from worldmodel.evaluation.frozen_features import Features
from worldmodel.evaluation.probes.probe import Best, Fitted, Labelled, Probe, Task, mean_scores
from worldmodel.nn.classifier import AttentiveClassifier

PUBLISHED_HEADS = 16  # of V-JEPA 2's probes, for widths of 1024 and 1408

Batches = Iterator[tuple[Tensor, Tensor]]
"""Tokens b n d and targets b ..., one pair a step."""


@dataclass(frozen=True)
class AttentiveProbe(Probe):
    """The attentive probe of V-JEPA 2 (Assran et al. 2025, arXiv:2506.09985, appendix).

    As there, one is trained for each pair of learning rate and weight decay, all on the same
    batches, with AdamW and a rate that falls to zero along half a cosine. Here the best pair is
    chosen on validation videos, there on those that are reported.

    Attributes:
        depth: blocks of self-attention before the query attends: 3 as V-JEPA 2, 0 as V-JEPA 1.
        heads: of attention to the encoder's tokens; by default, and for pixels, 16 as published, or
            fewer where a head would have less than 16 dimensions.
        learning_rates: tried.
        weight_decays: tried with each of them.
        epochs: passes over the videos, each with one of its views.
        steps: at least, however few videos there are.
        batch: videos in a batch.
    """

    wants_tokens: ClassVar[bool] = True

    depth: int = 3
    heads: int | None = None
    learning_rates: tuple[float, ...] = (1e-3, 3e-4)
    weight_decays: tuple[float, ...] = (0.01, 0.1)
    epochs: int = 20
    steps: int = 100
    batch: int = 64

    def __post_init__(self) -> None:
        if min(self.epochs, self.steps, self.batch) < 1 or self.depth < 0:
            raise ConfigError(
                "an attentive probe needs epochs, steps and batch of at least 1 and depth of at "
                f"least 0, got {self.epochs}, {self.steps}, {self.batch} and {self.depth}"
            )
        if not self.learning_rates or not self.weight_decays:
            raise ConfigError(
                "an attentive probe needs a learning rate and a weight decay to try, got "
                f"{list(self.learning_rates)} and {list(self.weight_decays)}"
            )

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """Learning rates and weight decays that are tried."""
        return list(product(self.learning_rates, self.weight_decays))

    def check(self, width: int) -> None:
        """Refuse heads that do not share the width of the encoder's tokens."""
        if self.heads is not None and (self.heads < 1 or width % self.heads):
            raise ConfigError(
                f"an attentive probe of {self.heads} heads cannot share the encoder's tokens of "
                f"{width} dimensions; say a number that divides them, or leave heads out"
            )

    def steps_of(self, examples: int) -> int:
        """How many steps are made with so many examples."""
        return max(self.epochs * math.ceil(examples / self.batch), self.steps)

    def fit(self, fit: Labelled, validation: Labelled, task: Task) -> Fitted:
        """Train one for each pair of learning rate and weight decay."""
        steps = self.steps_of(len(fit))
        width = fit.features.tokens([0], [0]).shape[-1]
        trained = self.train(
            batches(fit, self.batch, seed=task.seed), width, len(task.classes), F.cross_entropy,
            steps=steps, seed=task.seed, device=task.device, labels=list(task.classes),
        )  # fmt: skip
        best = Best(validation)
        for classifier, (rate, decay) in zip(trained, self.pairs, strict=True):
            chosen = {"learning_rate": rate, "weight_decay": decay}
            scores = partial(scores_of, classifier, self.batch)
            best.offer(Fitted(scores, chosen, classifier))
        assert best.fitted is not None
        return best.fitted

    def train(
        self, data: Batches, width: int, outputs: int, loss: Callable[[Tensor, Tensor], Tensor], *,
        steps: int, seed: int, device: str, labels: list[str] | None = None,
    ) -> list[AttentiveClassifier]:  # fmt: skip
        """Train a network for each pair of learning rate and weight decay, side by side."""
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
            torch.manual_seed(seed)
            said = self.heads
            heads = said if said is not None and width % said == 0 else default_heads(width)
            networks = [
                AttentiveClassifier(width, outputs, heads=heads, depth=self.depth, labels=labels)
                for _ in self.pairs
            ]
        networks = [network.to(device).train() for network in networks]
        optimisers = [
            torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
            for network, (rate, decay) in zip(networks, self.pairs, strict=True)
        ]
        schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, steps) for o in optimisers]
        for _, (tokens, targets) in zip(range(steps), data, strict=False):
            tokens, targets = tokens.to(device), targets.to(device)
            for network, optimiser, schedule in zip(networks, optimisers, schedules, strict=True):
                optimiser.zero_grad(set_to_none=True)
                loss(network(tokens), targets).backward()
                optimiser.step()
                schedule.step()
        return [network.eval() for network in networks]


def default_heads(width: int) -> int:
    """At most 16 heads that share the width, of 16 dimensions or more where there can be."""
    fitting = [h for h in range(1, PUBLISHED_HEADS + 1) if width % h == 0 and width >= 16 * h]
    return max(fitting, default=1)


def batches(data: Labelled, batch: int, *, seed: int) -> Batches:
    """Videos in a new order each epoch, without end, each with one of its views."""
    generator = Generator().manual_seed(seed)
    while True:
        for rows in torch.randperm(len(data), generator=generator).split(batch):
            views = torch.randint(data.features.views, (len(rows),), generator=generator)
            yield data.features.tokens(rows.tolist(), views.tolist()), data.labels[rows]


@torch.inference_mode()
def scores_of(classifier: AttentiveClassifier, batch: int, features: Features) -> Tensor:
    """A classifier's scores of videos, v classes, on the CPU."""
    device, k = classifier.query.device, features.views
    pairs: Sequence[tuple[int, int]] = [
        (v, view) for v in range(len(features)) for view in range(k)
    ]
    parts = []
    for at in range(0, len(pairs), batch):
        rows, views = zip(*pairs[at : at + batch], strict=True)
        parts.append(classifier(features.tokens(rows, views).to(device)).cpu())
    return mean_scores(torch.cat(parts), k)
