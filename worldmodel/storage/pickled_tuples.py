"""How large the tuples of a pickle are once their parts are written out, without unpickling it.

A pickle says a part once and names it again for free: forty tuples, each of the one before it
twice, are a few hundred bytes and a trillion parts. PyTorch's restricted unpickler builds them, and
hashes them where they are keys of a dictionary, part by part.
"""

import pickletools
from typing import BinaryIO

_KEEP = frozenset("PUT BINPUT LONG_BINPUT".split())
_AGAIN = frozenset("GET BINGET LONG_BINGET".split())
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def largest_tuple(file: BinaryIO, *, most: int) -> int:
    """The number of parts of the largest tuple in the pickle that begins here.

    Leaves the file behind the pickle; goes no further than to the first tuple of more than `most`.

    Raises:
        Exception: of any kind, where the pickle is damaged.
    """
    stack: list[int | None] = []  # parts of each value; None for a mark
    kept: dict[object, int | None] = {}  # by the number that a pickle gives it
    largest = 0
    for step, argument, _ in pickletools.genops(file):
        if step.name in _KEEP or step.name == "MEMOIZE":
            kept[len(kept) if argument is None else argument] = stack[-1]
        elif step.name in _AGAIN:
            stack.append(kept[argument])
        elif step.name == "DUP":
            stack.append(stack[-1])
        elif step.name == "TUPLE" or step.name in _TUPLES:
            parts = _to_mark(stack) if step.name == "TUPLE" else _last(stack, _TUPLES[step.name])
            size = 1 + sum(part or 0 for part in parts)
            if size > most:
                return size
            stack.append(size)
            largest = max(largest, size)
        else:
            if pickletools.markobject in step.stack_before:
                _to_mark(stack)
                before = step.stack_before.index(pickletools.markobject)
            else:
                before = len(step.stack_before)
            _last(stack, before)
            mark = pickletools.markobject in step.stack_after
            stack += [None if mark else 1 for _ in step.stack_after]
    return largest


def _to_mark(stack: list[int | None]) -> list[int | None]:
    """Take off what lies above the last mark, and the mark."""
    at = len(stack) - 1 - stack[::-1].index(None)
    taken = stack[at + 1 :]
    del stack[at:]
    return taken


def _last(stack: list[int | None], count: int) -> list[int | None]:
    """Take off the last few."""
    at = len(stack) - count
    if at < 0:
        raise ValueError("takes more off the stack than there is")
    taken = stack[at:]
    del stack[at:]
    return taken
