"""A model on a published suite: surprise at its clips, beside baselines, pair by pair."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from worldmodel.errors import VideoError
from worldmodel.evaluation.baselines import untrained
from worldmodel.evaluation.overlap import run_settings
from worldmodel.evaluation.suite_results import ScoredClip, compared, suite_results
from worldmodel.evaluation.suites.matching import matched
from worldmodel.evaluation.suites.reading import ShownClip, show
from worldmodel.evaluation.suites.suite import Suite, SuiteClip
from worldmodel.evaluation.surprise_protocol import SurpriseProtocol, facts
from worldmodel.evaluation.window_surprise import (
    predictor_for,
    starts,
    window_change,
    window_surprise,
)
from worldmodel.model import WorldModel
from worldmodel.storage.files import whole_file
from worldmodel.video.decoding import Decoding

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

Scores = Mapping[str, np.ndarray]  # of each scorer, a number for each window
# What the results of each scorer begin with.
PREFIXES = {"model": "", "pixel": "pixel.", "copy": "copy.", "untrained": "untrained."}


@dataclass(frozen=True)
class Judge:
    """A model and its baselines, and how a clip is shown to them.

    Attributes:
        model: with a masked predictor.
        baseline: the same networks with the weights that they start with.
        protocol: how a clip becomes numbers.
        fps: frames per second that a clip is shown at; None for its own.
        decoding: how files are decoded.
    """

    model: WorldModel
    baseline: WorldModel
    protocol: SurpriseProtocol
    fps: float | None
    decoding: Decoding

    def show(self, clip: SuiteClip) -> ShownClip:
        """Read a clip as the models are shown it."""
        return show(
            clip, size=self.model.size, tubelet_frames=self.model.tubelet_frames, fps=self.fps,
            priming=self.protocol.memory == "long", framing=self.protocol.framing,
            decoding=self.decoding,
        )  # fmt: skip

    def scores(self, name: str, shown: ShownClip) -> Scores:
        """The numbers of all scorers.

        Raises:
            VideoError: the clip is shorter than a window.
        """
        frames, tubelet = shown.clip.frames, self.model.tubelet_frames
        steps = frames.shape[1] // tubelet
        begins = starts(steps, shown.primed, self.protocol)
        if not begins:
            rate = f" at {self.fps:g} frames per second" if self.fps else ""
            raise VideoError(
                f"{name}: has {steps - shown.primed} time steps of {tubelet} frames{rate}, fewer "
                f"than a window of {self.protocol.window}; set protocol.window=, or a higher "
                "protocol.fps="
            )
        learned, copied = window_surprise(self.model, frames, begins, self.protocol)
        unlearned, _ = window_surprise(self.baseline, frames, begins, self.protocol)
        changes = window_change(frames, begins, tubelet, self.protocol)
        found = {"model": learned, "pixel": changes, "copy": copied, "untrained": unlearned}
        return {scorer: x.double().numpy() for scorer, x in found.items()}


def suite_surprise(
    run: "Run", model: WorldModel, suite: Suite, path: str, *, protocol: SurpriseProtocol,
    learned_from: str, decoding: Decoding, seed: int,
) -> dict[str, float]:  # fmt: skip
    """Score all clips of a suite; writes `protocol.json` and `scores.json` into the run's folder.

    Args:
        run: where they go.
        model: with a masked predictor.
        suite: its layout.
        path: its folder.
        protocol: how a clip becomes a number.
        learned_from: the path of the model, beside which its run may say its rate.
        decoding: how files are decoded.
        seed: of the untrained model.

    Returns:
        What `suite_results` makes of the pairs, and the same of the baselines: `pixel.*` how much
        pixels change, `copy.*` persistence in the model's own latents, `untrained.*`; and
        `*.p_against_pixel` and so on, see `compared`. Of a suite without labels the number of
        `clips`; the file to submit is in the run's folder.

    Raises:
        VideoError: naming what is missing or damaged.
        ConfigError: the model cannot be asked what the protocol asks.
    """
    predictor_for(model, protocol)  # refused before a folder is looked into
    clips = suite.clips(path)
    fps = protocol.fps or _learned_fps(learned_from)
    name = type(suite).__name__
    asked = facts(protocol, name, clips, tubelet_frames=model.tubelet_frames, fps=fps)
    run.say("; ".join(f"{key}: {value}" for key, value in asked.items()))
    judge = Judge(model, untrained(model, seed=seed), protocol, fps, decoding)
    if any(clip.possible is None for clip in clips):
        results = _submit(run, judge, suite, path, clips)
        _write(run, "protocol.json", asked)
        return results
    scored = _score_pairs(run, judge, clips)
    _write(run, "protocol.json", asked)  # what was refused before leaves no files
    results = {}
    for scorer, prefix in PREFIXES.items():
        results |= {f"{prefix}{key}": x for key, x in suite_results(scored[scorer]).items()}
        if prefix:
            results |= compared(scored["model"], scored[scorer], scorer)
    return results


def _score_pairs(
    run: "Run", judge: Judge, clips: Sequence[SuiteClip]
) -> dict[str, list[ScoredClip]]:
    """Score both clips of every pair, by each scorer."""
    rates: set[float] = set()
    scored: dict[str, list[ScoredClip]] = {scorer: [] for scorer in PREFIXES}
    kept, uneven = [], []
    with run.progress(len(clips) // 2, "surprise") as bar:
        for pair in matched(clips, judge.decoding):
            both = [(clip, _told(run, judge, clip, rates)) for clip in (pair.possible, pair.other)]
            lengths = {len(scores["model"]) for _, scores in both}
            if len(lengths) > 1:
                uneven.append(pair.possible.name)
            for clip, scores in both:
                # Of the longer clip the last windows are left out: means are of as many windows.
                same = {scorer: x[: min(lengths)] for scorer, x in scores.items()}
                can_happen = clip is pair.possible
                for scorer, values in same.items():
                    used = _aggregated(values, judge.protocol)
                    scored[scorer].append(
                        ScoredClip(
                            clip.scene, clip.property, clip.condition, pair.number, can_happen, used
                        )
                    )
                kept.append(_row(clip, same, pair=pair.number, possible=can_happen))
            bar.advance()
    if uneven:
        run.say(f"{len(uneven)} pairs are of clips of different lengths (the first: {uneven[0]}); "
                "both are scored over as many windows as the shorter has")  # fmt: skip
    _write(run, "scores.json", kept)
    return scored


def _told(run: "Run", judge: Judge, clip: SuiteClip, rates: set[float]) -> Scores:
    """Score a clip; say it once of each rate that clips are resampled from."""
    shown = judge.show(clip)
    if judge.fps and abs(shown.fps / judge.fps - 1) > 1e-3 and round(shown.fps, 2) not in rates:
        rates.add(round(shown.fps, 2))
        run.say(f"{clip.name}: has {shown.fps:.4g} frames per second, the model is shown "
                f"{judge.fps:g}, the nearest in time")  # fmt: skip
    return judge.scores(clip.name, shown)


def _submit(
    run: "Run", judge: Judge, suite: Suite, path: str, clips: Sequence[SuiteClip]
) -> dict[str, float]:
    """Score the clips of a suite that keeps its labels, and write what its authors score."""
    rates: set[float] = set()
    surprises, kept = {}, []
    with run.progress(len(clips), "surprise") as bar:
        for clip in clips:
            scores = _told(run, judge, clip, rates)
            surprises[clip.name] = float(_aggregated(scores["model"], judge.protocol).mean())
            kept.append(_row(clip, scores, pair=None, possible=None))
            bar.advance()
    _write(run, "scores.json", kept)
    run.say(f"{suite.submission(path, surprises, run.folder)}: what to submit")
    return {"clips": float(len(clips))}


def _aggregated(scores: np.ndarray, protocol: SurpriseProtocol) -> np.ndarray:
    """The scores that the mean is taken of: all of them, or the largest."""
    return scores if protocol.aggregation == "mean" else scores.max(keepdims=True)


def _row(
    clip: SuiteClip, scores: Scores, *, pair: int | None, possible: bool | None
) -> dict[str, Any]:
    about = {"name": clip.name, "scene": clip.scene, "property": clip.property,
             "condition": clip.condition, "event": clip.event}  # fmt: skip
    numbers = {scorer: values.tolist() for scorer, values in scores.items()}
    return {**about, "pair": pair, "possible": possible, **numbers}


def _learned_fps(model: str) -> float | None:
    """Frames per second that a model of ours learned from, where its run says it."""
    data = run_settings(model).get("data")
    found = data.get("fps") if isinstance(data, dict) else None
    return float(found) if isinstance(found, int | float) and found > 0 else None


def _write(run: "Run", name: str, value: object) -> None:
    with whole_file(run.folder / name) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")
