"""The real signatures of TensorRT and cuda-core, read off their packages and type stubs."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Parameter:
    """One parameter. `optional`: it has a default."""

    name: str
    optional: bool


Overload = tuple[Parameter, ...]


@dataclass(frozen=True)
class Class:
    """The public face of a class: methods by name, and attributes with whether they can be set."""

    methods: dict[str, list[Overload]]
    attributes: dict[str, bool]


_PYBIND_SIGNATURE = re.compile(r"^(?:\d+\. )?(\w+)\((.*)\) -> ", re.MULTILINE)


def from_binding(module: ModuleType, name: str) -> Class:
    """A class of a pybind11 module: its docstrings begin with the signatures."""
    found = getattr(module, name)
    methods: dict[str, list[Overload]] = {}
    attributes: dict[str, bool] = {}
    for member in _members(found):
        value = inspect.getattr_static(found, member)
        if isinstance(value, property):
            attributes[member] = value.fset is not None
        elif callable(getattr(found, member)) and not inspect.isclass(getattr(found, member)):
            text = getattr(found, member).__doc__ or ""
            parts = [parts for name, parts in _PYBIND_SIGNATURE.findall(text) if name == member]
            methods[member] = [_pybind_parameters(part) for part in parts if part[:2] != "*a"]
        else:
            attributes[member] = False
    return Class(methods, attributes)


def _pybind_parameters(text: str) -> Overload:
    """`self: T, a: X[Y, Z], b: int = 3` as parameters, without self."""
    pieces, depth = [""], 0
    for character in text:
        depth += character in "[(<"
        depth -= character in "])>"
        if character == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += character
    named = [piece.strip() for piece in pieces if piece.strip()]
    parameters = [Parameter(piece.split(":")[0].strip(), "=" in piece) for piece in named]
    return tuple(parameter for parameter in parameters if parameter.name != "self")


def from_stub(path: Path, name: str) -> Class:
    """A class of a `.pyi` file, with what it inherits from classes of the same file."""
    classes = {n.name: n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ClassDef)}
    methods: dict[str, list[Overload]] = {}
    attributes: dict[str, bool] = {}
    waiting = [classes[name]]
    for node in waiting:
        waiting += [classes[b.id] for b in node.bases if getattr(b, "id", None) in classes]
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                attributes[item.target.id] = "ClassVar" not in ast.unparse(item.annotation)
            elif isinstance(item, ast.ClassDef):
                attributes[item.name] = False
            elif isinstance(item, ast.FunctionDef) and _is_property(item):
                attributes.setdefault(item.name, False)
            elif isinstance(item, ast.FunctionDef):
                methods.setdefault(item.name, []).append(_stub_parameters(item.args))
    return Class(methods, attributes)


def _is_property(item: ast.FunctionDef) -> bool:
    return any(ast.unparse(decorator) == "property" for decorator in item.decorator_list)


def _stub_parameters(arguments: ast.arguments) -> Overload:
    names = [argument.arg for argument in arguments.posonlyargs + arguments.args]
    first_optional = len(names) - len(arguments.defaults)
    parameters = [Parameter(name, index >= first_optional) for index, name in enumerate(names)]
    return tuple(parameter for parameter in parameters if parameter.name != "self")


def from_python(found: type) -> Class:
    """A class that `inspect` can look into, as cuda-core's are."""
    methods: dict[str, list[Overload]] = {}
    attributes: dict[str, bool] = {}
    for member in _members(found):
        value = inspect.getattr_static(found, member)
        plain = not callable(getattr(found, member)) or inspect.isclass(value)
        if plain or isinstance(value, property):
            attributes[member] = getattr(value, "fset", None) is not None
            continue
        try:
            methods[member] = [_inspected(getattr(found, member))]
        except ValueError:  # a constructor in C
            continue
    return Class(methods, attributes)


def _inspected(function: Any) -> Overload:
    parameters = inspect.signature(function).parameters.values()
    return tuple(
        Parameter(p.name, p.default is not p.empty)
        for p in parameters
        if p.name not in ("self", "cls") and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    )


def _members(found: type) -> list[str]:
    return [name for name in dir(found) if not name.startswith("_")]


def accepts(real: list[Overload], standin: Overload) -> bool:
    """Whether every call that the stand-in's parameters allow is a call of the real function."""
    return any(
        [p.name for p in overload[: len(standin)]] == [p.name for p in standin]
        and all(r.optional or not s.optional for r, s in zip(overload, standin, strict=False))
        and all(rest.optional for rest in overload[len(standin) :])
        for overload in real
    )
