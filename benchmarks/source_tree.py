"""What the product's files import and name, read from their text: nothing of them is imported."""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

ROOT = "frcrn_export"
# From the lowest to the highest: a package imports from itself and from those before it.
PACKAGES = ("runtime", "exporters", "calibration", "engines", ROOT)
FAMILIES = "exporters/families"
CPP = "runtime/cpp"
# The name of the C++ library, and of a family.
_LIBRARY = "frcrn"
# What ships may be C++ as well.
_SOURCES = (".py", ".c", ".cpp", ".h", ".hpp")

# "type checking": under `if TYPE_CHECKING`. "name": the module's name in a string.
When = Literal["import time", "in a function", "type checking", "name"]


@dataclass(frozen=True)
class Import:
    """One import of one module. `target` is a file of the product, else None."""

    file: str
    line: int
    module: str
    target: str | None
    when: When

    def __str__(self) -> str:
        return f"{self.file}:{self.line} -> {self.module} ({self.when})"


@dataclass(frozen=True)
class Naming:
    """A line that names a network, or an option of one."""

    file: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} names {self.name}"


class SourceTree:
    """The product's files in a checkout. Paths are relative to it, with `/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.texts = {
            path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
            for package in PACKAGES
            for path in sorted((root / package).rglob("*"))
            if path.suffix in _SOURCES and "__pycache__" not in path.parts
        }
        self._modules = {module_name(file): file for file in self.python}

    @property
    def python(self) -> list[str]:
        return [file for file in self.texts if file.endswith(".py")]

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        return tuple(each for file in self.python for each in self._imports_of(file))

    def upward(self) -> list[Import]:
        """Imports of a package by one that comes before it."""
        return [
            each for each in self.imports if each.target and _rank(each.target) > _rank(each.file)
        ]

    def face_at_import(self) -> list[Import]:
        """What the face imports of the other packages when it is imported itself."""
        return [
            each
            for each in self.imports
            if _package(each.file) == ROOT
            and each.when == "import time"
            and each.target
            and _package(each.target) != ROOT
        ]

    def file_circles(self) -> list[list[str]]:
        """Files that import each other, over however many others.

        A table that names modules in strings knows nothing of what is in them: it closes no circle.
        """
        edges: dict[str, set[str]] = {}
        for each, target in self._edges():
            edges.setdefault(each.file, set()).add(target)
        return circles(edges)

    def folder_circles(self) -> list[list[str]]:
        """What lies side by side in a folder, files and folders, and imports each other.

        An import between two files is one between what holds them in the folder they share.
        """
        levels: dict[str, dict[str, set[str]]] = {}
        for each, target in self._edges():
            one, other = PurePosixPath(each.file).parts, PurePosixPath(target).parts
            shared = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
            level = levels.setdefault("/".join(one[:shared]), {})
            level.setdefault("/".join(one[: shared + 1]), set()).add("/".join(other[: shared + 1]))
        return [circle for edges in levels.values() for circle in circles(edges)]

    def within(self, circle: Iterable[str]) -> list[Import]:
        """The imports that make up a circle."""
        parts = [part if part.endswith(".py") else f"{part}/" for part in circle]

        def place(file: str) -> str | None:
            return next((part for part in parts if file.startswith(part)), None)

        return [
            each
            for each, target in self._edges()
            if place(each.file) and place(target) and place(each.file) != place(target)
        ]

    def namings(self, names: Mapping[str, re.Pattern[str]]) -> list[Naming]:
        """Lines outside the families that name one of these; code, strings and comments."""
        return [
            Naming(file, number, name)
            for file, text in self.texts.items()
            if not file.startswith(f"{FAMILIES}/")
            for number, line in enumerate(text.splitlines(), 1)
            for name, pattern in names.items()
            if pattern.search(_PRODUCT.sub("", line))
            and not (name == _LIBRARY and file.startswith(f"{CPP}/"))
        ]

    def network_names(self) -> dict[str, re.Pattern[str]]:
        """What finds the families' names and the options that one network alone has."""
        folders = {
            PurePosixPath(file).parts[2]
            for file in self.python
            if file.startswith(f"{FAMILIES}/") and file.count("/") > 2
        }
        return {name: _spelled(name) for name in sorted(folders)} | _OPTIONS

    def modules(self) -> list[str]:
        return [file for file in self.python if not file.endswith("__init__.py")]

    def lines(self) -> int:
        """Lines of Python without blank ones, comments and docstrings."""
        return sum(len(code_lines(self.texts[file])) for file in self.python)

    def _edges(self) -> Iterator[tuple[Import, str]]:
        """The imports of another file of the product, with that file."""
        for each in self.imports:
            if each.target and each.target != each.file and each.when != "name":
                yield each, each.target

    def _imports_of(self, file: str) -> Iterator[Import]:
        tree = ast.parse(self.texts[file])
        package = module_name(file).split(".")
        if not file.endswith("__init__.py"):
            package = package[:-1]
        for node, when in _walk(tree, "import time"):
            for module in _imported(node, package):
                target = self._modules.get(module) or self._modules.get(module.rpartition(".")[0])
                if isinstance(node, ast.Constant):
                    if self._modules.get(module) is None:
                        continue
                    when = "name"
                yield Import(file, node.lineno, module, target, when)


def module_name(file: str) -> str:
    """The name that a file is imported by, such as frcrn_export.runtime.cache."""
    parts = PurePosixPath(file).with_suffix("").parts
    parts = parts if parts[0] == ROOT else (ROOT, *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def code_lines(text: str) -> set[int]:
    """The numbers of the lines with code on them."""
    skipped = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            found.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, holders) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            found.difference_update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return found


def circles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The strongly connected parts of more than one node, by Tarjan's algorithm."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            part = [stack.pop()]
            while part[-1] != node:
                part.append(stack.pop())
            if len(part) > 1:
                found.append(sorted(part))

    for node in sorted(edges):
        if node not in order:
            visit(node)
    return found


# The product's own name is no network's.
_PRODUCT = re.compile(r"frcrn[-_ ]?export", re.IGNORECASE)
_OPTIONS = {
    "squeeze_excite": re.compile(r"squeeze[-_ ]?(and[-_ ])?excit", re.IGNORECASE),
    "options of wave_unet": re.compile(r"--(bands|strides|kernel|blocks|causal)\b"),
}


def _spelled(name: str) -> re.Pattern[str]:
    """However a family's name is written: `wave_unet`, WaveUNet, Wave-U-Net, `wave-unet-16k`."""
    letters = name.replace("_", "")
    return re.compile("[-_ ]?".join(map(re.escape, letters)), re.IGNORECASE)


def _package(file: str) -> str:
    return file.partition("/")[0]


def _rank(file: str) -> int:
    return PACKAGES.index(_package(file))


def _walk(node: ast.AST, when: When) -> Iterator[tuple[ast.expr | ast.stmt, When]]:
    """Every statement and expression below a node, with when it runs; no docstrings."""
    for child in ast.iter_child_nodes(node):
        now = when
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            now = "in a function"
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            now = "type checking"
        elif isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, (ast.expr, ast.stmt)):
            yield child, now
        yield from _walk(child, now)


def _imported(node: ast.AST, package: list[str]) -> list[str]:
    """The modules, or names in modules, that a node imports or names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = [] if not node.level else package[: len(package) - node.level + 1]
        module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
        return [f"{module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = node.value.partition(":")[0]
        return [text] if text.startswith(f"{ROOT}.") else []
    return []
