"""Which shards a path, a pattern or a folder stands for."""

import os
import re
from glob import glob
from itertools import islice

from worldmodel.datasets.format import require_extra
from worldmodel.datasets.listing import shown
from worldmodel.datasets.tar_members import system_of
from worldmodel.errors import ConfigError, VideoError, WorldModelError

TARS = (".tar", ".tar.gz", ".tgz")
_MOST = 1_000_000  # shards


def list_shards(path: str) -> list[str]:
    """The shards that a path, a pattern or a folder stands for.

    Raises:
        VideoError: there are none.
        ConfigError: the pattern is too long, or would run a command.
    """
    if path.startswith("pipe:"):
        raise ConfigError(f"{shown(path)}: commands are not run; fetch the shards, or give a URL")
    found = _expand(path) if "{" in path else [path]
    if len(found) == 1 and (os.path.isdir(path) or path.endswith("/")):
        found = [f"{path.rstrip('/')}/*.tar*"]
    shards: list[str] = []
    for name in found:
        if "*" not in name or os.path.exists(name):
            shards.append(name)
        elif "://" in name:
            shards += _glob_url(name)
        else:
            shards += sorted(glob(name))
    shards = [s for s in shards if is_tar(s)] if shards != [path] else shards
    if not shards:
        raise VideoError(f"{shown(path)}: stands for no shard (.tar); check the path")
    return shards


def is_tar(path: str) -> bool:
    """Whether a path, or the file that a URL names in an archive, is called as a tar is."""
    named = next((link for link in path.split("::") if "://" in link), path)
    return named.lower().endswith(TARS)


def _glob_url(url: str) -> list[str]:
    """The URLs that one with `*` stands for, each with the chain of archives that it had."""
    first, chained, rest = url.partition("::")
    if chained and "://" not in first:  # a cache of what follows
        return [f"{first}::{name}" for name in _glob_url(rest)]
    try:
        system, inside = system_of(url)
        found = system.glob(inside)
    except WorldModelError:
        raise
    except Exception as cause:  # each file system has errors of its own
        reason = " ".join(str(cause).split())[:200] or type(cause).__name__
        raise VideoError(f"{shown(url)}: cannot be listed ({shown(reason)}); check the path and "
                         f"access to it") from cause  # fmt: skip
    return sorted(f"{system.unstrip_protocol(path)}{chained}{rest}" for path in found)


def _expand(path: str) -> list[str]:
    for low, high in re.findall(r"\{(\d+)\.\.(\d+)", path):
        if len(low) > 9 or len(high) > 9 or abs(int(high) - int(low)) >= _MOST:
            raise ConfigError(f"{shown(path)}: stands for more than {_MOST} shards; name fewer")
    braceexpand = require_extra("braceexpand", "shards", f"the pattern {shown(path)}")
    try:
        found = list(islice(braceexpand.braceexpand(path), _MOST + 1))
    except ValueError as cause:
        raise ConfigError(f"{shown(path)}: braces do not match; write {{000..011}}") from cause
    if len(found) > _MOST:
        raise ConfigError(f"{shown(path)}: stands for more than {_MOST} shards; name fewer")
    return found
