"""The role of a format: how a layout on disk is recognised, and what it becomes.

A new format is one new file in this folder: a dataclass whose fields are its options. Defining it
registers it, and all files of the folder are imported when formats are asked for. No format is
known here.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from dataclasses import fields
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, get_type_hints

from worldmodel.datasets.catalogue import Catalogue
from worldmodel.errors import ConfigError, nearest
from worldmodel.storage.plain_types import check_value
from worldmodel.video.decoding import Decoding

if TYPE_CHECKING:
    from worldmodel.episodes.store import EpisodeStore

_REGISTRY: dict[str, type["Format"]] = {}


class Format(ABC):
    """A layout on disk. Subclasses are dataclasses; their fields are the options.

    Attributes:
        name: What `format=` calls it.
        rank: Formats are asked whether they recognise a path in this order.
        looks: How it is recognised, in words.
    """

    name: ClassVar[str]
    rank: ClassVar[int] = 50
    looks: ClassVar[str]

    def __init_subclass__(cls) -> None:
        """Register the format under its name, if it has one: a base of several has none."""
        if "name" in vars(cls):
            _REGISTRY[cls.name] = cls

    @classmethod
    @abstractmethod
    def recognises(cls, path: str) -> bool:
        """True if the path has this layout, by names and first bytes alone; never raises."""

    @abstractmethod
    def open(self, path: str) -> Catalogue:
        """The videos in it; opens none of them.

        Raises:
            WorldModelError: naming the file, what is wrong with it and what to do.
        """

    def episodes(self, path: str, video: Decoding | None = None) -> "EpisodeStore":
        """The episodes in it, with their actions.

        Args:
            path: The folder or file.
            video: How its video files are decoded, where it has some, and what is refused.

        Raises:
            ConfigError: this format holds no actions.
        """
        holders = [name for name, of in formats().items() if of.episodes is not Format.episodes]
        raise ConfigError(
            f"{path}: is read as format={self.name}, which holds videos without actions; episodes "
            f"come from {', '.join(holders)}"
        )


def formats() -> dict[str, type[Format]]:
    """All formats by name, in the order in which they are asked to recognise a path."""
    folder = importlib.import_module(__package__)
    for module in pkgutil.iter_modules(folder.__path__):
        importlib.import_module(f"{__package__}.{module.name}")
    return dict(sorted(_REGISTRY.items(), key=lambda pair: (pair[1].rank, pair[0])))


def recognise(path: str) -> type[Format] | None:
    """The first format that recognises the path, or None."""
    return next((of for of in formats().values() if of.recognises(path)), None)


def make_format(of: type[Format], options: dict[str, Any]) -> Format:
    """The format with these options.

    Raises:
        ConfigError: it has no such option, or one of another type.
    """
    known = [field.name for field in fields(of)]  # type: ignore[arg-type]  # all are dataclasses
    takes = get_type_hints(of)
    for option, value in options.items():
        if option not in known:
            hint = nearest(option, known) if known else "it has no options"
            raise ConfigError(f"format={of.name} has no option '{option}': {hint}")
        check_value(option, value, takes[option])
    return of(**options)


def require_extra(module: str, extra: str, what: str) -> ModuleType:
    """Import an optional library.

    Raises:
        ConfigError: it is not installed; says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as cause:
        raise ConfigError(
            f"{what} needs {module.partition('.')[0]}, which is not installed: "
            f"pip install 'worldmodel[{extra}]'"
        ) from cause
