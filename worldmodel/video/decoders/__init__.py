"""The decoders: one file each; those that are here are found by their place."""

import importlib
import pkgutil
from functools import cache

from worldmodel.video.decoders.base import Decoder


@cache
def known() -> dict[str, type[Decoder]]:
    """Every decoder by its name; first PyAV, which is right for every file."""
    modules = [
        importlib.import_module(f"{__name__}.{found.name}")
        for found in pkgutil.iter_modules(__path__)
    ]
    classes = [
        thing
        for module in modules
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, Decoder) and thing is not Decoder
        and thing.__module__ == module.__name__
    ]  # fmt: skip
    in_order = sorted(classes, key=lambda kind: (kind.name != "pyav", kind.name))
    return {kind.name: kind for kind in in_order}
