"""Whether videos that a model is judged on were among those that it learned from.

Compares files, by the paths in the settings of the run that made the model; opens none of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from worldmodel.datasets import open_catalogue
from worldmodel.datasets.catalogue import Item
from worldmodel.errors import WorldModelError
from worldmodel.evaluation.labelled import file_of
from worldmodel.video.arguments import counted


def run_settings(model: str | Path) -> dict[str, Any]:
    """The settings of the run that made a model; empty where they are not beside it."""
    path = Path(model)
    for folder in (path, *path.parents[:2]):
        file = folder / "config.yaml"
        if file.is_file():
            try:
                found = yaml.safe_load(file.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError):
                return {}
            return found if isinstance(found, dict) and "verb" in found else {}
    return {}


def told_overlap(
    items: Sequence[Item], settings: Mapping[str, Any], *, whose: str
) -> tuple[int, str | None]:
    """How many videos are in the training set that the settings of a run name.

    Args:
        items: videos that are judged.
        settings: of the run that trained.
        whose: the model, for the message.

    Returns:
        Their number, and one line about them: None where there is nothing to say.
    """
    learned: set[str] = set()
    for path, options in training_sets(settings):
        try:
            learned |= {file_of(item) for item in open_catalogue(path, **options)}
        except WorldModelError as error:
            return 0, (
                f"{whose} learned from {path}, which cannot be listed any more, so whether these "
                f"videos were among them is not known ({error})"
            )
    shared = sorted(file_of(item) for item in items if file_of(item) in learned)
    if not shared:
        return 0, None
    return len(shared), (
        f"{len(shared)} of the {counted(len(items), 'video')} that are tested on are in the "
        f"training set of {whose} too, without their labels (the first: {shared[0]})"
    )


def training_sets(settings: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The data sets that a run's settings name as its training data, with how they are opened."""
    before = settings.get("model" if settings.get("verb") == "probe" else "encoder")
    if isinstance(before, str):  # what it was made from has learned too
        yield from training_sets(run_settings(before))
    if settings.get("verb") == "probe":
        return  # it has fitted a classifier to an encoder, which learned nothing then
    data = settings.get("data")
    data = data if isinstance(data, Mapping) else {}
    named = [data, *(part for part in data.get("sources") or () if isinstance(part, Mapping))]
    if settings.get("verb") == "train":
        learned = settings.get("episodes")
        several = learned if isinstance(learned, list) else [learned]
        named += [{"path": path, "reading": settings.get("reading")} for path in several]
    for part in named:
        if isinstance(part.get("path"), str):
            options = dict(part.get("reading") or {})
            yield part["path"], {"format": part.get("format", "auto"), **options}
