"""Tar shards as WebDataset reads them: members with the same name up to the first dot are one.

Each shard's headers are read once, when the catalogue is made, and kept in memory: where a member
lies is what random access needs, and what a stream never knows.
"""

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from worldmodel.datasets.catalogue import AllLeftOut, Catalogue, Item, LeftOut
from worldmodel.datasets.format import Format, check_on_bad
from worldmodel.datasets.listing import NO_LABEL, VIDEOS, shown
from worldmodel.datasets.samples import (
    Sample,
    label_of_json,
    label_of_text,
    numbered,
    sample_name,
    samples,
)
from worldmodel.datasets.shard_list import TARS, is_tar, list_shards
from worldmodel.datasets.tar_members import Member, member_file, members, opened
from worldmodel.errors import ConfigError, VideoError, WorldModelError, nearest
from worldmodel.storage.files import require_file
from worldmodel.video.decoding import Decoding
from worldmodel.video.open import VideoReader
from worldmodel.video.video import Video

_BESIDE = (".json", ".txt", ".csv", ".parquet", ".md", ".idx", ".index")
_SMALL = 2**20  # bytes of a member that can be a label


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
        """Read it where it lies."""
        if self.size == 0:
            raise VideoError(f"{self.name}: is empty (0 bytes); make the shard again")
        file = member_file(self.shard, self.offset, self.size)
        return VideoReader(file, decoding, name=self.name)


@dataclass
class _Index:
    """The videos of one shard."""

    names: list[str] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)  # offset, size
    labels: list[int | str | None] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


class ShardCatalogue(Catalogue):
    """The videos of shards, shard after shard.

    Attributes:
        left_out: What `on_bad=skip` did not take.
    """

    def __init__(self, name: str, shards: Sequence[str], indices: Sequence[_Index]) -> None:
        self.name = shown(name)
        self.left_out = [out for index in indices for out in index.left_out]
        self._shards = shards
        self._names = [n for index in indices for n in index.names]
        self._of = np.repeat(np.arange(len(indices)), [len(index.names) for index in indices])
        places = [place for index in indices for place in index.places]
        self._places = np.array(places, np.int64).reshape(-1, 2)
        self._labels, self.classes = numbered([lab for index in indices for lab in index.labels])

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # as Sequence has it
        places = range(len(self))[index]
        return [self._item(i) for i in places] if isinstance(places, range) else self._item(places)

    def _item(self, i: int) -> Item:
        shard, label = self._shards[self._of[i]], int(self._labels[i])
        offset, size = self._places[i].tolist()
        name = f"{shown(shard)}::{self._names[i]}"
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
    label: str = "auto"
    on_bad: str = "error"

    def __post_init__(self) -> None:
        choices = ("auto", "none", "cls", "json", "txt")
        if self.label not in choices:
            raise ConfigError(f"label={self.label}: {nearest(str(self.label), choices)}")
        check_on_bad(self.on_bad)

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
            said = f"{shown(path)}: {len(shards)} shards hold no video: {first}"
            raise AllLeftOut(said, catalogue.left_out)
        return catalogue

    def _index(self, shard: str) -> _Index:
        """The videos of one shard."""
        index, name = _Index(), shown(shard)

        def bad(what: str, cause: Exception) -> None:
            if self.on_bad == "error":
                raise cause if isinstance(cause, WorldModelError) else VideoError(str(cause))
            index.left_out.append(LeftOut(what, str(cause)))

        try:
            if "://" not in shard:
                require_file(Path(shard), "shard", VideoError)
            with opened(shard) as file:

                def read(member: Member) -> bytes:
                    file.seek(member.offset)
                    return file.read(member.size)

                for sample in samples(members(file, name), name):
                    try:
                        self._add(index, sample, name, read)
                    except VideoError as cause:
                        bad(f"{name}::{sample_name(sample.key)}", cause)
        except WorldModelError as cause:
            bad(name, cause)
        except Exception as cause:  # each file system has errors of its own
            reason = " ".join(str(cause).split())[:200] or type(cause).__name__
            problem = VideoError(f"{name}: cannot be read ({shown(reason)}); check the path and "
                                 f"access to it")  # fmt: skip
            problem.__cause__ = cause
            bad(name, problem)
        return index

    def _add(
        self, index: _Index, sample: Sample, shard: str, read: Callable[[Member], bytes]
    ) -> None:
        kind = self._video_of(sample, shard)
        member = sample.parts[kind]
        label = self._label_of(sample, read, shard)
        index.labels.append(label)
        index.names.append(f"{sample_name(sample.key)}.{kind}")
        index.places.append((member.offset, member.size))

    def _video_of(self, sample: Sample, shard: str) -> str:
        kinds = [kind for kind in sample.parts if f".{kind}".endswith(VIDEOS)]
        if self.video is not None:
            kinds = [kind for kind in sample.parts if kind == self.video.lower().lstrip(".")]
        if len(kinds) != 1:
            which = f"{len(kinds)} videos ({', '.join(kinds)}); choose with video=" if kinds else (
                f"no {self.video or 'video'} among {', '.join(sample.parts)[:100]}; make it again, "
                f"or leave it out with on_bad=skip"
            )  # fmt: skip
            raise VideoError(f"{shard}: sample '{shown(sample.key)}' has {which}")
        return kinds[0]

    def _label_of(
        self, sample: Sample, read: Callable[[Member], bytes], shard: str
    ) -> int | str | None:
        asked = ("cls", "json") if self.label == "auto" else (self.label,)
        kind = next((kind for kind in asked if kind in sample.parts), None)
        if kind is None:
            return None
        name = f"{shard}: {kind} of sample '{shown(sample.key)}'"
        member = sample.parts[kind]
        if member.size > _SMALL:
            raise VideoError(f"{name} has {member.size} bytes, too many for a label; use label=")
        try:
            text = read(member).decode("utf-8").strip()
            return label_of_json(json.loads(text)) if kind == "json" else label_of_text(text)
        except (ValueError, RecursionError) as cause:
            raise VideoError(
                f"{name} cannot be read ({' '.join(str(cause).split())[:80]}); make the shard "
                f"again, or take label=none"
            ) from cause
