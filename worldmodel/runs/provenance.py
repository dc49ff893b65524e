"""Where numbers come from: which code, which version, which settings.

Settings are nested mappings of plain YAML values.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Where and how a run is made, not what it computes: these may differ when it is opened again.
WHERE_KEYS = frozenset({"name", "runs_dir", "existing", "threads", "device", "loggers", "parallel"})
# How long a run of a verb is: these may be larger when it is opened again.
GROWING_KEYS = {"collect": frozenset({"episodes"})}
_OF_TRAININGS = frozenset({"optimisation.steps", "optimisation.seconds"})


def config_sha256(settings: Mapping[str, Any]) -> str:
    """A fingerprint of the settings that decide the results."""
    text = json.dumps(flat(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def first_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """`key: old, now new` for the first setting that differs, or None."""
    was, now = flat(old), flat(new)
    for key in [*now, *was]:
        if was.get(key) != now.get(key) or (key in was) != (key in now):
            return f"{key}: {was.get(key, 'absent')}, now {now.get(key, 'absent')}"
    return None


def growth(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """`key: old, now new` where the only difference is that a run is longer; else None."""
    was, now = flat(old), flat(new)
    other = {key for key in {*was, *now} if was.get(key) != now.get(key)}
    if not other or not other <= GROWING_KEYS.get(str(new.get("verb")), _OF_TRAININGS):
        return None
    pairs = [(was.get(key), now.get(key)) for key in other]
    grown = all(
        isinstance(a, int | float) and isinstance(b, int | float) and a < b for a, b in pairs
    )
    return first_difference(old, new) if grown else None


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The new settings that differ from the old, by dotted keys."""
    was = flat(old)
    return {key: value for key, value in flat(new).items() if key not in was or was[key] != value}


def package_version() -> str:
    """The installed version of this package."""
    try:
        return version("worldmodel")
    except PackageNotFoundError:
        return "unknown"


def git_commit() -> str | None:
    """The commit this package runs from, with `-dirty` if files differ; None when installed."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    words = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def machine(device: str) -> str:
    """The machine in words, for example "2 cores, no GPU"."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if device.startswith("cuda"):
        import torch  # late: the command line asks for versions before torch is there

        gpu = torch.cuda.get_device_name(device)
    else:
        gpu = "no GPU"
    return f"{cores} cores, {gpu}"


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The settings by dotted keys, without those on where and how a run is made."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if not prefix and key in WHERE_KEYS:
            continue
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.") or {f"{prefix}{key}": {}}
        else:
            found[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return found
