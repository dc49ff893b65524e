"""README.md beside a saved model: data, recipe, numbers, where it comes from, how to load it.

Made of what a run knows. A card whose mark a person has removed is theirs, and left alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldmodel.runs.provenance import flat
from worldmodel.storage.files import whole_file

NAME = "README.md"
MARK = "# written by worldmodel, and again when the model is; remove this line to keep your text"
_ABOUT_DATA = ("data.", "episodes", "encoder", "clips")  # how settings of data begin
_COUNTS = ("videos", "skipped", "episodes", "frames")  # results that are about data
_HEAD = f"""---
{MARK}
library_name: worldmodel
license: other
tags: [world-model, video, self-supervised-learning]
---
"""
_LOAD = """```python
import worldmodel as wm

model = wm.load("{folder}")  # this folder, wherever it is now
latents = model.encode(wm.read_clip("video.mp4", num_frames=16, size=model.size))
```
"""
_LICENCE = """The licence of these weights is for their owner to say, under `license:` above:
that of the code (Apache-2.0) does not cover them, and that of the data may bind them too.
"""


def of_run(
    folder: Path, metrics: Mapping[str, Any], config: Mapping[str, Any], changed: Mapping[str, Any]
) -> str:
    """The card of a model that a run has made.

    Args:
        folder: of the model.
        metrics: the content of the run's metrics.json.
        config: the run's settings.
        changed: those that differ from the verb's defaults, by dotted keys.
    """
    results, settings = metrics["results"], flat(config)
    about_data = {
        key: value
        for key, value in settings.items()
        if key.startswith(_ABOUT_DATA) and value is not None and "_target_" not in key
    }
    counts = {key: results[key] for key in _COUNTS if key in results}
    others = {key: value for key, value in results.items() if key not in counts}
    recipe = {key: value for key, value in changed.items() if key not in about_data}
    made = {key: metrics[key] for key in ("version", "git_commit", "seed", "device", "seconds")}
    return "\n".join(
        [
            f"{_HEAD}\n# {config.get('name', folder.parent.name)}\n",
            f"A world model of video, made by `worldmodel {metrics['verb']}`.\n",
            f"## Data\n\n{_table(about_data | counts)}",
            f"## Recipe\n\nSettings that differ from the defaults:\n\n{_table(recipe)}",
            f"## Numbers\n\n{_table(others)}",
            f"## Provenance\n\n{_table(made | {'config_sha256': metrics['config_sha256']})}",
            f"## Use\n\n{_LOAD.format(folder=folder)}",
            f"## Licence\n\n{_LICENCE}",
        ]
    )


def of_export(source: Path | str, how_to_load: str) -> str:
    """The card of a model that was written in another format.

    Args:
        source: what it was made of.
        how_to_load: Python that loads it.
    """
    return "\n".join(
        [
            f"{_HEAD}\n# {Path(source).name}\n",
            f"The weights of the source, written by `worldmodel export model={source}`.\n",
            f"## Use\n\n```python\n{how_to_load}\n```\n",
            "## Licence\n\nThat of the source, which also tells of data and numbers; say it under "
            "`license:` above.\n",
        ]
    )


def write(folder: Path, text: str) -> bool:
    """Put a card into the folder of a model, unless a person's own is there; says if it did."""
    path = folder / NAME
    if path.is_symlink() or (path.exists() and MARK not in path.read_text("utf-8", "replace")):
        return False
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")  # names of files
    return True


def _table(rows: Mapping[str, Any]) -> str:
    if not rows:
        return "None.\n"
    lines = [f"| {key} | {_cell(value)} |" for key, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines, ""])


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "\\|").split())
