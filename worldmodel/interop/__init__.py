"""Models that others have trained, in and out: key tables, configuration, reports.

One file a format: `vjepa.py` for V-JEPA's `.pt` files, `huggingface.py` for `VJEPA2Model` folders.
`keys.py` says how the weights of one name those of the other, `building.py` makes a model of them
and refuses what does not fit. Nothing in a file is ever executed.
"""

from collections.abc import Callable
from pathlib import Path

from worldmodel.interop import huggingface, vjepa
from worldmodel.interop.hints import Hints as Hints
from worldmodel.interop.report import KeyReport as KeyReport
from worldmodel.model import WorldModel

Reader = Callable[[Path, Hints], tuple[WorldModel, KeyReport]]


def recognise(path: Path) -> Reader | None:
    """What reads the file or folder at `path`, by looking at it; None if nothing here does."""
    if huggingface.is_folder(path):
        return huggingface.read
    if path.suffix in vjepa.SUFFIXES:  # a missing one too: it is the reader that says so
        return vjepa.read
    return None
