"""Linear probes: what can be read out of frozen latents, beside an untrained model and pixels.

A read-out is a ridge regression, fitted on some episodes and tested on others. It shows what is in
the latents, not what the model was trained for.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import rearrange
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from worldmodel.architecture import check_frames
from worldmodel.datasets import open_episodes
from worldmodel.episodes.windows import EpisodeArrays, load_arrays
from worldmodel.errors import ConfigError
from worldmodel.evaluation.attentive_readout import TimeSteps, attentive_results
from worldmodel.evaluation.baselines import pixel_features, untrained
from worldmodel.evaluation.frozen_features import pixels, tokens_of
from worldmodel.evaluation.probes.attentive import AttentiveProbe
from worldmodel.evaluation.readout import Readout, scored
from worldmodel.interop.load import load
from worldmodel.model import WorldModel
from worldmodel.nn.heads import time_step_latents

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

Features = Callable[[Tensor], Tensor]  # time steps b i c h w in [0, 1] -> b d
PENALTIES = tuple(10.0**e for e in range(-3, 5))


def linear_readout(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray, *, seed: int = 0,
) -> Readout:  # fmt: skip
    """Fit a ridge regression (penalty chosen on the training part) and test it on the other.

    Args:
        train: features n d and targets n k.
        test: the same of other episodes.
        groups: n, the episode of each row of `test`: what is resampled.
        seed: of the resampling.
    """
    model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
    model.fit(*train)
    x, y = test
    return scored(model.predict(x), y, groups, seed=seed)


def features_of(model: WorldModel) -> Features:
    """The latents of a time step, or the mean of its tokens where there is no head."""

    @torch.inference_mode()
    def features(time_steps: Tensor) -> Tensor:
        if model.head is None:
            some = (model.encoder(piece.to(model.device)) for piece in time_steps.split(32))
            return torch.cat([tokens.mean(dim=1) for tokens in some]).cpu()
        seen = time_steps[:, -model.state_frames :].to(model.device)
        latents = time_step_latents(model.encoder, model.head, seen)
        return latents.flatten(1).cpu()

    return features


def time_steps_of(arrays: EpisodeArrays, p: int) -> tuple[Tensor, Tensor, Tensor]:
    """Time steps side by side in each episode.

    Returns:
        (frames n p c h w uint8, rows n: the last frame of each, episodes n).
    """
    frames, rows, episodes = [], [], []
    for index, place in enumerate(arrays.slices):
        count = (place.stop - place.start) // p
        piece = arrays.frames[place.start : place.start + count * p]
        frames.append(rearrange(piece, "(n p) c h w -> n p c h w", p=p))
        rows.append(place.start + p * torch.arange(count) + p - 1)
        episodes.append(torch.full((count,), index))
    return torch.cat(frames), torch.cat(rows), torch.cat(episodes)


def extract(features: Features, frames: Tensor, *, chunk: int = 512) -> np.ndarray:
    """Features of uint8 time steps n p c h w, a chunk at a time: n d."""
    pieces = [features(piece.float() / 255).numpy() for piece in frames.split(chunk)]
    return np.concatenate(pieces)


def probe(
    run: "Run", *, model: str, episodes: str, targets: Sequence[str] = ("position", "velocity"),
    pretrained: str | None = None, train_share: float = 0.7, seed: int = 0, device: str = "cpu",
    reading: Mapping[str, Any] | None = None, attentive: AttentiveProbe | None = None,
) -> dict[str, float]:  # fmt: skip
    """Read out a model's state linearly, and that of the baselines it is compared with.

    A model without a head, such as a third-party one, is read by its mean token.

    Args:
        run: where results go.
        model: a trained model, or the run that made it.
        episodes: of any format, that were not trained on, with `targets` in their info.
        targets: names of infos; the state of a time step is compared with its last frame's.
        pretrained: a model before it learned actions, or None.
        train_share: of the episodes, to fit on; the rest is held out.
        seed: of the untrained model and of the intervals.
        device: where to compute.
        reading: options of the episodes' format, for example `{camera: top}`; see `data.formats`.
        attentive: read the targets out of all tokens of a time step too, for example `{depth: 1}`;
            its hyper-parameters are chosen on a fifth of the episodes to fit on.

    Returns:
        `<target>_r2`, and `pretrained_`, `random_init_` and `pixels_<target>_r2`, each with `.n`,
        `.low` and `.high`. With `attentive`, the same under `attentive.`.
    """
    learned = load(model, device=device)
    if attentive is not None:
        attentive.check(learned.encoder.width)
    arrays = load_arrays(open_episodes(episodes, **({"fit": learned.size} | dict(reading or {}))))
    check_targets(arrays, episodes, targets)
    check_size(arrays, episodes, learned)
    models = {"": learned}
    if pretrained is not None:
        models["pretrained_"] = load(pretrained, device=device)
        check_size(arrays, episodes, models["pretrained_"])
    models["random_init_"] = untrained(learned, seed=seed)
    candidates = {name: features_of(each) for name, each in models.items()}
    candidates["pixels_"] = pixel_features
    frames, rows, groups = time_steps_of(arrays, learned.tubelet_frames)
    last_to_fit = int(train_share * len(arrays))
    if not 2 <= last_to_fit <= len(arrays) - 2:
        raise ConfigError(
            f"{episodes}: {len(arrays)} episodes leave {last_to_fit} to fit on with "
            f"train_share={train_share} and the others to test on; take at least two of each"
        )
    wanted = {
        name: arrays.info[name][rows].double().numpy().reshape(len(rows), -1) for name in targets
    }
    fit, held_out = groups < last_to_fit, groups >= last_to_fit
    results: dict[str, float] = {}
    for name, features in candidates.items():
        x = extract(features, frames)
        for target, y in wanted.items():
            readout = linear_readout(
                (x[fit], y[fit]), (x[held_out], y[held_out]), groups[held_out].numpy(), seed=seed
            )
            results |= readout.results(f"{name}{target}_r2")
    if attentive is None:
        return results
    encoders = {name: tokens_of(each) for name, each in models.items()}
    encoders["pixels_"] = pixels(learned.tubelet_frames)
    steps = TimeSteps(frames, groups.numpy(), last_to_fit)
    return results | attentive_results(attentive, encoders, wanted, steps, seed=seed, device=device)


def check_targets(arrays: EpisodeArrays, source: str, targets: Sequence[str]) -> None:
    """Refuse episodes that have not all targets in their infos.

    Raises:
        ConfigError: one is missing.
    """
    unknown = [name for name in targets if name not in arrays.info]
    if unknown:
        raise ConfigError(
            f"{source}: no info '{unknown[0]}' in all its episodes; there are "
            f"{', '.join(arrays.info)}"
        )


def check_size(arrays: EpisodeArrays, source: str, model: WorldModel) -> None:
    """Refuse episodes whose frames do not fit a model.

    Raises:
        ConfigError: they have another size than the model needs.
    """
    any_size = model.head is None or model.head.per_token
    check_frames(arrays.frames, source, model.encoder, size=model.size, any_size=any_size)
