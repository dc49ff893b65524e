"""Tar shards as WebDataset reads them: members with the same name up to the first dot are one.

The headers of each shard are read once, when the catalogue is made, and kept in memory: random
access needs the positions of the members.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from glob import glob
from itertools import islice
from pathlib import Path
from typing import IO, ClassVar, Literal

import numpy as np

from worldmodel.datasets.catalogue import AllLeftOut, Catalogue, Item, LeftOut
from worldmodel.datasets.format import Format, require_extra
from worldmodel.datasets.listing import NO_LABEL, VIDEOS
from worldmodel.datasets.tar_members import (
    Sample,
    member_file,
    members,
    opened,
    sample_name,
    samples,
    system_of,
)
from worldmodel.errors import ConfigError, VideoError, WorldModelError, printable
from worldmodel.storage.files import require_file
from worldmodel.video.clip import VideoReader
from worldmodel.video.decoding import Decoding
from worldmodel.video.video import Video

_BESIDE = (".json", ".txt", ".csv", ".parquet", ".md", ".idx", ".index")
_SMALL = 2**20  # bytes of a member that can be a label
_MOST = 1_000_000  # shards
_A_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?(e[+-]?[0-9]+)?", re.I)
TARS = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class ShardVideo(Item):
    """A video in a tar."""

    name: str
    key: str
    shard: str
    offset: int  # bytes
    size: int  # bytes
    label: int | None = None

    def open(self, decoding: Decoding) -> Video:
        """Read it in place."""
        if self.size == 0:
            raise VideoError(f"{self.name}: is empty (0 bytes); make the shard again")
        file = member_file(self.shard, self.offset, self.size)
        return VideoReader(file, decoding, name=self.name)


@dataclass
class _Index:
    """The videos of one shard."""

    names: list[str] = field(default_factory=list)
    positions: list[tuple[int, int]] = field(default_factory=list)  # offset, size
    labels: list[int | str | None] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


class ShardCatalogue(Catalogue):
    """The videos of shards, shard after shard.

    Attributes:
        left_out: The samples and shards that `on_bad=skip` left out.
    """

    def __init__(self, name: str, shards: Sequence[str], indices: Sequence[_Index]) -> None:
        self.name = printable(name)
        self.left_out = [out for index in indices for out in index.left_out]
        self._shards = shards
        self._names = [n for index in indices for n in index.names]
        self._of = np.repeat(np.arange(len(indices)), [len(index.names) for index in indices])
        positions = [position for index in indices for position in index.positions]
        self._positions = np.array(positions, np.int64).reshape(-1, 2)
        self._labels, self.classes = numbered([lab for index in indices for lab in index.labels])

    def __len__(self) -> int:
        return len(self._names)

    def item(self, index: int) -> Item:
        """The video, as its tar has it."""
        shard, label = self._shards[self._of[index]], int(self._labels[index])
        offset, size = self._positions[index].tolist()
        name = f"{printable(shard)}::{self._names[index]}"
        key = f"{shard}::{offset}"
        return ShardVideo(name, key, shard, offset, size, None if label == NO_LABEL else label)


@dataclass(frozen=True)
class Shards(Format):
    """Tar files: one, several (`shard-{000..011}.tar`, `*.tar`), or a folder of them; or URLs.

    Attributes:
        video: Which member of a sample is the video, where it has several: `mp4`, `left.mp4`.
        label: Which member is the label: `cls` (a number or a word), `json` (its `label`), `txt`;
            `auto` takes `cls`, else `json`; `none` takes none.
        on_bad: `error` stops at a shard that is cut or a sample without a video, `skip` takes
            what comes before, and lists the rest in `left_out`.
    """

    name: ClassVar[str] = "shards"
    rank: ClassVar[int] = 20
    looks: ClassVar[str] = "files named .tar, a pattern of them, or a folder that holds only those"

    video: str | None = None
    label: Literal["auto", "none", "cls", "json", "txt"] = "auto"
    on_bad: Literal["error", "skip"] = "error"

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By the names."""
        if is_tar(path) and not os.path.isdir(path):
            return True
        if path.startswith("pipe:") or ("://" in path and path.endswith("/")):
            return True
        if not os.path.isdir(path):
            return False
        try:
            entries = [e for e in os.scandir(path) if not e.name.startswith(".")]
        except OSError:
            return False
        names = [entry.name.lower() for entry in entries]
        return (
            any(name.endswith(TARS) for name in names)
            and all(name.endswith((*TARS, *_BESIDE)) for name in names)
            and not any(entry.is_dir() for entry in entries)
        )

    def open(self, path: str) -> Catalogue:
        """The videos of all shards; reads the headers of each shard once, several at a time."""
        shards = list_shards(path)
        with ThreadPoolExecutor(min(8, len(shards))) as pool:
            indices = list(pool.map(self._index, shards))
        catalogue = ShardCatalogue(path, shards, indices)
        if not len(catalogue):
            first = catalogue.left_out[0].reason if catalogue.left_out else "no sample"
            said = f"{path}: {len(shards)} shards hold no video: {first}"
            raise AllLeftOut(said, catalogue.left_out)
        return catalogue

    def _index(self, shard: str) -> _Index:
        """The videos of one shard."""
        index = _Index()
        try:
            if "://" not in shard:
                require_file(Path(shard), "shard", VideoError)
            with access(shard, "read"), opened(shard) as file:
                for sample in samples(members(file, shard), shard):
                    try:
                        kind = self._video_of(sample, shard)
                        label = self._label_of(sample, kind, file, shard)
                    except VideoError as cause:
                        if self.on_bad == "error":
                            raise
                        name = f"{shard}::{sample_name(sample.key)}"
                        index.left_out.append(LeftOut(name, str(cause)))
                        continue
                    member = sample.parts[kind]
                    index.labels.append(label)
                    index.names.append(f"{sample_name(sample.key)}.{kind}")
                    index.positions.append((member.offset, member.size))
        except WorldModelError as cause:
            if self.on_bad == "error":
                raise
            index.left_out.append(LeftOut(shard, str(cause)))
        return index

    def _video_of(self, sample: Sample, shard: str) -> str:
        kinds = [kind for kind in sample.parts if f".{kind}".endswith(VIDEOS)]
        if self.video is not None:
            kinds = [kind for kind in sample.parts if kind == self.video.lower().lstrip(".")]
        if len(kinds) != 1:
            which = f"{len(kinds)} videos ({', '.join(kinds)}); choose with video=" if kinds else (
                f"no {self.video or 'video'} among {', '.join(sample.parts)[:100]}; make it again, "
                f"or leave it out with on_bad=skip"
            )  # fmt: skip
            raise VideoError(f"{shard}: sample '{sample.key}' has {which}")
        return kinds[0]

    def _label_of(
        self, sample: Sample, video: str, file: IO[bytes], shard: str
    ) -> int | str | None:
        asked = ("cls", "json") if self.label == "auto" else (self.label,)
        # Of a.b.mp4 it is a.b.cls, else a.cls: both are of the sample `a`.
        stem = f"{video.rpartition('.')[0]}."
        kinds = (kind for word in asked for kind in (f"{stem}{word}", word))
        kind = next((kind for kind in kinds if kind in sample.parts), None)
        if kind is None:
            return None
        name = f"{shard}: {kind} of sample '{sample.key}'"
        member = sample.parts[kind]
        if member.size > _SMALL:
            raise VideoError(f"{name} has {member.size} bytes, too many for a label; use label=")
        try:
            file.seek(member.offset)
            text = file.read(member.size).decode("utf-8-sig").strip()
            return label_of_json(json.loads(text)) if kind.endswith("json") else label_of_text(text)
        except (ValueError, RecursionError) as cause:
            raise VideoError(
                f"{name} cannot be read ({' '.join(str(cause).split())[:80]}); make the shard "
                f"again, or take label=none"
            ) from cause


