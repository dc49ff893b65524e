"""The command line: `worldmodel <verb> [key=value ...]`.

Reads words, prints results and errors; what a verb does is in the function that its
configuration names.
"""

import errno
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from worldmodel.cli import help, settings
from worldmodel.cli.verbs import VERBS
from worldmodel.errors import ConfigError, WorldModelError, nearest
from worldmodel.runs.progress import say
from worldmodel.runs.provenance import package_version
from worldmodel.runs.torchrun import is_heard, refuse

if TYPE_CHECKING:
    from omegaconf import DictConfig

# What takes long to import (torch, Hydra) is imported where it is needed: help and wrong words are
# answered before.
_HELP = ("-h", "--help", "help")
_FAILED, _WRONG, _INTERRUPTED = 1, 2, 130
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def main(words: Sequence[str]) -> int:
    """Run the command line.

    Args:
        words: What follows `worldmodel`.

    Returns:
        0: done. 1: done, and it found problems (`worldmodel data check`, `worldmodel doctor`).
        2: wrong use or bad input, said in one line. 130: interrupted.
    """
    words = list(words)
    debug = "--debug" in words
    try:
        return _dispatch([word for word in words if word != "--debug"])
    except WorldModelError as error:
        # All processes read the same words: the first says what is wrong with them.
        if not is_heard() and not str(error).startswith("rank "):
            return _WRONG
        if debug:
            traceback.print_exc()
        print(f"worldmodel: {' '.join(str(error).split())}", file=sys.stderr)
        return _WRONG
    except OSError as error:
        if debug or error.errno not in _NO_ROOM:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"worldmodel: {where}{error.strerror}; make room, and the same command goes on",
            file=sys.stderr,
        )
        return _WRONG
    except KeyboardInterrupt:
        print("worldmodel: interrupted; the same command goes on from here", file=sys.stderr)
        return _INTERRUPTED


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in _HELP:
        print(help.overview())
        return 0
    if words[0] == "--version":
        print(f"worldmodel {package_version()}")
        return 0
    if _members(words[0]) and (len(words) == 1 or words[1] in _HELP):
        print(help.members(words[0]))
        return 0
    verb, rest = _split(words)
    if "-h" in rest or "--help" in rest:
        print(help.of(verb))
        return 0
    return _run(verb, rest)


def _members(family: str) -> list[str]:
    """The verbs of two words that begin with this one."""
    return [verb for verb in VERBS if verb.startswith(f"{family} ")]


def _split(words: Sequence[str]) -> tuple[str, list[str]]:
    """The verb, of one word or two, and what follows it."""
    members = _members(words[0])
    count = 2 if members else 1
    verb = " ".join(words[:count])
    if verb not in VERBS:
        raise ConfigError(f"there is no verb '{verb}'; {nearest(verb, members or VERBS)}")
    return verb, list(words[count:])


def _run(verb: str, words: list[str]) -> int:
    flags, words = _sort(verb, words)
    if "--multirun" in flags:
        return _sweep(verb, words)
    settings.check_words(verb, words)
    from worldmodel.cli.compose import settle

    if "--cfg" in flags:
        shown = settle(verb, words, checked=False)
        print(yaml.safe_dump(shown, sort_keys=False), end="")
        return 0
    settled = settle(verb, words)
    from worldmodel.cli import runner

    if "runs_dir" not in settled:
        return runner.call_without_run(settled)
    return _execute_and_show(verb, settled)


def _execute_and_show(verb: str, settled: dict[str, Any]) -> int:
    from worldmodel.cli import runner

    results = runner.execute(verb, settled)
    if is_heard():
        show(results)
    page = runner.folder_of(verb, settled) / "report.html"
    if page.is_file():
        say(f"report: {page}")
    return _FAILED if results.get("problems", 0) > 0 else 0


