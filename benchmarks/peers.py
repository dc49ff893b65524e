"""Other people's code beside ours: installed packages, or repositories that the user has."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worldmodel.errors import ConfigError


@contextmanager
def imported_from(repository: Path, must_have: str) -> Iterator[None]:
    """Inside, Python finds the modules of a repository first.

    Raises:
        ConfigError: it is not that repository: a file is missing.
    """
    if not (repository / must_have).is_file():
        raise ConfigError(f"{repository} has no {must_have}: it is not the repository asked for")
    sys.path.insert(0, str(repository))
    try:
        yield
    finally:
        sys.path.remove(str(repository))


def installed(package: str) -> bool:
    """True if Python finds a package; `pip install 'worldmodel[peers]'` brings those wanted."""
    return importlib.util.find_spec(package) is not None
