"""The training loop: micro-batches, one optimiser step, log, watchers, checkpoints.

It trains a `Learner`. Where data come from and what is saved in the end is decided by the verbs, in
`pretrain.py` and `train.py`; rates and the optimiser are in `optimisation.py`, precision and
compilation in `execution.py`. Every batch is a function of (seed, step), so an interrupted run goes
on exactly from its last checkpoint.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from worldmodel.checkpoint import TrainingPosition, load_training, save_training
from worldmodel.errors import RunError, WorldModelError
from worldmodel.nn.across_ranks import whole
from worldmodel.objectives.objective import Losses
from worldmodel.runs.processes import is_first, sums, world
from worldmodel.runs.run import Run
from worldmodel.runs.termination import requests_to_end
from worldmodel.storage.files import remove_unfinished
from worldmodel.training import collapse
from worldmodel.training.execution import autocast, device_of, prepare
from worldmodel.training.optimisation import Optimisation, adamw, set_rates
from worldmodel.training.sharing import Parallel, Sharing, averaged, of_all, share

MOST_SKIPPED = 10
"""Steps without a finite loss and gradient, one after the other, that end a training."""


class Learner(nn.Module, ABC):
    """What is trained: its parameters, by the losses of its batches.

    Attributes:
        sources: names of what the last batch was read from; empty where they are not known.
        waited: seconds that it has waited for data so far.
        data_wait: after `fit`, the share of the steps' time that was spent waiting, since the last
            interruption.
        skipped_steps: after `fit`, how many steps had no finite loss and gradient.
    """

    sources: tuple[str, ...] = ()
    waited: float = 0.0
    data_wait: float = 0.0
    skipped_steps: int = 0

    @abstractmethod
    def losses(self, step: int, generator: Generator) -> Losses:
        """The losses of batch number `step`, from which and the generator all randomness comes.

        Where a step of the optimiser accumulates several batches, they are numbered through. Where
        several processes share a batch, they are those of the part that this one has.
        """

    def forward(self, step: int, generator: Generator) -> Losses:
        """The losses."""
        return self.losses(step, generator)

    def prefetch(self, step: int) -> None:  # noqa: B027  # on a CPU nothing can be done meanwhile
        """Called when a batch is under way on the device: may begin to bring batch `step` there."""

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


class Watcher(ABC):
    """Looks at a training while it goes on, and never touches it."""

    @abstractmethod
    def look(self, step: int) -> dict[str, float]:
        """Called after each step; numbers for the log at that step, `{}` if nothing was looked at.

        Weights, their gradients, the networks' modes and PyTorch's own random numbers have to be
        what they were when it returns.
        """


def fit(
    learner: Learner, run: Run, optimisation: Optimisation, *, description: str,
    watchers: Sequence[Watcher] = (), parallel: Parallel = "ddp",
) -> int:  # fmt: skip
    """Train, from the run's last checkpoint if it has one; returns the number of steps made.

    Several processes do it together, in the way that `parallel` says; see `sharing.py`.

    A step whose loss or gradient is not finite changes nothing: it is said, counted, left out.

    Raises:
        WorldModelError: that happened in `MOST_SKIPPED` steps, one after the other.
        SystemExit: with 0, after a checkpoint, because the process got SIGTERM.
    """
    o = optimisation
    prepare(learner, o)
    shared = share(learner, parallel)
    optimiser = adamw(learner, o)
    path = run.checkpoints / "training.safetensors"
    remove_unfinished(path)
    at = TrainingPosition()
    if path.is_file():
        at = load_training(path, modules=learner, optimiser=optimiser)
    run.rewind(at.step)
    _check_start(at, path)
    begun = time.monotonic() - at.elapsed
    saved, clock = time.monotonic(), _Clock(learner)
    learner.train()

    def save() -> None:
        save_training(path, modules=learner, optimiser=optimiser, position=at)

    with requests_to_end() as request, run.progress(o.steps, description) as bar:
        while (progress := o.progress(at.step, at.elapsed)) < 1:
            with clock.step():
                set_rates(optimiser, o, progress)
                made = _step(learner, shared, optimiser, o, step=at.step, seed=run.seed)
            if made.finite:
                learner.after_step(progress)
            else:
                _say_skipped(run, learner, made, at)
            at = at.after(skipped=not made.finite)
            looked = time.monotonic()
            with shared.usable():
                numbers = {k: v for watcher in watchers for k, v in watcher.look(at.step).items()}
            begun += time.monotonic() - looked  # a watcher's time is none of the training's
            if at.step % o.log_every == 0 or at.step == o.steps:
                numbers |= _numbers(run, made, at.step)
                numbers |= {"data_wait": clock.share(), "learning_rate": o.rate(progress)}
                numbers["skipped_steps"] = at.skipped
            if numbers:
                run.log(at.step, **numbers)
            bar.update(progress * o.steps if o.seconds else at.step, loss=made.losses.total.item())
            now = time.monotonic()
            asked, due, elapsed = _agreed(request.made, now - saved > o.save_seconds, now - begun)
            at = replace(at, elapsed=elapsed)
            if asked:
                save()
                run.say(f"asked to end: saved step {at.step}; the same command goes on from there")
                raise SystemExit(0)
            if due:
                save()
                saved = time.monotonic()
    save()
    shared.end()
    learner.data_wait, learner.skipped_steps = clock.whole_share(), at.skipped
    return at.step


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


@dataclass(frozen=True)
class _Made:
    """What a step has found."""

    losses: Losses  # detached; means over the step's batches, but for the features
    norm: Tensor  # of the gradient, before it was clipped
    finite: bool  # the loss and the gradient; otherwise nothing was changed


def _check_start(at: TrainingPosition, path: Path) -> None:
    """Refuse processes that would go on from different steps.

    Raises:
        RunError: they see different checkpoints.
    """
    if sums(at.step)[0] != at.step * world():
        raise RunError(
            f"{path}: not all processes see the same checkpoint; put runs_dir= on a disk that they "
            "share"
        )


def _agreed(asked: bool, due: bool, elapsed: float) -> tuple[bool, bool, float]:
    """The same in all processes: has any been asked to end, and the clock of the first one."""
    first = is_first()
    any_asked, is_due, seconds = sums(asked, due * first, elapsed * first)
    return any_asked > 0, is_due > 0, seconds


def _step(
    learner: Learner, shared: Sharing, optimiser: torch.optim.Optimizer, o: Optimisation, *,
    step: int, seed: int,
) -> _Made:  # fmt: skip
    """One step of the optimiser: the mean gradient of `accumulate` batches."""
    buffers = [buffer.clone() for buffer in learner.buffers()]
    optimiser.zero_grad(set_to_none=True)
    parts = []
    for number in range(step * o.accumulate, (step + 1) * o.accumulate):
        # A seed of (seed, number): masks and noise do not depend on earlier batches.
        generator = Generator().manual_seed(seed * 1_000_003 + number)
        with autocast(device_of(learner), o):
            losses = shared.losses(number, generator)
        (losses.total / o.accumulate).backward()
        learner.prefetch(number + 1)
        parts.append(losses)
    losses = averaged(_mean(parts))
    trained = [p for p in learner.parameters() if p.requires_grad]
    norm = whole(nn.utils.clip_grad_norm_(trained, o.clip))
    finite = bool(norm.isfinite() & losses.total.isfinite())
    if finite:
        optimiser.step()
    else:
        with torch.no_grad():  # batch statistics saw what was not finite
            for buffer, before in zip(learner.buffers(), buffers, strict=True):
                buffer.copy_(before)
    return _Made(losses, norm, finite)


def _mean(parts: Sequence[Losses]) -> Losses:
    """The mean of the terms and numbers of several batches, with the features of the last."""

    def mean(dictionaries: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        names = dict.fromkeys(name for each in dictionaries for name in each)
        return {
            name: torch.stack([each[name].detach() for each in dictionaries if name in each]).mean()
            for name in names
        }

    terms, numbers = mean([p.terms for p in parts]), mean([p.numbers for p in parts])
    return Losses(terms, parts[-1].features, numbers)


def _say_skipped(run: Run, learner: Learner, made: _Made, at: TrainingPosition) -> None:
    """Tell of a step that is left out.

    Raises:
        WorldModelError: it is the last of too many in a row.
    """
    terms = ", ".join(f"{name} {value.item():g}" for name, value in made.losses.terms.items())
    found = f"gradient {made.norm.item():g}; {terms}"
    if at.skipped_in_a_row + 1 < MOST_SKIPPED:
        run.say(f"step {at.step}: loss or gradient is not finite ({found}); skipped")
        return
    names = list(dict.fromkeys(learner.sources))
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    read = f"; its last batch was read from {', '.join(names[:8])}{more}" if names else ""
    raise WorldModelError(
        f"step {at.step}: loss or gradient is not finite ({found}), for the {MOST_SKIPPED}th time "
        f"in a row{read}; lower optimisation.learning_rate"
    )


def _numbers(run: Run, made: _Made, step: int) -> dict[str, float]:
    """The numbers of a log line: the loss and its terms, and signs of collapse."""
    losses = made.losses
    numbers = {
        "loss": losses.total.item(),
        **{f"loss.{name}": term.item() for name, term in losses.terms.items()},
        **{name: float(value) for name, value in losses.numbers.items()},
        "gradient_norm": float(made.norm),
    }
    if losses.features is None or not made.finite:
        return numbers
    features = of_all(losses.features)
    if not is_first():
        return numbers
    diagnosis = collapse.diagnose(features)
    if diagnosis.alarm and step > 50:  # before, nothing has been learnt
        run.say(f"ALARM at step {step}: {diagnosis.alarm}")
    # The regulariser's own SIGReg replaces the one that is sampled for the log.
    return {**diagnosis.numbers(), **numbers, "alarm": float(diagnosis.alarm is not None)}