def numbered(labels: Sequence[int | str | None]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as numbers; where they are words, in the order of the words, which are returned.

    Raises:
        VideoError: some are numbers and some words.
    """
    words = sorted({label for label in labels if isinstance(label, str)})
    if words and any(isinstance(label, int) for label in labels):
        raise VideoError(f"some labels are numbers and some words ('{words[0][:80]}'); "
                         f"name the member that holds them with label=")  # fmt: skip
    number = {word: i for i, word in enumerate(words)}
    found = [NO_LABEL if x is None else number[x] if isinstance(x, str) else x for x in labels]
    return np.array(found, np.int32), tuple(words)


def label_of_text(text: str) -> int | str | None:
    """A class number, also when it is written as `3.0`, or a word; None for -1 and for nothing.

    Raises:
        ValueError: a number that can be no class.
    """
    if not _A_NUMBER.fullmatch(text):
        return text or None
    value = float(text)
    if not value.is_integer() or not NO_LABEL <= value < 2**31:
        raise ValueError(f"label {text[:20]} is not a whole number between 0 and 2**31")
    return None if value == NO_LABEL else int(value)


def label_of_json(values: object) -> int | str | None:
    """The `label` of an object, or the value itself.

    Raises:
        ValueError: it is neither a class number nor a word.
    """
    found = values.get("label") if isinstance(values, dict) else values
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int | str | None):
        raise ValueError("'label' is neither a whole number nor a word")
    return found if found is None else label_of_text(str(found))


def list_shards(path: str) -> list[str]:
    """The shards that a path, a pattern or a folder stands for.

    Raises:
        VideoError: there are none.
        ConfigError: the pattern is too long, or would run a command.
    """
    if path.startswith("pipe:"):
        raise ConfigError(f"{path}: commands are not run; fetch the shards, or give a URL")
    found = _expand(path) if "{" in path else [path]
    if len(found) == 1 and (os.path.isdir(path) or path.endswith("/")):
        found = [f"{path.rstrip('/')}/*.tar*"]
    shards: list[str] = []
    for name in found:
        if "*" not in name or os.path.exists(name):
            shards.append(name)
        elif "://" in name:
            shards += _glob_url(name)
        else:
            shards += sorted(glob(name))
    shards = [s for s in shards if is_tar(s)] if shards != [path] else shards
    if not shards:
        raise VideoError(f"{path}: stands for no shard (.tar); check the path")
    return shards


def is_tar(path: str) -> bool:
    """True if a path, or the file that a URL names in an archive, ends like a tar."""
    named = next((link for link in path.split("::") if "://" in link), path)
    return named.lower().endswith(TARS)


def _glob_url(url: str) -> list[str]:
    """The URLs that one with `*` stands for, each with the chain of archives that it had."""
    first, chained, rest = url.partition("::")
    if chained and "://" not in first:  # a cache of what follows
        return [f"{first}::{name}" for name in _glob_url(rest)]
    with access(url, "listed"):
        system, inside = system_of(url)
        found = system.glob(inside)
    return sorted(f"{system.unstrip_protocol(path)}{chained}{rest}" for path in found)


@contextmanager
def access(name: str, done: str) -> Iterator[None]:
    """Turn what a file system says into one of our errors: each has errors of its own."""
    try:
        yield
    except WorldModelError:
        raise
    except Exception as cause:
        reason = " ".join(str(cause).split())[:200] or type(cause).__name__
        raise VideoError(
            f"{name}: cannot be {done} ({reason}); check the path and access to it"
        ) from cause


def _expand(path: str) -> list[str]:
    too_many = ConfigError(f"{path}: stands for more than {_MOST} shards; name fewer")
    for low, high in re.findall(r"\{(\d+)\.\.(\d+)", path):
        if len(low) > 9 or len(high) > 9 or abs(int(high) - int(low)) >= _MOST:
            raise too_many
    braceexpand = require_extra("braceexpand", "shards", f"the pattern {path}")
    try:
        found = list(islice(braceexpand.braceexpand(path), _MOST + 1))
    except ValueError as cause:
        raise ConfigError(f"{path}: braces do not match; write {{000..011}}") from cause
    if len(found) > _MOST:
        raise too_many
    return found
