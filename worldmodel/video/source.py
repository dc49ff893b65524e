"""The file that a video is read from: a path, bytes, a file object, or a URL that fsspec knows.

FFmpeg is given a local path or a Python file, never a URL, and opens nothing else by itself. Arrays
and live frames are in `arrays.py`.
"""

import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from worldmodel.errors import ConfigError, VideoError
from worldmodel.storage.files import require_file

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+::?//|[A-Za-z][A-Za-z0-9+.\-]+::")

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]


@dataclass(frozen=True)
class SourceFile:
    """Bytes of one video: where they are and what messages call them.

    Attributes:
        name: For messages.
        path: The local file, where it is one.
        file: What is read otherwise: seekable, binary.
        owned: True if `close` closes `file`.
        keep: What would close `file` if nobody held it, such as a zip archive.
    """

    name: str
    path: Path | None = None
    file: "_Guarded | IO[bytes] | None" = None
    owned: bool = False
    keep: object = None

    @staticmethod
    def of(source: "Source | SourceFile", name: str | None = None) -> "SourceFile":
        """The file that a user's `source` stands for, looked at but not read.

        Raises:
            VideoError: there is no such file, or it is a folder, a pipe, a device, empty.
            ConfigError: nothing of this kind can be a video.
        """
        if isinstance(source, SourceFile):
            return source
        if isinstance(source, bytes | bytearray | memoryview):
            content = bytes(source)  # a view may skip bytes; bytes themselves are not copied
            if not content:
                raise VideoError(f"{name or 'bytes'}: is empty (0 bytes); fetch the video again")
            return SourceFile(
                name or f"<{len(content)} bytes>", file=io.BytesIO(content), owned=True
            )
        # A file may be called like a URL: cam1::b.mp4.
        if isinstance(source, str) and _URL.match(source) and not os.path.isfile(source):
            return _of_url(source, name)
        if isinstance(source, str | os.PathLike):
            return _of_path(Path(source), name)
        if hasattr(source, "read") and hasattr(source, "seek"):  # duck typing is what files are
            return _of_file(source, name)
        raise ConfigError(
            f"a video cannot be read from {type(source).__name__}; give a path, bytes, a binary "
            f"file, a URL, an array (t h w c) or an iterator of frames"
        )

    def argument(self) -> Any:
        """The argument for PyAV: a `file:` path, or a Python file at its beginning."""
        if self.file is not None:
            self.file.seek(0)
            return self.file
        return f"file:{self.path}"

    def close(self) -> None:
        """Close what was opened here; a file that the user gave stays open."""
        if self.owned and self.file is not None:
            self.file.close()


class _Guarded:
    """A file whose errors, which each file system has of its own, name it in one line."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name
        self.close = file.close

    def read(self, size: int = -1) -> bytes:
        """See `io`."""
        return self._say(self._file.read, size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """See `io`."""
        place: int | None = self._say(self._file.seek, offset, whence)
        return self.tell() if place is None else place  # mmap says it from 3.13 on

    def tell(self) -> int:
        """See `io`."""
        return self._say(self._file.tell)

    def _say(self, do: Callable[..., Any], *arguments: int) -> Any:
        try:
            return do(*arguments)
        except Exception as cause:
            raise VideoError(
                f"{self._name}: cannot be read ({_reason(cause)}); check access to it, or leave it "
                f"out"
            ) from cause


def _reason(cause: Exception) -> str:
    """The text of an error, in one line that is not too long."""
    return " ".join(str(cause).split())[:200] or type(cause).__name__


def _of_path(path: Path, name: str | None) -> SourceFile:
    require_file(path, "video", VideoError)
    try:
        str(path).encode()
    except UnicodeEncodeError:  # only Python opens a name that is not UTF-8
        return SourceFile(name or str(path), file=path.open("rb"), owned=True)
    return SourceFile(name or str(path), path=path)


def _of_file(file: Any, name: str | None) -> SourceFile:
    # A spooled file has a name, which is None.
    name = name or str(getattr(file, "name", None) or f"<{type(file).__name__}>")
    try:
        # mmap has no `seekable` before Python 3.13.
        seekable = getattr(file, "seekable", lambda: True)()
        file.seek(0)
        first = file.read(1)
    except Exception as cause:  # each kind of file has errors of its own
        raise VideoError(
            f"{name}: cannot be read ({_reason(cause)}); open it anew, in mode 'rb', or leave it "
            f"out"
        ) from cause
    if not seekable:
        raise VideoError(f"{name}: is a stream that cannot go back; read it into bytes first")
    if not isinstance(first, bytes):
        raise VideoError(f"{name}: is opened as text; open it in mode 'rb'")
    if not first:
        raise VideoError(f"{name}: is empty (0 bytes); fetch the video again")
    return SourceFile(name, file=_Guarded(file, name))


def _of_url(url: str, name: str | None) -> SourceFile:
    """A URL with chains, as fsspec reads them: `zip://a.mp4::folder/x.zip`."""
    try:
        import fsspec
    except ImportError as cause:
        raise ConfigError(
            f"{url}: reading URLs needs fsspec; pip install fsspec, or fetch the file"
        ) from cause
    try:
        system, path = fsspec.core.url_to_fs(url)
        if system.protocol in ("file", "local") or "file" in system.protocol:
            return _of_path(Path(path), name or url)
        if system.isdir(path):
            raise VideoError(f"{name or url}: is a folder, not a video; name a file")
        file = system.open(path, "rb")
    except VideoError:
        raise
    except Exception as cause:  # each file system has errors of its own
        raise VideoError(
            f"{name or url}: cannot be opened ({_reason(cause)}); check the URL and access to it"
        ) from cause
    checked = _of_file(file, name or url)
    return SourceFile(checked.name, file=checked.file, owned=True, keep=system)
