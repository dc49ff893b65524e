"""Samples of a shard: neighbouring members with one key, and labels that their members hold.

Knows no tar: it is given members.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from worldmodel.datasets.listing import NO_LABEL, shown
from worldmodel.datasets.tar_members import CutMember, Member
from worldmodel.errors import VideoError

_KEY = re.compile(r"((?:.*/)?[^.]+)\.([^/]*)", re.S)
_META = re.compile(r"__[^/]*__(?:$|/)")


@dataclass(frozen=True)
class Sample:
    """What has one key in a shard: members by what follows the first dot, in lower case."""

    key: str
    parts: dict[str, Member]


def samples(found: Iterable[Member], shard: str) -> Iterator[Sample]:
    """Neighbours with one key as samples, by the rules of WebDataset.

    Where the members end in an error, the sample before it comes first, unless it is the one that
    is cut.

    Raises:
        VideoError: a sample has two members of one kind.
    """
    now: Sample | None = None
    end: VideoError | None = None
    members = iter(found)
    while True:
        try:
            member = next(members)
        except StopIteration:
            break
        except VideoError as cause:
            end = cause
            break
        key, kind = _parts(member.name)
        if not key:
            continue
        if now is None or key != now.key:
            if now is not None:
                yield now
            now = Sample(key, {})
        if kind in now.parts:
            raise VideoError(
                f"{shard}: '{shown(member.name)}' is there twice; make the shard again"
            )
        now.parts[kind] = member
    cut = _parts(end.member)[0] if isinstance(end, CutMember) else None
    if now is not None and now.key != cut:
        yield now
    if end is not None:
        raise end


def _parts(name: str) -> tuple[str, str]:
    """The key and the kind of a member; no key where it belongs to no sample."""
    match = _KEY.fullmatch(name)
    if match is None or _META.match(name):
        return "", ""
    return match[1], match[2].lower()


def numbered(labels: Sequence[int | str | None]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as numbers; where they are words, in the order of the words, which are returned.

    Raises:
        VideoError: some are numbers and some are words.
    """
    words = sorted({label for label in labels if isinstance(label, str)})
    if words and any(isinstance(label, int) for label in labels):
        raise VideoError(f"some labels are numbers and some words ('{shown(words[0])[:80]}'); "
                         f"name the member that holds them with label=")  # fmt: skip
    number = {word: i for i, word in enumerate(words)}
    found = [NO_LABEL if x is None else number[x] if isinstance(x, str) else x for x in labels]
    return np.array(found, np.int32), tuple(words)


def label_of_text(text: str) -> int | str | None:
    """A class number or a word; None for -1 and for nothing.

    Raises:
        ValueError: a number that can be no class.
    """
    digits = text.lstrip("-")
    if not digits.isascii() or not digits.isdigit() or text.count("-") > 1:
        return text or None
    value = int(text)
    if not NO_LABEL <= value < 2**31:
        raise ValueError(f"label {text[:20]} is not between 0 and 2**31")
    return None if value == NO_LABEL else value


def label_of_json(values: object) -> int | str | None:
    """The `label` of an object, or the value itself.

    Raises:
        ValueError: it is neither a class number nor a word.
    """
    found = values.get("label") if isinstance(values, dict) else values
    if isinstance(found, bool) or not isinstance(found, int | str | None):
        raise ValueError("'label' is neither a whole number nor a word")
    return found if found is None else label_of_text(str(found))


def sample_name(key: str) -> str:
    """A key that can be shown and would stay below a folder: nothing in it leads up or to `/`."""
    parts = ["_" if part in ("", ".", "..") else part for part in key.lstrip("/").split("/")]
    return shown("/".join(parts))
