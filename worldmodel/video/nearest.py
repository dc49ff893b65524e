"""The frames nearest to times; and which clips would show one twice, as those that meet a gap.

Pure arithmetic on times.
"""

from bisect import bisect_left

import numpy as np

HAIR = 1e-6  # seconds that rounding may be off by
_GOALS = 2**22  # of all clips: up to here they are looked at one by one
_BLOCK = 4096  # frames that are in a list at a time, goals 64 times as many: memory stays small


def nearest_frames(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """For each wanted time the number of the frame nearest to it, the earlier one in a tie."""
    last = len(times) - 1
    right = np.searchsorted(times, wanted).clip(max=last)
    left = (right - 1).clip(min=0)
    # A hair's tolerance, so that rounding of times does not decide ties.
    return np.where(wanted - times[left] <= times[right] - wanted + HAIR, left, right)


def slack(times: np.ndarray) -> float:
    """Seconds that a clip may end after the last frame: half a frame, it is the nearest still."""
    return float(np.diff(times).mean()) / 2 if len(times) > 1 else 0.0


def show_none_twice(times: np.ndarray, count: int, *, num_frames: int, fps: float) -> np.ndarray:
    """Whether the clip that begins at each of the first `count` frames shows each frame once.

    Every frame has a span of time in which goals are its own, and two goals in one span are a
    repeat. Where clips and videos are long, looking at every goal of every clip would take hours:
    there each frame is looked at once.

    Args:
        times: Of all frames, `t`, seconds, increasing.
        count: So many frames have a whole clip after them.
        num_frames: Of a clip.
        fps: Frames per second: goal `k` of a clip is `k / fps` seconds after its start.

    Returns:
        `count`, bool.
    """
    step = 1 / fps
    # The span of a frame begins after `low` and ends with `high`.
    between = np.minimum((times[:-1] + times[1:] + HAIR) / 2, times[1:])
    low = np.concatenate([times[:1], between])
    high = np.concatenate([between, times[-1:] + slack(times) + HAIR])
    long = high - low > step
    if num_frames == 1 or not long.any():
        return np.ones(count, bool)
    if count * num_frames <= _GOALS:
        return _look_at_all(times, count, np.arange(num_frames) / fps)
    once = times[:count] + step > high[:count]  # in the span of the frame that the clip begins at
    # In a later span a clip repeats itself if one of its goals, but not its last, comes after `low`
    # and a step before `high`. All its goals are at one phase of a step. So, from behind: of the
    # spans where that can be, which is the nearest at each phase, and is it reached?
    nearest, reach = _Nearest(step), (num_frames - 2) * step
    for begin in reversed(range(0, len(times), _BLOCK)):
        block = slice(begin, begin + _BLOCK)
        if not long[block].any():
            starts = slice(begin, min(begin + _BLOCK, count))
            once[starts] &= nearest.find_all(times[starts]) - times[starts] >= reach
            continue
        spans = (low[block].tolist(), (high[block] - step).tolist(), long[block].tolist())
        rows = list(zip(times[block].tolist(), *spans, strict=True))
        for frame in reversed(range(begin, begin + len(rows))):
            at, first, last, is_long = rows[frame - begin]
            if frame < count and nearest.find(at) - at < reach:
                once[frame] = False
            if is_long:
                nearest.put(first, last)
    return once


def _look_at_all(times: np.ndarray, count: int, offsets: np.ndarray) -> np.ndarray:
    rows = max(64 * _BLOCK // len(offsets), 1)
    parts = [times[at : min(at + rows, count), None] + offsets for at in range(0, count, rows)]
    chosen = (nearest_frames(times, part) for part in parts)
    return np.concatenate([(np.diff(frames, axis=1) > 0).all(axis=1) for frames in chosen])


class _Nearest:
    """At each phase of a step, the beginning of the interval of times that was put last.

    Args:
        step: Seconds after which phases begin anew.
    """

    def __init__(self, step: float) -> None:
        self._step = step
        # Parts of a step: each begins after the end of the one before it.
        self._ends, self._begins = [step], [np.inf]

    def put(self, begin: float, end: float) -> None:
        """Put the times after `begin` up to `end`."""
        first, length = begin % self._step, end - begin
        if length >= self._step:
            self._ends, self._begins = [self._step], [begin]
        elif first + length <= self._step:
            self._set(first, first + length, begin)
        else:
            self._set(first, self._step, begin)
            self._set(0.0, first + length - self._step, begin)

    def find(self, time: float) -> float:
        """The beginning of the last interval at the phase of a time; infinite without one."""
        return self._begins[bisect_left(self._ends, time % self._step or self._step)]

    def find_all(self, times: np.ndarray) -> np.ndarray:
        """The same of many times."""
        phases = times % self._step
        phases[phases == 0] = self._step
        return np.array(self._begins)[np.searchsorted(self._ends, phases)]

    def _set(self, after: float, end: float, begin: float) -> None:
        if end <= after:
            return
        ends, begins = self._ends, self._begins
        first, last = bisect_left(ends, after), bisect_left(ends, end)
        parts = [(after, begins[first]), (end, begin), (ends[last], begins[last])]
        kept = parts[after == (ends[first - 1] if first else 0.0) : 2 + (end < ends[last])]
        ends[first : last + 1] = [part for part, _ in kept]
        begins[first : last + 1] = [part for _, part in kept]
