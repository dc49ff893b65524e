"""The verb `export`: write any model as a folder for this package or for transformers."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from worldmodel import checkpoint, interop
from worldmodel.errors import ConfigError
from worldmodel.interop import to_huggingface
from worldmodel.interop.load import load_with_report
from worldmodel.runs import model_card
from worldmodel.storage.files import require_access

Format = Literal["worldmodel", "hf"]


def export(
    *, model: str, output: str, format: Format = "worldmodel", family: str | None = None,
    heads: int | None = None, predictor_heads: int | None = None, size: int | None = None,
) -> int:  # fmt: skip
    """Write a model as a folder; of a third-party one, report what became of every key.

    Args:
        model: a model or run of ours, a `.pt` file of V-JEPA, or a Hugging Face folder.
        output: the folder to make; it must not be there.
        format: `worldmodel` for this package, with `keys.csv` on a third-party model's keys; `hf`
            for transformers' VJEPA2Model.
        family: of a `.pt` file, if its keys leave it open: vjepa, vjepa2, vjepa2.1 or vjepa2-ac.
        heads: attention heads of its encoder, if its width is not a published one.
        predictor_heads: attention heads of its predictor, likewise.
        size: side of its frames in pixels, if not the published one.

    Returns:
        0.
    """
    if format not in ("worldmodel", "hf"):
        raise ConfigError(f"format={format}: say worldmodel or hf")
    hints = interop.Hints(family, heads, predictor_heads, size)
    with whole_folder(Path(output)) as folder:
        loaded, report = load_with_report(Path(model), hints)
        if report is not None:
            print(report.text(), file=sys.stderr)
        if format == "hf":
            to_huggingface.write(loaded, folder)
            load_it = f'transformers.VJEPA2Model.from_pretrained("{output}")'
            model_card.write(
                folder, model_card.of_export(model, f"import transformers\n\nmodel = {load_it}")
            )
        else:
            checkpoint.save(loaded, folder)
            model_card.write(folder, _card(Path(model), output))
            if report is not None:
                report.write(folder / "keys.csv")
    print(output)
    return 0


def _card(model: Path, output: str) -> str:
    """The card that a model of ours has, else one that says where the weights are from."""
    for folder in (model, model / "model", model.parent):
        if checkpoint.is_own(model) and (folder / "model.json").is_file():
            if (folder / model_card.NAME).is_file():
                return (folder / model_card.NAME).read_text("utf-8", "surrogateescape")
    return model_card.of_export(model, f'import worldmodel as wm\n\nmodel = wm.load("{output}")')


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Fill the yielded temporary folder; it becomes `path` when the block ends without an error.

    Raises:
        ConfigError: there is something at `path`, or nothing can be made there.
    """
    require_access(path, ConfigError)
    if path.exists() or path.is_symlink():
        raise ConfigError(f"{path}: is there already; name another output= or remove it")
    # Without the name of `path`, which may be as long as names can be.
    temporary = path.with_name(f".export.{os.getpid()}.tmp")
    new = [parent for parent in path.parents if not parent.exists()]  # the deepest first
    try:
        with _made(path):
            temporary.mkdir(parents=True)
        yield temporary
        with _made(path):
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in new:
            with suppress(OSError):  # it holds something: what was written, or others' files
                parent.rmdir()


@contextmanager
def _made(path: Path) -> Iterator[None]:
    """Turn an error of the system into one line about `path`."""
    try:
        yield
    except OSError as cause:
        raise ConfigError(
            f"{path}: cannot be made ({cause.strerror}); name another output="
        ) from cause
