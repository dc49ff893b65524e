"""Checks of values against the annotations of the arguments that they are for."""

import inspect
import types
import typing
from typing import Any

from worldmodel.errors import ConfigError, nearest

PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def check_value(key: str, value: Any, annotation: Any) -> None:
    """Refuse a value that an argument with this annotation cannot take.

    A value of another than a plain type is left to whoever takes it.

    Raises:
        ConfigError: names the key, the rule and the value.
    """
    choices = alternatives(annotation)
    if choices is None:
        return
    literals = [choice for choice in choices if not isinstance(choice, type)]
    if value is None:
        if type(None) not in choices:
            known = f"; choose from: {', '.join(map(str, literals))}" if literals else ""
            raise ConfigError(f"{key} is not set: say what it is with {key}=...{known}")
        return
    classes = tuple(choice for choice in choices if isinstance(choice, type))
    if literals and not isinstance(value, classes):
        if value not in literals:
            hint = nearest(str(value), map(str, literals))
            raise ConfigError(f"{key}={value} is unknown; {hint}")
        return
    wanted = [choice for choice in choices if choice in PLAIN]
    if len(wanted) + (type(None) in choices) < len(choices) or not wanted:
        return  # it takes something else too, which only the callable can judge
    fits = type(value) in wanted or (type(value) is int and float in wanted)
    if not fits:
        words = " or ".join(PLAIN[choice] for choice in wanted)
        raise ConfigError(f"{key}={value} must be {words}, got {type(value).__name__}")


def alternatives(annotation: Any) -> tuple[Any, ...] | None:
    """The members of a union, the values of a Literal, or the class; None when unknown."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        parts = [alternatives(part) for part in typing.get_args(annotation)]
        known = [part for part in parts if part is not None]
        return tuple(x for part in known for x in part) if len(known) == len(parts) else None
    if typing.get_origin(annotation) is typing.Literal:
        return typing.get_args(annotation)
    if annotation in (inspect.Parameter.empty, Any, object):
        return None
    origin = typing.get_origin(annotation) or annotation
    return (origin,) if isinstance(origin, type) else None
