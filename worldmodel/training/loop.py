"""The training loop: AdamW, warm-up and a schedule, clipping, checkpoints, log, collapse alarms.

It trains a `Learner`. Where data come from and what is saved in the end is decided by the verbs, in
`pretrain.py` and `train.py`. Every batch is a function of (seed, step), so an interrupted run goes
on exactly from its last checkpoint.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Generator, Tensor, nn

from worldmodel.checkpoint import load_training, save_training
from worldmodel.errors import ConfigError, WorldModelError, nearest
from worldmodel.objectives.objective import Losses
from worldmodel.runs.run import Run
from worldmodel.training import collapse

Schedule = Literal["cosine", "constant"]


@dataclass(frozen=True)
class Optimisation:
    """How long and how fast to train. The schedule follows the share of the training that is done.

    Attributes:
        steps: optimiser steps, at most.
        seconds: stop after so many, or None. With it, results depend on the machine's speed.
        learning_rate: after warm-up.
        weight_decay: of AdamW, on matrices only.
        final_weight_decay: what it has risen to at the end, along half a cosine; None: as it was.
        warmup: share of the training in which the rate rises from zero.
        beta2: how slowly AdamW forgets the squares of gradients.
        schedule: `cosine` falls to a fiftieth at the end, `constant` stays.
        clip: largest norm of the gradient.
        log_every, save_seconds: how often to log (steps) and to checkpoint (seconds).
    """

    steps: int
    seconds: float | None = None
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    final_weight_decay: float | None = None
    warmup: float = 0.05
    beta2: float = 0.95
    schedule: Schedule = "cosine"
    clip: float = 1.0
    log_every: int = 10
    save_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.schedule not in get_args(Schedule):
            raise ConfigError(
                f"no schedule '{self.schedule}': {nearest(self.schedule, get_args(Schedule))}"
            )
        if self.steps < 1 or self.learning_rate <= 0 or not 0 <= self.warmup < 1:
            raise ConfigError(
                "a training needs steps >= 1, learning_rate > 0 and 0 <= warmup < 1, got "
                f"{self.steps}, {self.learning_rate}, {self.warmup}"
            )

    def rate(self, progress: float) -> float:
        """The learning rate when the share `progress` (0 to 1) of the training is done."""
        if progress < self.warmup:
            return self.learning_rate * progress / self.warmup + self.learning_rate * 1e-3
        if self.schedule == "constant":
            return self.learning_rate
        done = (progress - self.warmup) / (1 - self.warmup)
        return self.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(done, 1))))

    def decay(self, progress: float) -> float:
        """The weight decay when the share `progress` (0 to 1) of the training is done."""
        if self.final_weight_decay is None:
            return self.weight_decay
        left = 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
        return self.final_weight_decay + (self.weight_decay - self.final_weight_decay) * left


class Learner(nn.Module, ABC):
    """What is trained: its parameters, by the losses of its batches.

    Attributes:
        waited: seconds that it has waited for data so far.
        data_wait: after `fit`, the share of the steps' time that was spent waiting, since the last
            interruption.
    """

    waited: float = 0.0
    data_wait: float = 0.0

    @abstractmethod
    def losses(self, step: int, generator: Generator) -> Losses:
        """The losses of step `step`; the batch and all randomness come from the two arguments."""

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """`with self.waiting(): ...` around what gets the data of a step."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.waited += time.perf_counter() - begun

    def after_step(self, progress: float) -> None:  # noqa: B027  # most have nothing to do here
        """Called after each optimiser step, when the share `progress` of the training is done."""


