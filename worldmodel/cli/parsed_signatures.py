"""Signatures read from source files: settings are checked without importing torch.

That import takes seconds. `read` finds the file that a dotted name leads to, follows imports and
base classes, and gives what `inspect` would. What cannot be read that way is imported.
"""

import ast
import builtins
import inspect
import operator
import pkgutil
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from worldmodel.errors import ConfigError

Definition = ast.FunctionDef | ast.ClassDef
_PARAMETER = inspect.Parameter
_NO_ARGUMENT = object()  # a dataclass's field that its constructor does not take
_NOT_PLAIN = object()  # a default that no configuration could write
_ARITHMETIC = {ast.Pow: operator.pow, ast.Mult: operator.mul, ast.Div: operator.truediv,
               ast.Add: operator.add, ast.Sub: operator.sub}  # fmt: skip


class _Unreadable(Exception):
    """An expression whose value only an import tells."""


@dataclass(frozen=True)
class Signature:
    """The arguments of a function or class, by name, and its docstring."""

    parameters: Mapping[str, inspect.Parameter]
    doc: str


@cache
def read(target: str) -> Signature:
    """The signature of what a dotted name leads to.

    Annotations that are dataclasses of ours are stand-ins with their module and name. A default
    that is a call of such a dataclass is a mapping with `_target_` and the arguments of the call.

    Raises:
        ConfigError: nothing of that name can be found.
    """
    try:
        node, module = _find(target)
        return Signature(_parameters_of(node, module), ast.get_docstring(node) or "")
    except _Unreadable:
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
        parameters = inspect.signature(called).parameters
    except Exception as cause:  # whatever the module does when it is imported
        reason = f"{type(cause).__name__}: {cause}"
        raise ConfigError(f"_target_ {target}: cannot be imported ({reason})") from cause
    return Signature(parameters, inspect.getdoc(called) or "")


@dataclass(frozen=True)
class _Module:
    """A source file: what its names are bound to, and the full names of what it imports."""

    name: str
    bound: dict[str, ast.AST] = field(default_factory=dict)
    imported: dict[str, str] = field(default_factory=dict)

    def full_name(self, name: str) -> str:
        """A dotted name in this file as the whole program knows it."""
        head, dot, rest = name.partition(".")
        return f"{self.imported.get(head, f'{self.name}.{head}')}{dot}{rest}"


