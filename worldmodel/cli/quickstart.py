"""The verb `quickstart`: the whole story as a list of verbs with their settings.

Each stage is a run of its own in the quickstart's folder; a stage that is finished is not run
again, and one that was interrupted goes on where it was. The configuration names the stages; this
file only runs them and gathers what they found.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from worldmodel.cli.run_verb import run_verb
from worldmodel.errors import ConfigError, nearest
from worldmodel.runs.run import read_metrics
from worldmodel.storage.files import whole_file

if TYPE_CHECKING:
    from worldmodel.runs.run import Run


@dataclass(frozen=True)
class Stage:
    """One verb of the story.

    Attributes:
        name: of its run, in the quickstart's folder.
        verb: what is run.
        settings: `key=value` words. `{folder}` stands for the story's folder, `{main}` for that of
            the story that it is compared with, and `{seconds}` for what `time_of` took there.
        gather: names in the story's results, and the stage's results that they stand for. A name
            ending in `*` takes all that begin alike.
        time_of: stages of the main story whose time together `{seconds}` is.
        share: of the story's time, in any unit; only the progress bar needs it.
    """

    name: str
    verb: str
    settings: Sequence[str] = ()
    gather: Mapping[str, str] | None = None
    time_of: Sequence[str] = ()
    share: float = 1.0


def quickstart(
    run: "Run", *, stages: Sequence[Stage], main: str | None = None, seed: int = 0,
    device: str = "cpu",
) -> dict[str, float]:  # fmt: skip
    """Run the stages in order; leaves the model where `wm.load(folder)` finds it.

    Args:
        run: the story's folder.
        stages: what to do.
        main: folder of a finished story that this one is compared with.
        seed: of every stage.
        device: where to compute.

    Returns:
        What the stages' `gather` names, `seconds.<stage>`, `seconds.total`, `memory.peak_gib`.

    Raises:
        ConfigError: there are no stages, or one needs what is not there.
    """
    if not stages:
        raise ConfigError("a story needs stages: quickstart=default, quickstart=smoke, or your own")
    if main is not None and read_metrics(main)["seed"] != seed:
        raise ConfigError(
            f"{main}: is the story of seed {read_metrics(main)['seed']}, not of {seed}; tell the "
            "story of that seed first, or name its folder with main="
        )
    results: dict[str, float] = {}
    seconds: dict[str, float] = {}
    peaks = []
    with run.progress(sum(stage.share for stage in stages), "quickstart") as bar:
        for stage in stages:
            run.say(f"stage {stage.name}: worldmodel {stage.verb}")
            words = [*_fill(stage, run.folder, main), f"seed={seed}", f"device={device}"]
            found = run_verb(stage.verb, words, runs_dir=run.folder, name=stage.name)
            metrics = read_metrics(run.folder / stage.verb / stage.name)
            seconds[f"seconds.{stage.name}"] = float(metrics["seconds"])
            peaks.append(float(metrics["memory_peak_gib"]))
            results |= gather(found, stage.gather or {})
            bar.advance(stage.share)
    _adopt_model(run, stages)
    # The clock's time, unless the story was interrupted: then what its stages took.
    total = {
        "seconds.total": max(run.seconds, sum(seconds.values())), "memory.peak_gib": max(peaks),
    }  # fmt: skip
    return {**results, **seconds, **total}


def _fill(stage: Stage, folder: Path, main: str | None) -> list[str]:
    """The stage's settings with folders and times filled in."""
    values = {"{folder}": str(folder), "{main}": str(main)}
    if stage.time_of:
        if main is None:
            raise ConfigError(f"stage {stage.name} takes the time of another story: set main=")
        took = read_metrics(main)["results"]
        values["{seconds}"] = f"{sum(took[f'seconds.{name}'] for name in stage.time_of):.1f}"
    words = list(stage.settings)
    for mark, value in values.items():
        words = [word.replace(mark, value) for word in words]
    return words


def gather(found: Mapping[str, float], names: Mapping[str, str]) -> dict[str, float]:
    """The results under the story's names, each with its count and interval where it has them.

    Raises:
        ConfigError: a stage did not find what is to be gathered.
    """
    gathered: dict[str, float] = {}
    for name, source in names.items():
        if source.endswith("*"):
            stem = source[:-1]
            gathered |= {
                name[:-1] + key[len(stem) :]: value
                for key, value in found.items() if key.startswith(stem)
            }  # fmt: skip
            continue
        if source not in found:
            raise ConfigError(f"no result '{source}' to call {name}: {nearest(source, found)}")
        for ending in ("", ".n", ".low", ".high"):
            if source + ending in found:
                gathered[name + ending] = found[source + ending]
    return gathered


def _adopt_model(run: "Run", stages: Sequence[Stage]) -> None:
    """Copy the last model that the story trained, if any, to the story's own folder."""
    trained = [s for s in stages if s.verb in ("pretrain", "train")]
    if not trained:
        return
    source = run.folder / trained[-1].verb / trained[-1].name / "model"
    run.model_folder.mkdir(exist_ok=True)
    for name in ("model.safetensors", "model.json"):
        with whole_file(run.model_folder / name) as temporary:
            shutil.copyfile(source / name, temporary)
