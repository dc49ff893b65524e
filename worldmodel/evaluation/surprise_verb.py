"""The verb `surprise`: score a clip, or matched pairs of possible and impossible clips."""

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from worldmodel.errors import ConfigError, VideoError
from worldmodel.evaluation.statistics import auroc, rate_results
from worldmodel.evaluation.surprise import both, surprise
from worldmodel.interop.load import load
from worldmodel.model import WorldModel
from worldmodel.nn.token_predictor import TokenPredictor
from worldmodel.storage.tensors import save_tensors
from worldmodel.types import Clip
from worldmodel.video.arguments import counted
from worldmodel.video.decoding import Decoding
from worldmodel.video.open import read_clip, video_info

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

SHOWN = 5  # pairs of each kind that are kept; the report shows the median one


def judge(
    run: "Run", *, model: str, clips: str | None = None, suite: Callable[..., Any] | None = None,
    pixel_change: Callable[[np.ndarray], np.ndarray] | None = None,
    kinds: Sequence[str] = ("teleport", "vanish", "colour"), pairs: int = 100,
    num_frames: int = 16, fps: float | None = None, window: int | None = None,
    seen: int | None = None, video: Decoding | None = None, seed: int = 0, device: str = "cpu",
) -> dict[str, float]:  # fmt: skip
    """Score clips, or run a violation suite; leaves curves for the report.

    Args:
        run: where results and `examples.safetensors` go.
        model: with a masked predictor, or the run that trained it.
        clips: a video to score from beginning to end; without it the suite is run.
        suite: `suite(kind, n, seed=, num_frames=)` makes pairs of possible and impossible clips
            (`possible`, `impossible`: n t h w c uint8; `step`: n).
        pixel_change: the baseline that knows only pixels, n t h w c -> n t-1.
        kinds: of violations.
        pairs: of each kind.
        num_frames: frames of a clip of the suite.
        fps: frames per second that a video is read at; its own rate if None.
        window: time steps that a predictor of tokens looks at together; its own number if None.
        seen: how many of them it sees; its own number if None.
        video: how a video is decoded.
        seed: of the suite.
        device: where to compute.

    Returns:
        `<kind>.pair_accuracy`, `.pair_accuracy_max` and `.auroc`, and the same of the baselines,
        with intervals; see `_compare`. For a video `steps`, `mean`, `max` and
        `seconds_of_max`.
    """
    learned = load(model, device=device)
    if window is not None or seen is not None:
        _watch(learned, window, seen)
    if clips is not None:
        return _score_video(run, learned, clips, fps=fps, video=video or Decoding())
    if suite is None or pixel_change is None:
        raise ConfigError("surprise needs clips=<video>, or a suite and its pixel_change")
    results: dict[str, float] = {}
    shown: list[tuple[str, Tensor, Tensor, int]] = []
    with run.progress(len(kinds), "surprise") as bar:
        for kind in kinds:
            made = suite(kind, pairs, seed=1_000_000 + seed, num_frames=num_frames)
            curves = [
                _curves(learned, frames, pixel_change)
                for frames in (made.possible, made.impossible)
            ]
            results |= _compare(kind, *curves)
            for i in range(min(SHOWN, pairs)):
                for frames, scores in zip((made.possible, made.impossible), curves, strict=True):
                    shown.append(
                        (kind, torch.from_numpy(frames[i]), scores["model"][i], int(made.step[i]))
                    )
            bar.advance()
    _keep(run, shown, time_step_frames=learned.tubelet_frames)
    return results


def _watch(model: WorldModel, window: int | None, seen: int | None) -> None:
    predictor = model.masked_predictor
    if not isinstance(predictor, TokenPredictor):
        raise ConfigError(
            "window and seen are for predictors of tokens, such as V-JEPA's; this model predicts "
            "each time step from the one before it"
        )
    predictor.watch(
        predictor.window if window is None else window, predictor.seen if seen is None else seen
    )


