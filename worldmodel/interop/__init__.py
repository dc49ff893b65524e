"""Third-party models, in and out.

One file for each format: `vjepa.py` for V-JEPA's `.pt` files, `vjepa_probe.py` for its attentive
probes, `huggingface.py` and `to_huggingface.py` for `VJEPA2Model` folders, `lewm.py` for those of
LeWorldModel. `key_rules.py` maps
their weights to ours, `convert_weights.py` makes the model and refuses weights that do not fit,
`key_report.py` lists what became of every key. `load.py` reads any model, ours too; `export.py` is
the verb. Nothing in a file is ever executed.
"""

from collections.abc import Callable
from pathlib import Path

from worldmodel.interop import huggingface, lewm, vjepa
from worldmodel.interop.hints import Hints as Hints
from worldmodel.interop.key_report import KeyReport as KeyReport
from worldmodel.model import WorldModel

Reader = Callable[[Path, Hints], tuple[WorldModel, KeyReport]]


def recognise(path: Path) -> Reader | None:
    """The reader for the file or folder at `path`, by looking at it; None if there is none."""
    if lewm.is_folder(path):
        return lewm.read
    if huggingface.is_folder(path):
        return huggingface.read
    if path.suffix in vjepa.SUFFIXES:  # a missing one too: its reader says so
        return vjepa.read
    return None
