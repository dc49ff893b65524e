"""Measure a part on this machine and write its table into `docs/results`."""

import argparse
import importlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

from worldmodel.runs import cpu

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
PARTS = {  # the files of this folder that have a function `bench`
    "sigreg": "SIGReg beside others', forward and backward",
    "pretrain": "a training step",
    "plan": "a decision of a planner",
    "render": "frames of a world",
    "suites": "scenes of the suites of matched clips",
    "encode": "a clip, by a ViT-L",
    "video": "clips from files, beside the libraries that decode them",
    "loading": "clips from files, by the number of workers",
    "gpu": "training steps of a ViT-L in bfloat16",
    "decoders": "which frames the decoders return",
}
PEERS = ("lejepa", "vjepa2")


def command_line() -> argparse.ArgumentParser:
    """The parts and options that can be asked for."""
    lines = [f"  {name:<10}{does}" for name, does in PARTS.items()]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="\n".join([__doc__ or "", "parts:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=[*PARTS], metavar="PART")
    parser.add_argument("--repeats", type=int, metavar="N", help="measurements of each number")
    parser.add_argument("--device", metavar="D", help="where tensors live; cpu by default")
    parser.add_argument("--videos", type=Path, metavar="FOLDER", help="the files that are read")
    for name in PEERS:
        parser.add_argument(
            f"--{name}", type=Path, metavar="FOLDER", help="their repository, to be measured too"
        )
    parser.add_argument(
        "--output", type=Path, default=RESULTS, metavar="FOLDER", help="where the table is written"
    )
    return parser


def main(words: Sequence[str]) -> None:
    """Measure the part that is named, write its table and print it."""
    parser = command_line()
    asked = parser.parse_args(words)
    # Imported after the process is tuned, as the verbs are: torch comes with them.
    from worldmodel.errors import WorldModelError
    from worldmodel.report.results import markdown, write

    bench = importlib.import_module(f"benchmarks.{asked.part}").bench
    names = ("repeats", "device", "videos", *PEERS)
    options = {k: v for k in names if (v := getattr(asked, k)) is not None}
    taken = inspect.signature(bench).parameters
    for name in options.keys() - taken.keys():
        parser.error(f"{asked.part} takes no --{name}, only {', '.join(f'--{n}' for n in taken)}")
    if "videos" in taken and "videos" not in options:
        parser.error(f"{asked.part} needs --videos FOLDER")
    if options.get("repeats", 1) < 1:
        parser.error(f"--repeats has to be at least 1, got {asked.repeats}")
    device = options.get("device", taken["device"].default if "device" in taken else "cpu")
    try:
        table = bench(**options).to_json(device=device)
    except WorldModelError as cause:
        parser.error(str(cause))
    asked.output.mkdir(parents=True, exist_ok=True)
    write(table, asked.output / f"{table['name']}.json")
    print(markdown(table))


if __name__ == "__main__":
    cpu.tune()
    main(sys.argv[1:])