def _curves(
    model: WorldModel, frames: np.ndarray, pixel_change: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Tensor]:
    """Scores per time step of the model and its baselines, n t each."""
    pieces: dict[str, list[Tensor]] = {"model": [], "copy": []}
    for some in torch.from_numpy(frames).split(50):
        clip = Clip.from_uint8(rearrange(some, "n t h w c -> n t c h w").contiguous())
        learned, copied = both(model, clip)
        pieces["model"].append(learned.scores)
        pieces["copy"].append(copied.scores)
    return {
        **{name: torch.cat(scores) for name, scores in pieces.items()},
        "pixel": torch.from_numpy(pixel_change(frames)),
    }


def _compare(
    kind: str, possible: dict[str, Tensor], impossible: dict[str, Tensor]
) -> dict[str, float]:
    """Pair accuracy (a tie counts half) and AUROC of the model and its baselines.

    As Garrido et al. 2025 (arXiv:2502.11831): clips of a pair are compared by their mean surprise,
    single clips by their largest. `pair_accuracy_max` compares pairs by the largest too: there a
    pair ties when the largest came before the violation.
    """
    results: dict[str, float] = {}
    for name, prefix in (("model", ""), ("pixel", "pixel_"), ("copy", "copy_")):
        clips = [x[name].double().numpy() for x in (possible, impossible)]  # n t each
        means, largest = ([f(x, axis=1) for x in clips] for f in (np.mean, np.max))
        n = len(means[0])
        key = f"{kind}.{prefix}pair_accuracy"
        results |= rate_results(key, _right(*means), n)
        results |= rate_results(f"{key}_max", _right(*largest), n)
        area = auroc(*largest)
        key = f"{kind}.{prefix}auroc"
        results |= {
            key: area[0], f"{key}.n": float(n), f"{key}.low": area[1], f"{key}.high": area[2],
        }  # fmt: skip
    return results


def _right(possible: np.ndarray, impossible: np.ndarray) -> float:
    """In how many pairs the impossible clip scores higher.

    A tie is a coin's throw: a baseline that sees no difference is right half of the time.
    """
    won, tied = impossible > possible, impossible == possible
    return float(won.sum()) + 0.5 * float(tied.sum())


def _score_video(
    run: "Run", model: WorldModel, path: str, *, fps: float | None, video: Decoding
) -> dict[str, float]:
    info = video_info(path, stream=video.stream, limits=video.limits)
    p = model.tubelet_frames
    slower = fps is not None and fps < info.fps
    count = int(info.duration * fps if slower and fps else info.frames) // p * p
    if count < 2 * p:
        has = f"{counted(info.frames, 'frame')}, {info.duration:.3g} s"
        rate = f" at {fps:g}/s" if slower else ""
        raise VideoError(f"{path}: too short for surprise: {has}; it takes {2 * p}{rate}")
    # At the video's own rate frames are taken as they come, whatever lies between them.
    clip = read_clip(
        path, num_frames=count, fps=fps if slower else None, size=model.size,
        backend=video.backend, stream=video.stream, limits=video.limits,
    )  # fmt: skip
    scores = surprise(model, clip)
    frames = (rearrange(clip.frames[0], "t c h w -> t h w c") * 255).round().to(torch.uint8)
    _keep(run, [("video", frames, scores.scores[0], -1)], clip.times,
          time_step_frames=p)  # fmt: skip
    return {
        "steps": scores.scores.shape[1], "mean": float(scores.scores.mean()),
        "max": float(scores.scores.max()),
        "seconds_of_max": float(scores.times[0, int(scores.scores[0].argmax())]),
    }  # fmt: skip


def _keep(
    run: "Run", shown: Sequence[tuple[str, Tensor, Tensor, int]], times: Tensor | None = None, *,
    time_step_frames: int,
) -> None:  # fmt: skip
    """What the report shows: possible and impossible clips in turn, with their curves."""
    kinds, frames, scores, steps = zip(*shown, strict=True)
    tensors = {
        "frames": torch.stack(frames),  # n t h w c, uint8
        "scores": torch.stack(scores).float(),  # n s, of the last s time steps of a clip
        "step": torch.tensor(steps[::2]),  # pairs, the first frame that differs
    }
    if times is not None:
        tensors["times"] = times  # n t, seconds
    save_tensors(
        tensors,
        {
            "kinds": json.dumps(list(kinds[::2]) if len(kinds) > 1 else []),
            "time_step_frames": str(time_step_frames),
        },
        run.folder / "examples.safetensors",
    )
