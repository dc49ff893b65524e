"""Conversions to a folder of videos, to shards, and to our episodes."""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from worldmodel.datasets.catalogue import Catalogue, Item
from worldmodel.episodes.episode import FolderInfo
from worldmodel.episodes.folder import EpisodeWriter
from worldmodel.storage.files import whole_file
from worldmodel.tools.conversion.encode_video import copy_video, encode_item, ending_of
from worldmodel.tools.conversion.target import Conversion, Target

_ODD = re.compile(r'[\x00-\x1f\x7f"\\:*?<>|]')


def output_ending(item: Item, *, copies: bool) -> str:
    """The ending of an item's file: its own where it is copied."""
    return (ending_of(item) or ".mp4") if copies else ".mp4"


def write_video(target: Target, item: Item, path: Path) -> None:
    """Copy or encode an item."""
    if target.plan.copies() and ending_of(item) is not None:
        copy_video(item, path)
        target.copied += 1
    else:
        encode_item(
            item, path, decoding=target.plan.decoding(), quality=target.plan.writing.quality
        )


class FolderTarget(Target):
    """Videos in folders, below their classes where they have some, and `videos.csv`."""

    def write(self) -> Iterator[int]:
        """A file an item."""
        for name, item in zip(self._names(), self.plan.catalogue, strict=True):
            path = self.plan.folder / name
            if not path.exists():
                write_video(self, item, path)
                self.written += 1
            yield 1

    def finish(self) -> None:
        """Write the manifest: a path and a class number in each line."""
        lines = []
        for name, item in zip(self._names(), self.plan.catalogue, strict=True):
            # Blanks at the ends of a line are none of a name, unless in quotes.
            path = f'"{name}"' if " " in name else name
            lines.append(path if item.label is None else f"{path} {item.label}")
        with whole_file(self.plan.folder / "videos.csv") as temporary:
            temporary.write_text("\n".join([*lines, ""]), encoding="utf-8")

    def _names(self) -> list[str]:
        return names_of(self.plan.catalogue, copies=self.plan.copies())


def names_of(catalogue: Catalogue, *, copies: bool) -> list[str]:
    """A file name for each item: unique, below the folder, and the same every time."""
    parts = []
    for item in catalogue:
        path = PurePosixPath(_ODD.sub("_", item.name.replace("::", "/")))
        parts.append([part for part in path.parts if part not in ("/", "..", ".")] or ["video"])
    common = 0
    if parts:
        shortest = min(len(p) for p in parts) - 1
        while common < shortest and len({p[common] for p in parts}) == 1:
            common += 1
    names, taken = [], set()
    for index, (item, part) in enumerate(zip(catalogue, parts, strict=True)):
        inside = part[common:]
        if item.label is not None and catalogue.classes:
            kind = _ODD.sub("_", catalogue.classes[item.label]).replace("/", "_").strip(". ") or "_"
            inside = [kind, inside[-1]]
        stem = PurePosixPath(inside[-1])
        base = stem.stem if ending_of(item) else inside[-1]
        name = "/".join([*inside[:-1], base]) or "video"
        plain = name
        while name.lower() in taken:
            name, index = f"{plain}-{index}", index + 1
        taken.add(name.lower())
        names.append(name + output_ending(item, copies=copies))
    return names


class ShardsTarget(Target):
    """`shard-000000.tar` and so on, as WebDataset reads them."""

    def write(self) -> Iterator[int]:
        """A file for each `per_shard` items."""
        items, step = self.plan.catalogue, self.plan.writing.per_shard
        for number, first in enumerate(range(0, len(items), step)):
            path = self.plan.folder / f"shard-{number:06d}.tar"
            chosen = range(first, min(first + step, len(items)))
            if not path.exists():
                with whole_file(path) as temporary, tarfile.open(temporary, "w") as tar:
                    for index in chosen:
                        self._add(tar, index, items[index])
                self.written += len(chosen)
            yield len(chosen)

    def finish(self) -> None:
        """The shards are all there is."""

    def _add(self, tar: tarfile.TarFile, index: int, item: Item) -> None:
        key = f"{index:09d}"
        ending = output_ending(item, copies=self.plan.copies())
        place = self.plan.folder / f".{key}{ending}"
        try:
            write_video(self, item, place)
            with place.open("rb") as file:
                # A fresh header: no owner, no time, so that the bytes are the same every time.
                info = tarfile.TarInfo(f"{key}{ending}")
                info.size = place.stat().st_size
                tar.addfile(info, file)
        finally:
            place.unlink(missing_ok=True)
        texts = {"json": json.dumps({"source": item.name})}
        if item.label is not None:
            texts["cls"] = str(item.label)
            if self.plan.catalogue.classes:
                texts["txt"] = self.plan.catalogue.classes[item.label]
        for kind, text in texts.items():
            info = tarfile.TarInfo(f"{key}.{kind}")
            data = text.encode("utf-8", "backslashreplace")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


class EpisodesTarget(Target):
    """Our own episodes; videos without actions become episodes without actions."""

    def __init__(self, plan: Conversion) -> None:
        super().__init__(plan)
        self.fps = plan.rate()
        info = FolderInfo("videos", self.fps, (), ()) if plan.store is None else plan.store.info
        self._writer = EpisodeWriter(
            plan.folder,
            FolderInfo(
                info.env_id,
                self.fps,
                info.action_low,
                info.action_high,
                action_choices=info.action_choices,
                held_out=info.held_out,
            ),
        )

    def write(self) -> Iterator[int]:
        """A file an item."""
        done = self._writer.done
        for index in range(len(self.plan.catalogue)):
            if index not in done:
                episode = self.plan.episode(index, self.fps)
                self._writer.write(episode, index)
                self.written += 1
            yield 1

    def finish(self) -> None:
        """Write `episodes.json`."""
        self._writer.close()