def show(results: Mapping[str, float]) -> None:
    """Print results to stdout, one a line, a rate with its count and interval."""
    width = max((len(name) for name in results), default=0)
    for name, value in results.items():
        if name.rpartition(".")[2] in ("n", "low", "high") and name.rpartition(".")[0] in results:
            continue
        line = f"{name:<{width}}  {value:.6g}"
        if f"{name}.low" in results and f"{name}.high" in results:
            line += f"  [{results[f'{name}.low']:.3f}, {results[f'{name}.high']:.3f}]"
        if f"{name}.n" in results:
            line += f"  n={results[f'{name}.n']:.0f}"
        print(line)


def _sort(verb: str, words: Sequence[str]) -> tuple[set[str], list[str]]:
    """Flags, and `key=value` words; those that stand alone are given their keys."""
    flags: set[str] = set()
    sorted_words: list[str] = []
    places, listed = list(VERBS[verb].words), VERBS[verb].rest
    several: list[str] = []
    rest = iter(words)
    for word in rest:
        if listed and os.path.isdir(word):  # a sweep names folders with = in them
            several.append(settings.quoted(word))
        elif word in ("-m", "--multirun"):
            flags.add("--multirun")
        elif word in ("-c", "--cfg"):
            if next(rest, "job") != "job":
                raise ConfigError("--cfg shows the settings of the job: say --cfg job")
            flags.add("--cfg")
        elif word.startswith("-"):
            known = ["--help", "--debug", "--multirun", "--cfg"]
            raise ConfigError(f"there is no flag '{word}'; {nearest(word, known)}")
        elif "=" in word or word.startswith("~"):
            sorted_words.append(word)
        elif places:
            sorted_words.append(f"{places.pop(0)}={settings.quoted(word)}")
        elif listed:
            several.append(settings.quoted(word))
        else:
            raise ConfigError(
                f"'{word}': settings are given as key=value; see worldmodel {verb} --help"
            )
    if several:
        sorted_words.append(f"{listed}=[{','.join(several)}]")
    return flags, sorted_words


def _sweep(verb: str, words: Sequence[str]) -> int:
    """All combinations of the values given, through Hydra's launcher."""
    refuse("a sweep")
    settings.check_words(verb, words)
    import hydra
    from hydra.core.hydra_config import HydraConfig

    from worldmodel.cli import compose

    if any(word.startswith("runs_dir=") and "${" in word for word in words):
        raise ConfigError("runs_dir=: the folder of a sweep cannot have ${ in its name")
    words = compose.translate(verb, words, sweep=True)
    swept = compose.swept_keys(words)
    worst = 0
    here, process = _working_folder(), os.getpid()

    def job(config: "DictConfig") -> None:
        nonlocal worst
        try:
            os.chdir(here)  # a cluster's processes begin elsewhere
        except OSError as error:
            raise ConfigError(
                f"{here}: the folder where the sweep was begun is not on {os.uname().nodename} "
                f"({error.strerror}); share it between the machines"
            ) from error
        settled = compose.plain(config)
        settings.check_settings(settled)
        # A job's name tells what it does not share with the others.
        task = HydraConfig.get().overrides.task
        mine = [word for word in task if word.partition("=")[0].lstrip("+") in swept]
        suffix = compose.as_written("_".join(mine)).replace("/", "-").replace("+", "")
        settled["name"] += f"_{suffix}" if suffix else ""
        say(f"{verb} {suffix}")
        status = _execute_and_show(verb, settled)
        worst = max(worst, status)
        if status and os.getpid() != process:  # what another process counts is lost
            raise _ProblemsError(f"{verb} {suffix} found problems, see its report")

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back here instead of being printed there
    quiet = ["hydra/hydra_logging=none", "hydra/job_logging=none"]
    before, sys.argv = sys.argv, ["worldmodel", *words, *quiet, "--multirun"]
    decorate: Callable[..., Any] = hydra.main(
        config_path=f"pkg://{settings.CONFIGS}",
        config_name=settings.file_of(verb),
        version_base="1.3",
    )
    try:
        decorate(job)()
    except _ProblemsError as error:
        say(str(error))
        return _FAILED
    finally:
        sys.argv = before
    return worst


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError as error:
        raise ConfigError(
            f"the working folder is gone ({error.strerror}); go to another one"
        ) from error


class _ProblemsError(WorldModelError):
    """A run of a sweep in another process found problems."""
