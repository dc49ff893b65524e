"""Attentive read-outs of numbers: what all tokens of a time step tell, not their mean alone.

The network of an attentive probe, with a number for each dimension of a target in place of a score
for each class.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from worldmodel.evaluation.frozen_features import Encode
from worldmodel.evaluation.probes.attentive import AttentiveProbe
from worldmodel.evaluation.readout import Readout, scored
from worldmodel.nn.classifier import AttentiveClassifier

_CHOOSING = 0.2  # of the training episodes, on which hyper-parameters are chosen


@dataclass(frozen=True)
class TimeSteps:
    """Time steps of episodes, in the order of the episodes.

    Attributes:
        frames: n p c h w, uint8.
        groups: n, the episode of each.
        last_to_fit: the first held-out episode.
    """

    frames: Tensor
    groups: np.ndarray
    last_to_fit: int

    @property
    def parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which time steps are fitted on, chosen on and tested on, n bool each."""
        choosing = self.last_to_fit - max(1, round(_CHOOSING * self.last_to_fit))
        fit = self.groups < choosing
        return fit, (self.groups < self.last_to_fit) & ~fit, self.groups >= self.last_to_fit


@torch.inference_mode()
def tokens_in_memory(encode: Encode, frames: Tensor, *, chunk: int = 64) -> Tensor:
    """Tokens n t d of uint8 time steps n p c h w, in half precision where they fit."""
    tokens = torch.cat([encode(some.float() / 255)[0] for some in frames.split(chunk)])
    half = tokens.half()
    return half if half.isfinite().all() else tokens


def attentive_readout(
    probe: AttentiveProbe, tokens: Tensor, y: np.ndarray, steps: TimeSteps, *, seed: int,
    device: str,
) -> Readout:  # fmt: skip
    """Train a probe for each pair of hyper-parameters, and test the best on held-out episodes.

    Args:
        probe: its settings.
        tokens: n t d, of every time step.
        y: n k, the target.
        steps: which time steps are fitted on, chosen on and tested on.
        seed: of initial weights, batches and the interval.
        device: where to compute.
    """
    fit, choosing, test = steps.parts
    mean, deviation = y[fit].mean(axis=0), y[fit].std(axis=0) + 1e-8
    wanted = torch.from_numpy((y - mean) / deviation).float()
    rows = torch.from_numpy(np.flatnonzero(fit))
    trained = probe.train(
        _batches(tokens, wanted, rows, probe.batch, seed), tokens.shape[-1], y.shape[1],
        F.mse_loss, steps=probe.steps_of(len(rows)), seed=seed, device=device,
    )  # fmt: skip
    errors = [
        float(F.mse_loss(_predicted(network, tokens, choosing, probe.batch), wanted[choosing]))
        for network in trained
    ]
    best = _predicted(trained[int(np.argmin(errors))], tokens, test, probe.batch)
    predicted = best.double().numpy() * deviation + mean
    return scored(predicted, y[test], steps.groups[test], seed=seed)


def attentive_results(
    probe: AttentiveProbe, encoders: Mapping[str, Encode], targets: Mapping[str, np.ndarray],
    steps: TimeSteps, *, seed: int, device: str,
) -> dict[str, float]:  # fmt: skip
    """`attentive.<encoder><target>_r2` of every encoder and target, with intervals."""
    results: dict[str, float] = {}
    for name, encode in encoders.items():
        tokens = tokens_in_memory(encode, steps.frames)
        for target, y in targets.items():
            found = attentive_readout(probe, tokens, y, steps, seed=seed, device=device)
            results |= found.results(f"attentive.{name}{target}_r2")
    return results


def _batches(
    tokens: Tensor, wanted: Tensor, rows: Tensor, batch: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    generator = Generator().manual_seed(seed)
    while True:
        for some in rows[torch.randperm(len(rows), generator=generator)].split(batch):
            yield tokens[some].float(), wanted[some]


@torch.inference_mode()
def _predicted(
    network: AttentiveClassifier, tokens: Tensor, chosen: np.ndarray, batch: int
) -> Tensor:
    device = network.query.device
    some = tokens[torch.from_numpy(chosen)].split(batch)
    return torch.cat([network(part.float().to(device)).cpu() for part in some])
