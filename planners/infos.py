"""The infos of an episode as arrays, recorded so that they cannot change afterwards or mislead.

An environment may return the same array at every step and write into it, tell a name at some
steps only, or tell an integer now and a fraction later. So values are copied at once, every array
gets the widest type that was met, and an entry that was not told is NaN, never False or zero.
Whatever cannot be an array over time is left out, with a reason.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

REWARD = "reward"  # name of the info that tells what the step to a frame was rewarded with
ENDED = "terminated"  # name of the info that is true where the environment ended the episode
MAX_EXACT = 2**53  # whole numbers from here on are not exact in float64


class Infos(NamedTuple):
    """The infos of an episode of `t` steps."""

    arrays: dict[str, np.ndarray]  # name -> t+1 ...; NaN where a step did not tell it
    images: dict[str, np.ndarray]  # name -> h w c: those named `*_image`, one for the episode
    left_out: dict[str, str]  # name -> what is not recorded of it, and why


def copy_info(info: Mapping[str, Any]) -> dict[str, np.ndarray | str]:
    """A copy of each value as an array of numbers, or why it cannot be one; None is not told."""
    return {str(name): _copy(value) for name, value in info.items() if value is not None}


def _copy(value: Any) -> np.ndarray | str:
    # Ragged lists, tensors elsewhere, and numbers beyond 64 bits have no array of numbers.
    with suppress(TypeError, ValueError, RuntimeError):
        array = np.array(value)
        if array.dtype.kind in "biuf":
            return array
    return f"of type {type(value).__name__} is no array of numbers: not recorded"


def stack_infos(infos: Sequence[Mapping[str, np.ndarray | str]]) -> Infos:
    """Stack over time what `copy_info` returned for the reset and for every step."""
    found = Infos({}, {}, {})
    for name in dict.fromkeys(name for info in infos for name in info):
        values = [info.get(name) for info in infos]
        told = [value for value in values if value is not None]
        arrays = [value for value in told if not isinstance(value, str)]
        shapes = list(dict.fromkeys(array.shape for array in arrays))
        if texts := [value for value in told if isinstance(value, str)]:
            found.left_out[name] = texts[0]
        elif name.endswith("_image"):
            found.images[name] = arrays[0]
            if not all(np.array_equal(arrays[0], array) for array in arrays):
                found.left_out[name] = "changes within an episode: only the first is recorded"
        elif len(shapes) > 1:
            found.left_out[name] = (
                f"changes its shape from {shapes[0]} to {shapes[1]}: not recorded"
            )
        elif (stacked := _stack(values, arrays)) is None:
            found.left_out[name] = (
                "mixes fractions, or gaps, with whole numbers of 2**53 or more: not recorded"
            )
        else:
            found.arrays[name] = stacked
    return found


def _stack(values: Sequence[Any], told: Sequence[np.ndarray]) -> np.ndarray | None:
    """All values (t ...) with the widest type; None if it cannot hold them exactly."""
    gaps = [np.dtype(np.float32)] * (len(told) < len(values))
    dtype = np.result_type(*{array.dtype for array in told}, *gaps).newbyteorder("=")
    if dtype.itemsize > 8:
        dtype = np.dtype(np.float64)
    whole = [array for array in told if array.dtype.kind in "iu" and array.size]
    if dtype.kind == "f" and any(np.abs(array.astype(float)).max() >= MAX_EXACT for array in whole):
        return None
    missing = np.full(told[0].shape, np.nan if gaps else 0, dtype)
    return np.array([missing if value is None else value for value in values], dtype)


def truth(values: np.ndarray) -> bool | None:
    """True if any value that was told is not zero, False if none is, None if none was told."""
    told = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    return bool(told.any()) if told.size else None
