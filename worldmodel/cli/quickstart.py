"""The verb `quickstart`: a whole story, stage by stage.

Each stage is a run of its own in the story's folder; a stage that is finished is not run again, and
one that was interrupted goes on where it was. `stages` says what the stories are; this file only
runs them and gathers what they found.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from worldmodel.cli.runner import run_verb
from worldmodel.cli.stages import SCALES, SECONDS, STORIES, Stage
from worldmodel.errors import ConfigError, nearest
from worldmodel.runs.run import Run, read_metrics
from worldmodel.storage.files import whole_file


def quickstart(
    run: Run,
    *,
    story: Literal["quickstart", "pretraining", "scratch", "few_labels"] = "quickstart",
    scale: Literal["full", "smoke"] = "full",
    main: str | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, float]:
    """Tell a story; leaves the model where `wm.load(folder)` finds it.

    Args:
        run: The story's folder.
        story: Which: the whole one, or one that is compared with it.
        scale: `smoke` does as little as it can.
        main: Folder of the finished story that this one is compared with.
        seed: Of every stage.
        device: Where to compute.

    Returns:
        What the stages' `gather` names, `seconds.<stage>`, `seconds.total`, `memory.peak_gib`.

    Raises:
        ConfigError: the story to compare with is not named, or of another seed.
    """
    if story != "quickstart":
        if main is None:
            raise ConfigError(f"story={story} is compared with a finished one: name it with main=")
        told = read_metrics(main)["seed"]
        if told != seed:
            raise ConfigError(
                f"{main}: is the story of seed {told}, not of {seed}; tell the story of that seed "
                "first, or name its folder with main="
            )
    stages = STORIES[story](run.folder, SCALES[scale], Path(main or run.folder))
    return run_stages(run, stages, seed=seed, device=device)


def run_stages(
    run: Run, stages: Sequence[Stage], *, seed: int = 0, device: str = "cpu"
) -> dict[str, float]:
    """Run the stages in order; arguments and results are those of `quickstart`."""
    results: dict[str, float] = {}
    seconds: dict[str, float] = {}
    peaks = []
    with run.progress(sum(SECONDS[stage.verb] for stage in stages), "quickstart") as bar:
        for stage in stages:
            run.say(f"stage {stage.name}: worldmodel {stage.verb}")
            words = [*stage.words, f"seed={seed}", f"device={device}"]
            found = run_verb(stage.verb, words, runs_dir=run.folder, name=stage.name)
            metrics = read_metrics(run.folder / stage.verb / stage.name)
            seconds[f"seconds.{stage.name}"] = float(metrics["seconds"])
            peaks.append(float(metrics["memory_peak_gib"]))
            results |= gather(found, stage.gather)
            bar.advance(SECONDS[stage.verb])
    _adopt_model(run, stages)
    # The clock's time, unless the story was interrupted: then what its stages took.
    total = max(run.seconds, sum(seconds.values()))
    return {**results, **seconds, "seconds.total": total, "memory.peak_gib": max(peaks)}


def gather(found: Mapping[str, float], names: Mapping[str, str]) -> dict[str, float]:
    """The results under the story's names, each with its count and interval where it has them.

    Raises:
        ConfigError: a stage did not find what is to be gathered.
    """
    gathered: dict[str, float] = {}
    for name, source in names.items():
        if source.endswith("*"):
            stem = source[:-1]
            taken = (key for key in found if key.startswith(stem))
            gathered |= {name[:-1] + key.removeprefix(stem): found[key] for key in taken}
            continue
        if source not in found:
            raise ConfigError(f"no result '{source}' to call {name}: {nearest(source, found)}")
        for ending in ("", ".n", ".low", ".high"):
            if source + ending in found:
                gathered[name + ending] = found[source + ending]
    return gathered


def _adopt_model(run: Run, stages: Sequence[Stage]) -> None:
    """Copy the last model that the story trained, if any, to the story's own folder."""
    trained = [s for s in stages if s.verb in ("pretrain", "train")]
    if not trained:
        return
    source = run.folder / trained[-1].verb / trained[-1].name / "model"
    run.model_folder.mkdir(exist_ok=True)
    for name in ("model.safetensors", "model.json"):
        with whole_file(run.model_folder / name) as temporary:
            shutil.copyfile(source / name, temporary)
