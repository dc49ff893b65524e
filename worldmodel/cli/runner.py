"""Doing what settings say: build the objects, open the run, call the verb, keep its results.

The command line and the quickstart's stages come through here alike.
"""

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.error import Error as GymnasiumError
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate

from worldmodel import report
from worldmodel.cli.compose import settle
from worldmodel.cli.signatures import RUN_KEYS, parameters
from worldmodel.errors import ConfigError, EnvError, RunError, WorldModelError
from worldmodel.runs import model_card
from worldmodel.runs.progress import say
from worldmodel.runs.provenance import changed
from worldmodel.runs.run import Run, finished_results, read_metrics


def run_verb(
    verb: str, words: Sequence[str], *, runs_dir: str | Path, name: str
) -> dict[str, float]:
    """Run a verb in this process, as the command line does; a finished run is not run again.

    Args:
        verb: Which.
        words: `key=value`, as on the command line.
        runs_dir: The folder of the run is `runs_dir/verb/name`.
        name: The run's name.

    Returns:
        The results of the run.
    """
    settings = settle(verb, words) | {"runs_dir": str(runs_dir), "name": name}
    return execute(verb, settings)


def execute(verb: str, settings: dict[str, Any]) -> dict[str, float]:
    """Run a verb with settled settings; leaves its folder with metrics.json and report.html.

    Raises:
        WorldModelError: what the verb raises, and what is wrong with the settings.
    """
    _refuse_ranks()
    folder, kind = folder_of(verb, settings), verb.split()[0]
    if settings["existing"] != "redo":
        results = finished_results(folder, {"verb": kind, **settings})
        if results is not None:
            if not (folder / "report.html").is_file():  # interrupted just before
                report.build(folder)
            say(f"{folder}: was finished before; existing=redo does it again")
            return results
    device = choose_device(settings["device"])
    _seed_everything(settings["seed"])
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    function = get_object(settings["_target_"])
    accepted = parameters(settings["_target_"])
    arguments = {
        key: build(key, value)
        for key, value in (settings | {"device": device}).items()
        if key != "_target_" and (key in accepted or key not in RUN_KEYS)
    }
    run = Run.open(
        folder,
        verb=kind,
        config=settings,
        seed=settings["seed"],
        device=device,
        existing=settings["existing"],
        loggers=settings.get("loggers", ()),
    )
    try:
        results = run.finish(function(run, **arguments))
    except BaseException as error:
        run.discard_if_empty()
        if isinstance(error, GymnasiumError):
            raise EnvError(str(error)) from error
        raise
    if (run.model_folder / "model.json").is_file():
        defaults = settle(verb, [], checked=False)
        text = model_card.of_run(
            run.model_folder, read_metrics(folder), settings, changed(defaults, settings)
        )
        model_card.write(run.model_folder, text)
    report.build(folder)
    return results


def call_without_run(settings: dict[str, Any]) -> int:
    """Call a verb that makes no run: it shows something, and returns the exit status."""
    arguments = {key: build(key, value) for key, value in settings.items() if key != "_target_"}
    return int(get_object(settings["_target_"])(**arguments))


def folder_of(verb: str, settings: dict[str, Any]) -> Path:
    """`runs_dir/verb/name`; the quickstart, which holds other runs, is `runs_dir/name`.

    `data check` and its like are in `runs_dir/data`.
    """
    parts = () if verb == "quickstart" else (verb.split()[0],)
    return Path(settings["runs_dir"], *parts, settings["name"])


def choose_device(name: str) -> str:
    """The device that `name` stands for; `auto` takes CUDA where it works.

    Raises:
        ConfigError: there is no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as cause:
        reason = str(cause).splitlines()[0]
        raise ConfigError(
            f"device={name}: does not work here ({reason}); try device=cpu"
        ) from cause
    return name


def _seed_everything(seed: int) -> None:
    """Library code takes generators; this covers what third-party code draws by itself."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _refuse_ranks() -> None:
    """Several processes that were started together would each make the same run."""
    ranks = os.environ.get("WORLD_SIZE", "1")
    if ranks != "1":
        raise RunError(
            f"WORLD_SIZE={ranks}: a run is made by one process; start `worldmodel` without torchrun"
        )


def build(key: str, value: Any) -> Any:
    """The object that a part of the settings describes.

    Raises:
        WorldModelError: what its constructor raises; ConfigError for what it did not expect.
    """
    if not isinstance(value, dict | list):
        return value
    try:
        return instantiate(value, _convert_="all")
    except InstantiationException as cause:
        if isinstance(cause.__cause__, WorldModelError):
            raise cause.__cause__ from cause
        reason = " ".join(str(cause.__cause__ or cause).split())
        raise ConfigError(f"{key}: cannot be built ({reason})") from cause
