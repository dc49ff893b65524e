"""Signatures of what has not been imported: importing torch alone takes seconds.

A definition is taken from its source without what it does, and executed by itself; the names that
it uses are found in the same way. What cannot be read like that is imported.
"""

import ast
import copy
import dataclasses
import inspect
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from worldmodel.errors import ConfigError


@dataclass(frozen=True)
class Signature:
    """The arguments of a function or class, by name, and its docstring."""

    parameters: Mapping[str, inspect.Parameter]
    doc: str


@cache
def read(target: str) -> Signature:
    """The signature of what a dotted name leads to.

    Annotations that are classes of ours are stand-ins with their module and name. A default that is
    a dataclass is a mapping with `_target_` and the arguments that were given.

    Raises:
        ConfigError: nothing of that name can be found.
    """
    try:
        called = _stand_in(target)
        found = inspect.signature(called).parameters
        plain = {name: one.replace(default=_default(one, called)) for name, one in found.items()}
        return Signature(plain, inspect.getdoc(called) or "")
    except Exception:  # whatever its expressions do with what stands for other packages
        return _imported(target)


def locate(name: str) -> ModuleSpec | None:
    """Where a module is; neither it nor the packages around it are imported."""
    spec, path, parts = None, None, name.split(".")
    for count in range(1, len(parts) + 1):
        asked = ".".join(parts[:count])
        found = (finder.find_spec(asked, path) for finder in sys.meta_path)
        spec = next((one for one in found if one is not None), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def _imported(target: str) -> Signature:
    try:
        called = pkgutil.resolve_name(target)
        return Signature(inspect.signature(called).parameters, inspect.getdoc(called) or "")
    except Exception as cause:  # whatever the module does when it is imported
        reason = f"{type(cause).__name__}: {cause}"
        raise ConfigError(f"_target_ {target}: cannot be imported ({reason})") from cause


def _default(parameter: inspect.Parameter, called: Any) -> Any:
    default = parameter.default
    if repr(default) == "<factory>":
        default = called.__dataclass_fields__[parameter.name].default_factory()
    return _as_settings(default)


def _as_settings(value: Any) -> Any:
    """A dataclass as a configuration would write it; other values as they are."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    given = {
        part.name: _as_settings(getattr(value, part.name))
        for part in dataclasses.fields(value)
        if part.init and getattr(value, part.name) != part.default
    }
    return {"_target_": f"{type(value).__module__}.{type(value).__qualname__}", **given}


class _Unknown:
    """Base of classes that inherit from other packages: only an import tells what they take."""

    __signature__ = "unknown"


class _Elsewhere:
    """Stands for anything of other packages."""

    def __call__(self, *args: Any, **kwargs: Any) -> "_Elsewhere":
        return self

    def __getattr__(self, name: str) -> "_Elsewhere":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type]:
        return (_Unknown,)

    __getitem__ = __or__ = __ror__ = __call__


_ELSEWHERE = _Elsewhere()


@dataclass(frozen=True)
class _Module:
    """A source file: what its names are bound to, and the full names of what it imports."""

    name: str
    bound: dict[str, ast.AST] = field(default_factory=dict)
    imported: dict[str, str] = field(default_factory=dict)


@cache
def _module(name: str) -> _Module:
    spec = locate(name)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise ImportError(name)
    module = _Module(name)
    package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
    for node in _statements(ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body):
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                module.bound[node.name] = node
            case ast.Assign(targets=[ast.Name(id=to)], value=value):
                module.bound[to] = value
            case ast.AnnAssign(target=ast.Name(id=to), value=ast.expr() as value):
                module.bound[to] = value
            case ast.Import():
                for alias in node.names:
                    whole = alias.name if alias.asname else alias.name.partition(".")[0]
                    module.imported[alias.asname or whole] = whole
            case ast.ImportFrom():
                count = package.count(".") + 2 - node.level if node.level else 0
                base = [*package.split(".")[:count], *([node.module] if node.module else [])]
                for alias in node.names:
                    module.imported[alias.asname or alias.name] = ".".join([*base, alias.name])
    return module


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those under `if` and `try` too."""
    for node in body:
        yield node
        for part in ("body", "orelse", "handlers", "finalbody"):
            if isinstance(node, ast.If | ast.Try | ast.ExceptHandler):
                yield from _statements(getattr(node, part, ()))


@cache
def _stand_in(dotted: str) -> Any:
    """The value of a full name as its source makes it, but with functions that do nothing."""
    before, _, name = dotted.rpartition(".")
    module = _module(before)
    if name in module.imported:
        return _value(name, module)
    node = module.bound[name]
    if isinstance(node, ast.expr):
        return eval(compile(ast.Expression(node), before, "eval"), _names(node, module))
    emptied = _emptied(node)
    names = _names(emptied, module)
    exec(compile(ast.Module([emptied], []), before, "exec"), names)
    return names[name]


def _emptied(node: Any) -> Any:
    """A definition with all that decides its signature, and its docstring."""
    node, body = copy.copy(node), node.body
    node.body = [body[0]] if ast.get_docstring(node) else []
    if isinstance(node, ast.FunctionDef):
        node.decorator_list, node.returns = [], None
        node.body = node.body or [ast.copy_location(ast.Pass(), node)]
        return node
    methods = {inner.name: inner for inner in body if isinstance(inner, ast.FunctionDef)}
    if "__new__" in methods:
        raise NotImplementedError
    if "__init__" in methods:
        node.bases, node.keywords = [], []
        node.body.append(_emptied(methods["__init__"]))
    node.body += [line for line in body if isinstance(line, ast.AnnAssign)]
    node.body = node.body or [ast.copy_location(ast.Pass(), node)]
    return node


def _names(node: ast.AST, module: _Module) -> dict[str, Any]:
    """The names that a definition uses, with their values."""
    used = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    known = used & (module.bound.keys() | module.imported.keys())
    return {"__name__": module.name} | {name: _value(name, module) for name in known}


def _value(name: str, module: _Module) -> Any:
    whole = module.imported.get(name, f"{module.name}.{name}")
    top = whole.partition(".")[0]
    if top in sys.stdlib_module_names:
        return pkgutil.resolve_name(whole)
    return _stand_in(whole) if top in ("worldmodel", module.name.partition(".")[0]) else _ELSEWHERE