def fit(learner: Learner, run: Run, optimisation: Optimisation, *, description: str) -> int:
    """Train, from the run's last checkpoint if it has one; returns the number of steps made.

    Raises:
        WorldModelError: the loss is not finite.
    """
    o = optimisation
    optimiser = _optimiser(learner, o)
    path = run.checkpoints / "training.safetensors"
    step, earlier = 0, 0.0
    if path.is_file():
        step, earlier = load_training(path, modules=learner, optimiser=optimiser)
        run.rewind(step)
    started = saved = time.monotonic()
    clock = _Clock(learner)
    learner.train()

    def save() -> None:
        elapsed = earlier + time.monotonic() - started
        save_training(path, modules=learner, optimiser=optimiser, step=step, elapsed=elapsed)

    with run.progress(o.steps, description) as bar:
        while step < o.steps:
            elapsed = earlier + time.monotonic() - started
            progress = max(step / o.steps, elapsed / o.seconds if o.seconds else 0)
            if progress >= 1:
                break
            with clock.step():
                losses, norm = _step(
                    learner, optimiser, o, step=step, progress=progress, seed=run.seed
                )
            step += 1
            if step % o.log_every == 0 or step == o.steps:
                numbers = _numbers(run, losses, norm, step)
                numbers["data_wait"] = clock.share()
                run.log(step, **numbers, learning_rate=o.rate(progress))
            bar.update(progress * o.steps if o.seconds else step, loss=losses.total.item())
            if time.monotonic() - saved > o.save_seconds:
                save()
                saved = time.monotonic()
    save()
    learner.data_wait = clock.whole_share()
    return step


class _Clock:
    """How much of the steps' time a learner spends waiting for data."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._first = self._last = learner.waited
        self._all = self._since = 0.0  # seconds of steps: all, and since the last log line

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around a step."""
        begun = time.perf_counter()
        yield
        seconds = time.perf_counter() - begun
        self._all, self._since = self._all + seconds, self._since + seconds

    def share(self) -> float:
        """Of the steps since this was last asked."""
        waited, seconds = self._learner.waited - self._last, self._since
        self._last, self._since = self._learner.waited, 0.0
        return waited / seconds if seconds else 0.0

    def whole_share(self) -> float:
        """Of all steps."""
        return (self._learner.waited - self._first) / self._all if self._all else 0.0


def _step(
    learner: Learner, optimiser: torch.optim.Optimizer, o: Optimisation, *, step: int,
    progress: float, seed: int,
) -> tuple[Losses, Tensor]:  # fmt: skip
    for group in optimiser.param_groups:
        group["lr"] = o.rate(progress)
        if group["weight_decay"]:
            group["weight_decay"] = o.decay(progress)
    # A seed of (seed, step): masks and noise do not depend on earlier steps.
    generator = Generator().manual_seed(seed * 1_000_003 + step)
    losses = learner.losses(step, generator)
    optimiser.zero_grad(set_to_none=True)
    losses.total.backward()
    trained = [p for p in learner.parameters() if p.requires_grad]
    norm = nn.utils.clip_grad_norm_(trained, o.clip)
    if not torch.isfinite(norm):
        terms = ", ".join(f"{name} {value.item():g}" for name, value in losses.terms.items())
        raise WorldModelError(
            f"step {step}: the gradient is not finite ({terms}); lower optimisation.learning_rate"
        )
    optimiser.step()
    learner.after_step(progress)
    return losses, norm


def _optimiser(learner: Learner, o: Optimisation) -> torch.optim.Optimizer:
    """AdamW; biases, norms and single tokens are not decayed."""
    trained = [p for p in learner.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": o.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=o.learning_rate, betas=(0.9, o.beta2))


def _numbers(run: Run, losses: Losses, norm: Tensor, step: int) -> dict[str, float]:
    """The numbers of a log line: the loss and its terms, and signs of collapse."""
    numbers = {
        "loss": losses.total.item(),
        **{f"loss.{name}": term.item() for name, term in losses.terms.items()},
        **{name: float(value) for name, value in losses.numbers.items()},
        "gradient_norm": float(norm),
    }
    if losses.features is None:
        return numbers
    diagnosis = collapse.diagnose(losses.features)
    if diagnosis.alarm and step > 50:  # before, nothing has been learnt
        run.say(f"ALARM at step {step}: {diagnosis.alarm}")
    # The regulariser's own SIGReg replaces the one that is sampled for the log.
    return {**diagnosis.numbers(), **numbers, "alarm": float(diagnosis.alarm is not None)}