@cache
def _module(name: str) -> _Module:
    spec = locate(name)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise _Unreadable(name)
    module = _Module(name)
    package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
    for node in _statements(ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body):
        if isinstance(node, Definition):
            module.bound[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            module.bound.update({to.id: node.value for to in targets if isinstance(to, ast.Name)})
        elif isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                module.imported[alias.asname or whole] = whole
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            module.imported.update({a.asname or a.name: f"{base}.{a.name}" for a in node.names})
    return module


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those under `if` and `try` too."""
    for node in body:
        yield node
        for part in ("body", "orelse", "handlers", "finalbody"):
            if isinstance(node, ast.If | ast.Try | ast.ExceptHandler):
                yield from _statements(getattr(node, part, ()))


def _find(target: str) -> tuple[Definition, _Module]:
    node, module = _bound(target)
    if not isinstance(node, Definition):
        raise _Unreadable(target)
    return node, module


def _bound(dotted: str) -> tuple[ast.AST, _Module]:
    """The definition or value that a full name is bound to, and its file."""
    before, dot, name = dotted.rpartition(".")
    if not dot:
        raise _Unreadable(dotted)
    module = _module(before)
    if name in module.bound:
        return module.bound[name], module
    if name in module.imported:
        return _bound(module.imported[name])
    raise _Unreadable(dotted)


def _parameters_of(node: Definition, module: _Module) -> dict[str, inspect.Parameter]:
    if isinstance(node, ast.FunctionDef):
        return _of_function(node, module)
    methods = {inner.name: inner for inner in node.body if isinstance(inner, ast.FunctionDef)}
    if "__new__" in methods:
        raise _Unreadable(node.name)
    if "__init__" in methods:
        found = _of_function(methods["__init__"], module)
        return {name: found[name] for name in list(found)[1:]}  # without self
    inherited: dict[str, inspect.Parameter] = {}
    for base in reversed(node.bases):
        name = module.full_name(ast.unparse(base))
        if name.partition("[")[0] in ("abc.ABC", "typing.Protocol", "typing.Generic"):
            continue  # they take nothing
        inherited |= _parameters_of(*_find(name))
    own = _of_fields(node, module) if _is_dataclass(node) else {}
    return {**own, **inherited, **own}


def _of_function(node: ast.FunctionDef, module: _Module) -> dict[str, inspect.Parameter]:
    taken = node.args
    plain = [*taken.posonlyargs, *taken.args]
    missing = [None] * (len(plain) - len(taken.defaults))
    both = [
        *zip(plain, [*missing, *taken.defaults], strict=True),
        *zip(taken.kwonlyargs, taken.kw_defaults, strict=True),
    ]
    if taken.kwarg is not None:
        raise _Unreadable(node.name)
    return {
        argument.arg: _parameter(argument.arg, argument.annotation, default, module)
        for argument, default in both
    }


def _parameter(
    name: str, annotation: ast.AST | None, default: ast.AST | None, module: _Module
) -> inspect.Parameter:
    return _PARAMETER(
        name,
        _PARAMETER.KEYWORD_ONLY,  # as a configuration gives all of them
        default=_PARAMETER.empty if default is None else _default(default, module),
        annotation=_annotation(annotation, module),
    )


def _of_fields(node: ast.ClassDef, module: _Module) -> dict[str, inspect.Parameter]:
    found = (
        _parameter(line.target.id, line.annotation, line.value, module)
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    )
    return {
        parameter.name: parameter
        for parameter in found
        if parameter.annotation is not typing.ClassVar and parameter.default is not _NO_ARGUMENT
    }


def _is_dataclass(node: ast.AST) -> bool:
    return isinstance(node, ast.ClassDef) and any(
        ast.unparse(mark).partition("(")[0].endswith("dataclass") for mark in node.decorator_list
    )


def _annotation(node: ast.AST | None, module: _Module) -> Any:
    """The annotation as an object: `Any` for what only an import tells."""
    match node:
        case None:
            return _PARAMETER.empty
        case ast.Constant(value=None):
            return None
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            both = _annotation(left, module), _annotation(right, module)
            return typing.Union[both]  # noqa: UP007  # `|` wants to know what they are
        case ast.Subscript(value=of, slice=inside):
            kind = _annotation(of, module)
            return typing.Literal[ast.literal_eval(inside)] if kind is typing.Literal else kind
        case ast.Name() | ast.Attribute():
            return _named(ast.unparse(node), module)
    return Any


def _named(name: str, module: _Module) -> Any:
    if hasattr(builtins, name):
        return getattr(builtins, name)
    whole = module.full_name(name)
    top = whole.split(".")[0]
    if top in sys.stdlib_module_names:
        return pkgutil.resolve_name(whole)
    if top != module.name.split(".")[0]:
        return Any  # of another package, which takes long to read
    try:
        node, there = _bound(whole)
    except _Unreadable:
        return Any
    if not isinstance(node, ast.ClassDef):
        return _annotation(node, there)
    marks = {"__module__": there.name, "__qualname__": node.name}
    return type(
        node.name, (), marks | ({"__dataclass_fields__": {}} if _is_dataclass(node) else {})
    )


def _default(node: ast.AST, module: _Module) -> Any:
    """The value of a default."""
    match node:
        case ast.Name() | ast.Attribute():
            bound, there = _bound(module.full_name(ast.unparse(node)))
            return _NOT_PLAIN if isinstance(bound, Definition) else _default(bound, there)
        case ast.Call(func=called):
            return _of_call(node, module, ast.unparse(called))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _ARITHMETIC[type(op)](_default(left, module), _default(right, module))
        case ast.Lambda():
            return _NOT_PLAIN
    try:
        return ast.literal_eval(ast.unparse(node))
    except ValueError as cause:
        raise _Unreadable(ast.unparse(node)) from cause


def _of_call(node: ast.Call, module: _Module, called: str) -> Any:
    given = {word.arg: word.value for word in node.keywords if word.arg}
    if module.full_name(called) == "dataclasses.field":
        if "init" in given:
            return _NO_ARGUMENT
        if "default" in given:
            return _default(given["default"], module)
        if "default_factory" in given:
            return _of_call(ast.Call(given["default_factory"], [], []), module,
                            ast.unparse(given["default_factory"]))  # fmt: skip
        return _PARAMETER.empty
    try:
        made, there = _bound(module.full_name(called))
    except _Unreadable:
        return _NOT_PLAIN
    if not _is_dataclass(made) or node.args:
        return _NOT_PLAIN
    assert isinstance(made, ast.ClassDef)
    values = {word: _default(value, module) for word, value in given.items()}
    return {"_target_": f"{there.name}.{made.name}", **values}
