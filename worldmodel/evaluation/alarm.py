"""An alarm that is calibrated on ordinary clips, with a rate of false alarms that the user sets.

Knows scores and their times, not who gave them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worldmodel.errors import ConfigError
from worldmodel.evaluation.conformal import check_rate, fewest_scores, threshold_rank
from worldmodel.evaluation.scores import checked_scores
from worldmodel.evaluation.statistics import rate_results


@dataclass(frozen=True)
class Alarm:
    """Rings where a score is above `threshold`; made by `calibrated_alarm`.

    Attributes:
        threshold: the highest score that is still ordinary.
        rate: at most this share of ordinary clips rings it.
        maxima: n, the largest score of each clip that it was calibrated on, the smallest first.
    """

    threshold: float
    rate: float
    maxima: np.ndarray

    def calibrated(self, scores: np.ndarray) -> np.ndarray:
        """How rare each score is among ordinary clips, t: numbers that two models share.

        (1 + the number of ordinary clips whose largest score is as high) / (1 + n): a p-value. The
        smallest of an ordinary clip is at most p with a probability of at most p, and the alarm
        rings where one is at most `rate`.
        """
        found = np.searchsorted(self.maxima, checked_scores("a clip", scores), side="left")
        as_high = len(self.maxima) - found
        return (1 + as_high) / (1 + len(self.maxima))

    def alarms(self, scores: np.ndarray, times: np.ndarray) -> float | None:
        """The time of the first score above the threshold, in seconds; None if there is none.

        Args:
            scores: t, of the steps of a clip.
            times: t, seconds: of the last frame of each step, as `Surprise.times` are.

        Raises:
            ConfigError: scores are not finite, or have other times than one for each.
        """
        scores, times = checked_scores("a clip", scores), np.asarray(times)
        if scores.shape != times.shape:
            raise ConfigError(
                f"an alarm takes one time for each score, got {times.shape} for {scores.shape}"
            )
        above = np.flatnonzero(scores > self.threshold)
        return float(times[above[0]]) if len(above) else None


def calibrated_alarm(ordinary: Sequence[np.ndarray], rate: float) -> Alarm:
    """The most sensitive alarm that at most a share `rate` of ordinary clips rings.

    The promise is that of split conformal prediction (`conformal.py`), with the largest score of
    each clip: it holds for a clip that is exchangeable with these, so of the same kind and as long,
    on average over sets of ordinary clips. Clips of a scene are not independent: give one of each.

    Args:
        ordinary: scores of clips in which nothing impossible happens, t each, which the model has
            not learned from.
        rate: of false alarms, by clip.

    Raises:
        ConfigError: the clips are too few for the rate, or their scores are not finite.
    """
    check_rate("a rate of false alarms", rate)
    checked = (checked_scores(f"ordinary clip {i}", scores) for i, scores in enumerate(ordinary))
    maxima = np.sort([scores.max() for scores in checked])
    rank = threshold_rank(rate, len(maxima))
    if rank < 1:
        raise ConfigError(
            f"a false-alarm rate of {rate:g} needs {fewest_scores(rate)} ordinary clips, got "
            f"{len(maxima)}; give more or allow more false alarms"
        )
    return Alarm(float(maxima[-rank]), rate, maxima)


def latency(event: float, alarm: float | None) -> float | None:
    """Seconds from an event to the alarm; None where the alarm came before it or never."""
    return None if alarm is None or alarm < event else alarm - event


@dataclass(frozen=True)
class TimedClip:
    """The scores of a clip, and when something impossible happens in it.

    Attributes:
        scores: t, of each step.
        times: t, seconds: of the last frame of each step.
        event: seconds, the first frame that cannot be; None in an ordinary clip.
    """

    scores: np.ndarray
    times: np.ndarray
    event: float | None = None


def alarm_results(alarm: Alarm, clips: Sequence[TimedClip]) -> dict[str, float]:
    """How often and how fast an alarm rings.

    Args:
        alarm: calibrated on other clips than these.
        clips: one of each scene: the intervals, Wilson's, take them as independent.

    Returns:
        Of clips with an event `detected`, those whose first alarm comes at the event or later,
        and `early`, those whose first alarm comes before it; of ordinary clips `false_alarms`. The
        median `latency` of the detected in seconds, with `.n`. What no clip tells is left out.
    """
    rung = [(clip.event, alarm.alarms(clip.scores, clip.times)) for clip in clips]
    ordinary = [first is not None for event, first in rung if event is None]
    delays = [(latency(event, first), first) for event, first in rung if event is not None]
    found = [delay for delay, _ in delays if delay is not None]
    results: dict[str, float] = {}
    if delays:
        early = sum(first is not None for _, first in delays) - len(found)
        results |= rate_results("detected", len(found), len(delays))
        results |= rate_results("early", early, len(delays))
    if ordinary:
        results |= rate_results("false_alarms", sum(ordinary), len(ordinary))
    if found:
        results |= {"latency": float(np.median(found)), "latency.n": float(len(found))}
    return results
