"""The page itself: parts in their order, one HTML file that opens offline.

A part appears where its input exists, so that every verb's run has a page.
"""

from html import escape
from importlib.resources import files
from pathlib import Path

import yaml

from worldmodel.report import acting, confusion, judging, learning, numbers, seeing
from worldmodel.report.run_folder import RunRecord, read_runs
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
    runs = read_runs(folder)
    with whole_file(folder / PAGE) as temporary:
        temporary.write_text(render(runs), encoding="utf-8")
    return folder / PAGE


def render(runs: list[RunRecord]) -> str:
    """The page of the first of `runs`, with the others as its parts."""
    top, *inside = runs
    style = files("worldmodel.report").joinpath("style.css").read_text(encoding="utf-8")
    body = [
        _head(top),
        learning.alarms(runs),
        numbers.tiles(top),
        acting.section(runs),
        judging.section(runs),
        confusion.section(runs),
        seeing.section(runs),
        learning.section(runs),
        numbers.section(top),
        numbers.seconds(top, inside),
        _settings(runs),
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


def _settings(runs: list[RunRecord]) -> str:
    blocks = [
        f"<details><summary>{escape(run.name)}</summary>"
        f"<pre>{escape(yaml.safe_dump(run.settings, sort_keys=False))}</pre></details>"
        for run in runs
    ]
    return f"<h2>Settings</h2>{''.join(blocks)}"
