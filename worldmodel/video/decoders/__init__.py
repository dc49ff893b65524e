"""The decoders, one file each, found by being in this folder; and which of them work here."""

import importlib
import pkgutil
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

import av
import numpy as np
from torch import Tensor

from worldmodel.video.decoders.base import Decoder, look
from worldmodel.video.decoding import Decoding
from worldmodel.video.source import SourceFile

_FRAMES = 6  # of the video that decoders are tried on


@cache
def known() -> dict[str, type[Decoder]]:
    """Every decoder by its name; first PyAV, which is right for every file."""
    modules = [
        importlib.import_module(f"{__name__}.{found.name}")
        for found in pkgutil.iter_modules(__path__)
    ]
    classes = [
        thing
        for module in modules
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, Decoder) and thing is not Decoder
        and thing.__module__ == module.__name__
    ]  # fmt: skip
    in_order = sorted(classes, key=lambda kind: (kind.name != "pyav", kind.name))
    return {kind.name: kind for kind in in_order}


@cache
def why_not(name: str) -> str | None:
    """Why a decoder does not work on this machine, and what to do about it; None where it works.

    Decodes a small video that PyAV makes: some libraries can be imported and load what they need
    with the first frame. The answer is kept as long as this process lives.

    Args:
        name: One of `known()`.
    """
    kind = known()[name]
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trial.mp4"
            _write_trial(path)
            frames, expected = _frames_of(kind, path), _frames_of(known()["pyav"], path)
        # Libraries convert colours each in their own way, by a few grey levels.
        right = frames.shape == expected.shape and (frames - expected).abs().max() < 16
        reason = "" if right else "it decodes wrong frames"
    except Exception as error:  # a broken library raises anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"{name} does not work here ({reason}); {kind.install}" if reason else None


def _write_trial(path: Path) -> None:
    """A video of plain grey frames, each brighter than the one before it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        for number in range(_FRAMES):
            image = np.full((64, 64, 3), 20 + 40 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def _frames_of(kind: type[Decoder], path: Path) -> Tensor:
    facts, _ = look(SourceFile.of(path), Decoding())
    if facts.opened is not None and kind.name != "pyav":
        facts.opened[0].close()
    with closing(kind(facts)) as decoder:
        return decoder.read(np.arange(_FRAMES)).float()
