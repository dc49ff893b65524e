"""Write the tables of this folder into the README and the documentation.

python docs/results/render.py                      write them
python docs/results/render.py --check              exit 1 if a document is not up to date
python docs/results/render.py collect quickstart RUN [RUN ...] --command "..."
                                                   make quickstart.json from finished runs;
                                                   --untimed SEED leaves out seconds of slowed ones
"""

import argparse
import sys
from pathlib import Path

from worldmodel.report import results

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def main() -> int:
    """Do what the words say; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="change nothing, only look")
    commands = parser.add_subparsers(dest="what")
    collect = commands.add_parser("collect", help="make a table from finished runs")
    collect.add_argument("name")
    collect.add_argument("runs", nargs="+")
    collect.add_argument("--command", required=True)
    collect.add_argument("--untimed", type=int, nargs="*", default=[], metavar="SEED")
    words = parser.parse_args()
    if words.what == "collect":
        table = results.collect(
            words.runs, name=words.name, command=words.command, untimed=words.untimed
        )
        results.write(table, HERE / f"{words.name}.json")
    return render(check=words.check)


def render(*, check: bool) -> int:
    """Fill every document; with `check` only say which are not up to date."""
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    stale = []
    for path in documents:
        text = path.read_text(encoding="utf-8")
        filled = results.fill(text, HERE)
        if filled != text:
            stale.append(path)
            if not check:
                path.write_text(filled, encoding="utf-8")
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'is not up to date' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
