"""The verb `surprise`: score a video, or matched pairs of possible and impossible clips.

Pairs are made here, by a simulation, or read from a published suite (`suite_surprise.py`).
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from worldmodel.datasets.frame_folders import timed_frames
from worldmodel.errors import ConfigError, VideoError
from worldmodel.evaluation.pairs import pair_results
from worldmodel.evaluation.suite_surprise import suite_surprise
from worldmodel.evaluation.suites.suite import Suite, SuiteData
from worldmodel.evaluation.surprise import surprise, surprise_and_persistence
from worldmodel.evaluation.surprise_protocol import SurpriseProtocol
from worldmodel.interop.load import load
from worldmodel.model import WorldModel
from worldmodel.nn.token_predictor import TokenPredictor
from worldmodel.storage.tensors import save_tensors
from worldmodel.types import Clip
from worldmodel.video.arguments import counted
from worldmodel.video.clip import read_clip, video_info
from worldmodel.video.decoding import Decoding

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

KEPT = 5  # pairs of each kind that are kept; the report shows the median one


@dataclass(frozen=True)
class ViolationSuite:
    """Matched pairs of clips that differ in one violation.

    Attributes:
        make_pairs: `make_pairs(kind, n, seed=, num_frames=)` gives pairs of possible and impossible
            clips (`possible`, `impossible`: n t h w c uint8; `step`: n, the first frame that
            differs).
        pixel_change: the baseline that knows only pixels, n t h w c -> n t-1.
        kinds: of violations.
        num_frames: of a clip.
    """

    make_pairs: Callable[..., Any]
    pixel_change: Callable[[np.ndarray], np.ndarray]
    kinds: Sequence[str] = ("teleport", "vanish", "colour")
    num_frames: int = 16


@dataclass(frozen=True)
class Window:
    """The time steps that a predictor of tokens looks at together; None leaves its own number.

    Attributes:
        length: how many there are.
        seen: how many of them it sees; it predicts the others.
    """

    length: int | None = None
    seen: int | None = None


def surprise_verb(
    run: "Run", *, model: str, clips: str | None = None, pairs: int = 100,
    suite: ViolationSuite | Suite | None = None, data: SuiteData | None = None,
    protocol: SurpriseProtocol | None = None, fps: float | None = None,
    window: Window | None = None, video: Decoding | None = None, seed: int = 0,
    device: str = "cpu",
) -> dict[str, float]:  # fmt: skip
    """Score a video, or run a violation suite; keeps curves for the report.

    Args:
        run: where results and `examples.safetensors` go.
        model: with a masked predictor, or the run that trained it.
        clips: a video, or a folder of frames, to score; without it the suite is run.
        pairs: of each kind of violation, where they are made.
        suite: what makes the pairs, and of which kinds; or the layout of a published suite.
        data: where that is.
        protocol: how its clips become numbers.
        fps: frames per second that a video is read at; its own rate if None. Of a folder of frames
            without `fps.txt` it is the rate.
        window: of a predictor of tokens; of a published suite, `protocol` says it.
        video: how a video is decoded.
        seed: of the suite; of a published one, of the untrained model.
        device: where to compute.

    Returns:
        `<kind>.pair_accuracy`, `.pair_accuracy_max` and `.auroc`, and the same of the baselines,
        with intervals; see `pair_results`. Of a published suite those of `suite_surprise`. For a
        video `steps`, `mean`, `max` and `seconds_of_max`.

    Raises:
        ConfigError: settings that contradict one another, or that the model cannot take.
    """
    _check_settings(clips, suite, data, protocol, fps, window)
    learned = load(model, device=device)
    if window is not None and window != Window():
        _set_window(learned, window)
    if clips is not None:
        return _score_video(run, learned, clips, fps=fps, video=video or Decoding())
    if isinstance(suite, Suite):
        assert data is not None and data.path is not None
        return suite_surprise(
            run, learned, suite, data.path, protocol=protocol or SurpriseProtocol(),
            learned_from=model, decoding=video or Decoding(), seed=seed,
        )  # fmt: skip
    assert suite is not None
    return _score_made_pairs(run, learned, suite, pairs, seed)


def _check_settings(
    clips: str | None, suite: ViolationSuite | Suite | None, data: SuiteData | None,
    protocol: SurpriseProtocol | None, fps: float | None, window: Window | None,
) -> None:  # fmt: skip
    """Refuse settings of one kind of scoring where another is asked for."""
    published = isinstance(suite, Suite)
    if published and clips is not None:
        raise ConfigError("clips= scores a video, suite= a published suite: leave one out")
    if clips is None and suite is None:
        raise ConfigError("surprise needs clips=<video>, or a suite of violations")
    if published and (data is None or data.path is None):
        raise ConfigError("data.path is not set: say where the suite is with data.path=...")
    if published and window not in (None, Window()):
        raise ConfigError(
            "window.length and window.seen are of videos and made pairs: of a published suite say "
            "protocol.window= and protocol.seen="
        )
    if published and fps is not None:
        raise ConfigError("fps is of a video: of a published suite say protocol.fps=")
    if not published:
        for name, value, left in (("data.path", data, SuiteData()),
                                  ("protocol", protocol, SurpriseProtocol())):  # fmt: skip
            if value not in (None, left):
                raise ConfigError(f"{name} is of a published suite: say which with suite=")


def _score_made_pairs(
    run: "Run", learned: WorldModel, suite: ViolationSuite, pairs: int, seed: int
) -> dict[str, float]:
    """Score pairs that are made, kind by kind; see `pair_results`."""
    results: dict[str, float] = {}
    kept: list[tuple[str, Tensor, Tensor, int]] = []
    with run.progress(len(suite.kinds), "surprise") as bar:
        for kind in suite.kinds:
            made = suite.make_pairs(kind, pairs, seed=1_000_000 + seed, num_frames=suite.num_frames)
            possible, impossible = (
                _scores(learned, frames, suite.pixel_change)
                for frames in (made.possible, made.impossible)
            )
            for scorer, prefix in (("model", ""), ("pixel", "pixel_"), ("persistence", "copy_")):
                both = (x[scorer].double().numpy() for x in (possible, impossible))
                results |= pair_results(f"{kind}.{prefix}", *both)
            for i in range(min(KEPT, pairs)):
                for frames, scores in ((made.possible, possible), (made.impossible, impossible)):
                    kept.append(
                        (kind, torch.from_numpy(frames[i]), scores["model"][i], int(made.step[i]))
                    )
            bar.advance()
    _keep(run, kept, time_step_frames=learned.tubelet_frames)
    return results


def _set_window(model: WorldModel, window: Window) -> None:
    predictor = model.masked_predictor
    if not isinstance(predictor, TokenPredictor):
        raise ConfigError(
            "window.length and window.seen are for predictors of tokens, such as V-JEPA's; this "
            "model predicts each time step from the one before it"
        )
    predictor.set_window(
        predictor.window if window.length is None else window.length,
        predictor.seen if window.seen is None else window.seen,
    )


def _scores(
    model: WorldModel, frames: np.ndarray, pixel_change: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Tensor]:
    """Scores per time step of the model and its baselines, n t each."""
    pieces: dict[str, list[Tensor]] = {"model": [], "persistence": []}
    for some in torch.from_numpy(frames).split(50):
        clip = Clip.from_uint8(rearrange(some, "n t h w c -> n t c h w").contiguous())
        learned, persistence = surprise_and_persistence(model, clip)
        pieces["model"].append(learned.scores)
        pieces["persistence"].append(persistence.scores)
    return {
        **{name: torch.cat(scores) for name, scores in pieces.items()},
        "pixel": torch.from_numpy(pixel_change(frames)),
    }


def _score_video(
    run: "Run", model: WorldModel, path: str, *, fps: float | None, video: Decoding
) -> dict[str, float]:
    source: Any = path
    if os.path.isdir(path):
        info, source = timed_frames(path, video, fps=fps)
    else:
        info = video_info(path, stream=video.stream, limits=video.limits)
    p = model.tubelet_frames
    slower = fps is not None and fps < info.fps
    count = int(info.duration * fps if slower and fps else info.frames) // p * p
    if count < 2 * p:
        has = f"{counted(info.frames, 'frame')}, {info.duration:.3g} s"
        rate = f" at {fps:g}/s" if slower else ""
        raise VideoError(f"{path}: too short for surprise: {has}; it takes {2 * p}{rate}")
    # At the video's own rate every frame is taken, however far apart they are.
    clip = read_clip(
        source, num_frames=count, fps=fps if slower else None, size=model.size,
        backend=video.backend, stream=video.stream, limits=video.limits,
    )  # fmt: skip
    scores = surprise(model, clip)
    frames = (rearrange(clip.frames[0], "t c h w -> t h w c") * 255).round().to(torch.uint8)
    kept = [("video", frames, scores.scores[0], -1)]
    _keep(run, kept, clip.times, time_step_frames=p)
    return {
        "steps": scores.scores.shape[1], "mean": float(scores.scores.mean()),
        "max": float(scores.scores.max()),
        "seconds_of_max": float(scores.times[0, int(scores.scores[0].argmax())]),
    }  # fmt: skip


def _keep(
    run: "Run", kept: Sequence[tuple[str, Tensor, Tensor, int]], times: Tensor | None = None, *,
    time_step_frames: int,
) -> None:  # fmt: skip
    """Write what the report shows: possible and impossible clips in turn, with their curves."""
    kinds, frames, scores, steps = zip(*kept, strict=True)
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
