"""Tar archives without unpacking them: their members, the samples that they form, their bytes.

Members are only ever read into memory: their names never become paths. Labels are in `shards.py`.
"""

import io
import re
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from worldmodel.datasets.format import require_extra
from worldmodel.errors import VideoError, printable

_BLOCK = 512  # bytes; what a tar is made of
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "zstd"}
_REMEDY = "fetch or make the shard again, or leave it out with on_bad=skip"
_LONGEST = 4096  # characters of a name
_BUFFER = 2**18  # bytes asked for at a time
_KEY = re.compile(r"((?:.*/)?[^.]+)\.([^/]*)", re.S)
_META = re.compile(r"__[^/]*__(?:$|/)")


@dataclass(frozen=True)
class Member:
    """A file inside a tar."""

    name: str
    offset: int  # bytes from the beginning of the tar
    size: int  # bytes


class BadMember(VideoError):
    """A member of a tar is cut, or there twice.

    Attributes:
        member: Which.
    """

    def __init__(self, message: str, member: str) -> None:
        super().__init__(message)
        self.member = member


def members(file: IO[bytes], name: str) -> Iterator[Member]:
    """The regular files in a tar, in order; reads headers only.

    Raises:
        VideoError: it is no tar, compressed, cut, damaged, or holds links or devices.
    """
    head = file.read(6)
    file.seek(0)
    for magic, kind in _COMPRESSED.items():
        if head.startswith(magic):
            raise VideoError(
                f"{name}: is compressed ({kind}), so that no member can be read alone; unpack it "
                f"to a plain .tar (videos are compressed already)"
            )
    last = "its beginning"
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            place = 0
            while (info := tar.next()) is not None:
                # A size below zero would send tarfile back to where it came from, for ever.
                if info.size < 0 or tar.offset <= place or len(info.name) > _LONGEST:
                    raise VideoError(f"{name}: is damaged after {last}; {_REMEDY}")
                place = tar.offset
                tar.members.clear()  # type: ignore[attr-defined]  # or a million headers would stay in memory
                last = f"'{info.name[:200]}'"
                if info.isdir():
                    continue
                if not info.isreg() or info.issparse():
                    raise VideoError(
                        f"{name}: {last} is a link, a device or a file with holes; shards hold "
                        f"whole files: make it again"
                    )
                member = Member(info.name, info.offset_data, info.size)
                if not _is_there(file, member):
                    said = f"{name}: is cut in the middle of {last}; {_REMEDY}"
                    raise BadMember(said, member.name)
                yield member
            end = tar.offset
        # What tarfile takes for the end may be a damaged header: an end is a block of zeros.
        file.seek(end)
        block = file.read(_BLOCK)
    except tarfile.ReadError as cause:
        what = "is cut" if "end of data" in str(cause) else "is damaged, or no tar"
        raise VideoError(f"{name}: {what} after {last}; {_REMEDY}") from cause
    except (tarfile.TarError, OSError, ValueError, OverflowError, EOFError, RecursionError,
            IndexError, KeyError, MemoryError) as cause:  # fmt: skip
        reason = " ".join(str(cause).split())[:120]
        raise VideoError(f"{name}: is damaged after {last} ({reason}); {_REMEDY}") from cause
    if block.strip(b"\0") or len(block) < _BLOCK:
        what = "is damaged" if len(block) == _BLOCK else "is cut"
        raise VideoError(f"{name}: {what} after {last}; {_REMEDY}")


def _is_there(file: IO[bytes], member: Member) -> bool:
    if not member.size:
        return True
    file.seek(member.offset + member.size - 1)
    return bool(file.read(1))


@dataclass(frozen=True)
class Sample:
    """Members with one key, by the rest of their names after the first dot, in lower case."""

    key: str
    parts: dict[str, Member]


def samples(found: Iterable[Member], shard: str) -> Iterator[Sample]:
    """Neighbours with one key as samples, by the rules of WebDataset.

    Where the members end in an error, the sample before it comes first, unless it is the bad one.

    Raises:
        VideoError: a sample has two members of one kind, or `found` raises it.
    """
    now: Sample | None = None
    try:
        for member in found:
            key, kind = _parts(member.name)
            if not key:
                continue
            if now is None or key != now.key:
                if now is not None:
                    yield now
                now = Sample(key, {})
            if kind in now.parts:
                said = f"{shard}: '{member.name}' is there twice; make the shard again"
                raise BadMember(said, member.name)
            now.parts[kind] = member
    except VideoError as cause:
        bad = _parts(cause.member)[0] if isinstance(cause, BadMember) else None
        if now is not None and now.key != bad:
            yield now
        raise
    if now is not None:
        yield now


def _parts(name: str) -> tuple[str, str]:
    """The key and the kind of a member; no key where it belongs to no sample."""
    match = _KEY.fullmatch(name)
    if match is None or _META.match(name):
        return "", ""
    return match[1], match[2].lower()


def sample_name(key: str) -> str:
    """A key as a printable path that cannot leave a folder: without `..` and a leading `/`."""
    parts = ["_" if part in ("", ".", "..") else part for part in key.lstrip("/").split("/")]
    return printable("/".join(parts))


@contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """A local file or a URL, opened to read.

    Raises:
        OSError: it cannot be opened; other file systems raise errors of their own.
    """
    if "://" not in path:
        with open(path, "rb") as file:
            yield file
        return
    system, inside = system_of(path)  # held until the end: an archive closes with its system
    with system.open(inside, "rb", block_size=_BUFFER) as file:
        yield file


def system_of(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it."""
    fsspec = require_extra("fsspec", "shards", url)
    return fsspec.core.url_to_fs(url)


class _Span(io.RawIOBase):
    """Bytes of a file or a URL as a file; holds nothing open between reads."""

    def __init__(self, path: str, offset: int, size: int) -> None:
        self._path, self._offset, self._size, self._at = path, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("seek before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self._size - self._at))
        data = read_bytes(self._path, self._offset + self._at, count) if count else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def member_file(path: str, offset: int, size: int) -> IO[bytes]:
    """A member of a tar as a seekable file."""
    return io.BufferedReader(_Span(path, offset, size), _BUFFER)


def read_bytes(path: str, offset: int, size: int) -> bytes:
    """Bytes of a file or a URL."""
    if "://" in path:
        system, inside = system_of(path)
        return bytes(system.cat_file(inside, start=offset, end=offset + size))
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)
