"""The page itself: parts in their order, one HTML file that opens offline.

A part appears where its input exists, so that every verb's run has a page.
"""

from html import escape
from importlib.resources import files
from pathlib import Path

import yaml

from worldmodel.report import acting, judging, learning, numbers
from worldmodel.report.folder import RunRecord, read_stages
from worldmodel.storage.files import whole_file

PAGE = "report.html"


def build(folder: str | Path) -> Path:
    """Write `report.html` into a run's folder.

    Args:
        folder: A run's folder; runs inside it become parts of the page.

    Returns:
        The page's path.

    Raises:
        RunError: the folder is not a run's, or something in it is damaged.
    """
    folder = Path(folder)
    stages = read_stages(folder)
    with whole_file(folder / PAGE) as temporary:
        temporary.write_text(render(stages), encoding="utf-8")
    return folder / PAGE


def render(stages: list[RunRecord]) -> str:
    """The page of the first of `stages`, with the others as its parts."""
    top, *inside = stages
    style = files("worldmodel.report").joinpath("style.css").read_text(encoding="utf-8")
    body = [
        _head(top),
        learning.alarms(stages),
        numbers.tiles(top),
        acting.section(stages),
        judging.section(stages),
        learning.section(stages),
        numbers.section(top),
        numbers.seconds(top, inside),
        _settings(stages),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>worldmodel {escape(top.verb)}</title><style>{style}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _head(top: RunRecord) -> str:
    made = f"{top.verb} · {top.folder.name}" if top.folder.name != top.verb else top.verb
    facts = ["not finished"]
    if top.metrics:
        m = top.metrics
        minutes, rest = divmod(round(m["seconds"]), 60)
        facts = [f"{minutes} min {rest} s" if minutes else f"{rest} s", f"seed {m['seed']}",
                 f"on {m['device']}", f"{m.get('memory_peak_gib', 0):.1f} GiB at most",
                 f"version {m['version']}"]  # fmt: skip
        if m["git_commit"]:
            facts.append(f"commit {m['git_commit'][:10]}")
    spans = "".join(f"<span>{escape(fact)}</span>" for fact in facts)
    return f'<header><h1>{escape(made)}</h1><p class="facts">{spans}</p></header>'


def _settings(stages: list[RunRecord]) -> str:
    blocks = [
        f"<details><summary>{escape(stage.name)}</summary>"
        f"<pre>{escape(yaml.safe_dump(stage.settings, sort_keys=False))}</pre></details>"
        for stage in stages
    ]
    return f"<h2>Settings</h2>{''.join(blocks)}"
