"""Doing what settings say: build the objects, open the run, call the verb, keep its results.

The command line and the quickstart's stages come through here alike.
"""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.error import Error as GymnasiumError
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate

from worldmodel import report
from worldmodel.cli.compose import settle
from worldmodel.cli.signatures import RUN_KEYS, fill_defaults, parameters
from worldmodel.errors import ConfigError, EnvError, WorldModelError
from worldmodel.runs import model_card, torchrun
from worldmodel.runs.processes import is_first, together, wait_for_all
from worldmodel.runs.progress import say
from worldmodel.runs.provenance import changed
from worldmodel.runs.run import Run, finished_results, read_metrics

ALONE = torchrun.Place()


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

    Where torchrun has started several processes, they do it together and the first one writes.

    Raises:
        WorldModelError: what the verb raises, and what is wrong with the settings.
    """
    if "parallel" not in parameters(settings["_target_"]):
        torchrun.refuse(f"`worldmodel {verb}`")
    here = torchrun.place()
    device = choose_device(settings["device"], here)
    with together(here, device):
        return _execute(verb, settings, device)


def _execute(verb: str, settings: dict[str, Any], device: str) -> dict[str, float]:
    folder, kind = folder_of(verb, settings), verb.split()[0]
    if settings["existing"] != "redo":
        results = finished_results(folder, {"verb": kind, **settings}, complete=_as_of_today)
        wait_for_all()  # before anybody writes there
        if results is not None:
            if is_first() and not (folder / "report.html").is_file():  # interrupted just before
                report.build(folder)
            say(f"{folder}: was finished before; existing=redo does it again")
            return results
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
    how = {"verb": kind, "config": settings, "seed": settings["seed"], "device": device}
    if is_first():
        run = Run.open(
            folder, existing=settings["existing"], loggers=settings.get("loggers", ()),
            complete=_as_of_today, **how,
        )  # fmt: skip
    wait_for_all()  # until the folder is there
    if not is_first():
        run = Run.joined(folder, **how)
    try:
        results = run.finish(function(run, **arguments))
    except BaseException as error:
        run.discard_if_empty()
        if isinstance(error, GymnasiumError):
            raise EnvError(str(error)) from error
        raise
    if is_first():
        _describe(run, settings)
        report.build(folder)
    return results


def _as_of_today(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of an earlier run, with those that did not exist then at their defaults."""
    try:
        return fill_defaults(stored)
    except ConfigError:  # it names what is not there any more: so it differs
        return stored


def _describe(run: Run, settings: dict[str, Any]) -> None:
    """Write the card of the model, if the run has made one."""
    if (run.model_folder / "model.json").is_file():
        defaults = settle(run.verb, [], checked=False)
        text = model_card.of_run(
            run.model_folder, read_metrics(run.folder), settings, changed(defaults, settings)
        )
        model_card.write(run.model_folder, text)


def call_without_run(settings: dict[str, Any]) -> int:
    """Call a verb that makes no run: it shows something, and returns the exit status."""
    torchrun.refuse("this")
    arguments = {key: build(key, value) for key, value in settings.items() if key != "_target_"}
    return int(get_object(settings["_target_"])(**arguments))


def folder_of(verb: str, settings: dict[str, Any]) -> Path:
    """`runs_dir/verb/name`; the quickstart, which holds other runs, is `runs_dir/name`.

    `data check` and its like are in `runs_dir/data`.
    """
    parts = () if verb == "quickstart" else (verb.split()[0],)
    return Path(settings["runs_dir"], *parts, settings["name"])


def choose_device(name: str, here: torchrun.Place = ALONE) -> str:
    """The device that `name` stands for; `auto` takes CUDA where it works.

    Of several processes on a machine, each takes a GPU of its own.

    Raises:
        ConfigError: there is no such device here, or not as many as processes.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if here.world == 1:
            return name
    if here.world > 1 and name.startswith("cuda"):
        if name != "cuda":
            raise ConfigError(f"device={name}: each process takes its own GPU; say device=cuda")
        name = f"cuda:{here.local_rank}"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as cause:
        reason = str(cause).splitlines()[0]
        which = f"rank {here.rank} of {here.world}: " if here.world > 1 else ""
        raise ConfigError(
            f"{which}device={name}: does not work here ({reason}); try device=cpu"
        ) from cause
    return name


def _seed_everything(seed: int) -> None:
    """Library code takes generators; this covers what third-party code draws by itself."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


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
