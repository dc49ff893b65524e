"""Checks numbers that a user gives, and shows values in messages, the same way everywhere."""

from numbers import Integral
from typing import SupportsFloat


def real(value: object) -> float:
    """A number as float64; nan, which no comparison accepts, for what is none, such as text."""
    try:
        return float(value) if isinstance(value, SupportsFloat) else float("nan")
    except Exception:  # arrays, tensors and huge integers each fail in a way of their own
        return float("nan")


def shown(value: object) -> str:
    """A value as a message shows it: in one line that is not too long."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def counted(number: int, noun: str) -> str:
    """A number of things as a message says it: 0 frames, 1 frame, 2 frames."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def is_count(value: object) -> bool:
    """True for a whole number, by its type, of at least 1 that a float64 holds exactly."""
    return isinstance(value, Integral) and 1 <= int(value) <= 2**53
