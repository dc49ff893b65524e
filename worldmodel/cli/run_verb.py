"""Doing what settings say: build the objects, open the run, call the verb, keep its results.

The command line and the quickstart's stages come through here alike.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate

from worldmodel import report
from worldmodel.cli.settings import settle
from worldmodel.cli.signatures import RUN_KEYS, parameters
from worldmodel.errors import ConfigError, WorldModelError
from worldmodel.runs.progress import say
from worldmodel.runs.run import Run, finished_results


def run_verb(
    verb: str, overrides: Sequence[str], *, runs_dir: str | Path, name: str
) -> dict[str, float]:
    """Run a verb in this process, as the command line does; a finished run is not run again.

    Args:
        verb: Which.
        overrides: `key=value` words.
        runs_dir: The folder of the run is `runs_dir/verb/name`.
        name: The run's name.

    Returns:
        The results of the run.
    """
    settings = settle(verb, overrides) | {"runs_dir": str(runs_dir), "name": name}
    return execute(verb, settings)


def execute(verb: str, settings: dict[str, Any]) -> dict[str, float]:
    """Run a verb with settled settings; leaves its folder with metrics.json and report.html.

    Raises:
        WorldModelError: what the verb raises, and what is wrong with the settings.
    """
    folder = folder_of(verb, settings)
    if settings["existing"] != "redo":
        results = finished_results(folder, {"verb": verb, **settings})
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
        key: _build(key, value)
        for key, value in (settings | {"device": device}).items()
        if key != "_target_" and (key in accepted or key not in RUN_KEYS)
    }
    run = Run.open(
        folder,
        verb=verb,
        config=settings,
        seed=settings["seed"],
        device=device,
        existing=settings["existing"],
    )
    try:
        results = run.finish(function(run, **arguments))
    except BaseException:
        run.discard_if_empty()
        raise
    report.build(folder)
    return results


def folder_of(verb: str, settings: dict[str, Any]) -> Path:
    """`runs_dir/verb/name`; the quickstart, which holds other runs, is `runs_dir/name`."""
    parts = () if verb == "quickstart" else (verb,)
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


def _build(key: str, value: Any) -> Any:
    """The object that a part of the settings describes."""
    if not isinstance(value, dict | list):
        return value
    try:
        return instantiate(value, _convert_="all")
    except InstantiationException as cause:
        if isinstance(cause.__cause__, WorldModelError):
            raise cause.__cause__ from cause
        reason = " ".join(str(cause.__cause__ or cause).split())
        raise ConfigError(f"{key}: cannot be built ({reason})") from cause
