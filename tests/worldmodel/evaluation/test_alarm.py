import numpy as np
import pytest

from worldmodel.errors import ConfigError
from worldmodel.evaluation.alarm import (
    Alarm,
    TimedClip,
    alarm_results,
    calibrated_alarm,
    latency,
)
from worldmodel.evaluation.statistics import rate_results


def ordinary(n):
    """Clips whose largest scores are 1, 2, ..., n."""
    return [np.array([0.0, i + 1.0, 0.5]) for i in range(n)]


@pytest.mark.parametrize(
    ("n", "rate", "threshold"),
    [(9, 0.1, 9), (18, 0.1, 18), (19, 0.1, 18), (99, 0.29, 71), (4, 0.5, 3)],
)  # the k-th largest, k / (n + 1) <= rate
def test_the_threshold_is_the_lowest_that_keeps_the_rate(n, rate, threshold):
    assert calibrated_alarm(ordinary(n), rate).threshold == threshold


def test_too_few_clips_for_the_rate_are_refused():
    with pytest.raises(ConfigError, match="rate of 0.1 needs 9 ordinary clips, got 8"):
        calibrated_alarm(ordinary(8), 0.1)
    with pytest.raises(ConfigError, match="rate of 0.05 needs 19 ordinary clips, got 0"):
        calibrated_alarm([], 0.05)
    for rate in (0, 1, -0.1, 2):
        with pytest.raises(ConfigError, match="false alarms must lie between 0 and 1"):
            calibrated_alarm(ordinary(30), rate)


def test_what_is_no_score_is_refused():
    with pytest.raises(ConfigError, match="ordinary clip 3: scores must be finite, got nan"):
        calibrated_alarm([*ordinary(3), np.array([np.nan])], 0.5)
    alarm = calibrated_alarm(ordinary(9), 0.1)
    with pytest.raises(ConfigError, match="a clip: scores must be finite, got inf at step 1"):
        alarm.alarms(np.array([0, np.inf]), np.arange(2.0))
    with pytest.raises(ConfigError, match=r"one time for each score, got \(3,\) for \(2,\)"):
        alarm.alarms(np.zeros(2), np.arange(3.0))


def test_it_rings_at_the_first_score_above_the_threshold():
    alarm, times = Alarm(2.0, 0.1, np.arange(3.0)), np.array([0.1, 0.2, 0.3, 0.4])
    assert alarm.alarms(np.array([0.0, 2.0, 2.1, 9.0]), times) == 0.3
    assert alarm.alarms(np.array([0.0, 2.0, 1.0, 2.0]), times) is None


def test_it_rings_where_the_calibrated_score_is_at_most_the_rate():
    random = np.random.default_rng(0)
    alarm = calibrated_alarm([random.integers(0, 12, 5) for _ in range(37)], 0.2)
    scores = np.arange(14.0)
    calibrated = alarm.calibrated(scores)
    assert ((calibrated <= 0.2) == (scores > alarm.threshold)).all()
    assert calibrated[0] == 1 and calibrated[-1] == 1 / 38
    assert (np.diff(calibrated) <= 0).all()


def test_latency_begins_at_the_event():
    assert latency(1.0, 1.5) == 0.5 and latency(1.0, 1.0) == 0.0
    assert latency(1.0, 0.9) is None and latency(1.0, None) is None


def test_results_of_clips_with_and_without_an_event():
    times = np.array([1.0, 2.0, 3.0, 4.0])
    alarm = Alarm(1.0, 0.1, np.arange(2.0))

    def clip(rings_at, event):
        return TimedClip(np.where(times == rings_at, 2.0, 0.0), times, event)

    clips = [clip(3, 2.5), clip(4, 2.0), clip(2, 2.0), clip(1, 2.0), clip(None, 2.0),
             clip(2, None), clip(None, None), clip(None, None)]  # fmt: skip
    results = alarm_results(alarm, clips)
    assert results == {
        **rate_results("detected", 3, 5),
        **rate_results("early", 1, 5),
        **rate_results("false_alarms", 1, 3),
        "latency": 0.5,  # of 0, 0.5 and 2 seconds
        "latency.n": 3.0,
    }
    assert set(alarm_results(alarm, clips[-1:])) == set(rate_results("false_alarms", 0, 1))


@pytest.mark.parametrize(("n", "rate", "exact"), [(39, 0.1, 0.1), (30, 0.05, 1 / 31)])
def test_false_alarms_come_as_often_as_promised(n, rate, exact):
    # Scores that drift within a clip, and clips that differ in how much.
    random, rung = np.random.default_rng(1), []
    for _ in range(600):
        scale = random.gamma(2.0, size=(n + 20, 1))
        clips = (scale * random.normal(size=(n + 20, 8))).cumsum(axis=1)
        alarm = calibrated_alarm(list(clips[:n]), rate)
        rung.append(np.mean([alarm.alarms(x, np.arange(8.0)) is not None for x in clips[n:]]))
    assert np.mean(rung) == pytest.approx(exact, abs=4 * np.std(rung) / np.sqrt(len(rung)))
    assert np.std(rung) / np.sqrt(len(rung)) < 0.005
