"""The user's own code: imported and called, with errors that name its lines."""

import importlib
import importlib.util
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any

import torch
from torch import nn

from frcrn_export.exporters.onnx_export import BakedInSize
from frcrn_export.runtime.errors import BackendError, CheckFailed, FrcrnExportError, UserError

# The logger that reports the sizes that a trace decided by; otherwise it prints pages.
_SHAPES_LOG = "torch.fx.experimental.symbolic_shapes"
_GUARD = re.compile(r"eval (.+?) \[guard added\]")
_FROM_TENSORS = "take sizes from x.shape in every call, without int(), loops over them, or numbers "
_FROM_TENSORS += "and tensors that an earlier call left"

_PACKAGES = tuple(
    Path(__file__).resolve().parents[1] / name for name in ("exporters", "runtime", "frcrn_export")
)


@dataclass(frozen=True)
class Location:
    """A callable that makes a network: `my.py:build`, or `package.module:build`."""

    source: str
    name: str

    @property
    def file(self) -> Path | None:
        """The file, or None for an importable module."""
        is_file = self.source.endswith(".py") or "/" in self.source
        return Path(self.source) if is_file else None

    @property
    def stem(self) -> str:
        """The last part of the module's name."""
        return self.file.stem if self.file else self.source.rpartition(".")[2]

    def __str__(self) -> str:
        """The location as a command in the file's folder takes it."""
        return f"{self.file.name if self.file else self.source}:{self.name}"


def parse_location(text: str) -> Location:
    """`FILE.py:CALLABLE` or `PACKAGE.MODULE:CALLABLE`. Raises UserError for anything else."""
    source, _, name = text.rpartition(":")
    if not source or not name.isidentifier():
        raise UserError(
            f"--module {text}: names no callable; give FILE.py:CALLABLE, as in my.py:build, or "
            "PACKAGE.MODULE:CALLABLE"
        )
    return Location(source, name)


@dataclass(frozen=True)
class UsersCode:
    """The user's imported code, and its network.

    Attributes:
        location: The callable that made the network.
        folder: The folder of its files.
        network: The network, unchanged.
    """

    location: Location
    folder: Path
    network: nn.Module

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn errors of its code, in a trace or a call, into one line that names the code's line.

        Raises UserError; a CheckFailed stays one and names the lines that may be the reason.
        """
        watch, printed = _Watch(self.folder), StringIO()
        with watch, redirect_stdout(printed):  # PyTorch prints graphs there when it fails
            try:
                yield
                sys.stderr.write(
                    printed.getvalue()
                )  # of the module: standard output is for results
            except CheckFailed as error:
                raise CheckFailed(f"{error}{_perhaps(watch)}") from error
            except (BakedInSize, BackendError) as error:
                raise UserError(f"{error}{_perhaps(watch)}") from error
            except FrcrnExportError:
                raise
            except Exception as error:
                raise UserError(_explanation(error, watch, self.folder)) from error


def run_users_code(location: Location, seed: int) -> UsersCode:
    """Import the code of a location and call it: the code is executed.

    Args:
        location: A callable without arguments that gives an nn.Module, or the nn.Module itself.
        seed: Of PyTorch's random numbers, for weights that are initialised.

    Raises:
        UserError: It does not import, or gives no nn.Module; names the line.
    """
    file = location.file
    if file is not None and not file.is_file():
        raise UserError(f"--module {location.source}:{location.name}: no such file")
    folder = file.parent.resolve() if file else Path.cwd()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))  # as `python my.py` does, for its own imports
    with torch.random.fork_rng(), redirect_stdout(sys.stderr):
        torch.manual_seed(seed)
        try:
            if file is not None:
                module = _import_file(file)
            else:
                module = importlib.import_module(location.source)
                folder = _folder_of(module, folder)
            made = _made(module, location)
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            at = _line_in(error, folder) or str(location)
            raise UserError(f"--module {location}: {at}: {_first_line(error)}") from error
    return UsersCode(location, folder, made)


def _import_file(file: Path) -> ModuleType:
    """Import a file under its own name, as other files in its folder do."""
    spec = importlib.util.spec_from_file_location(file.stem, file.resolve())
    if spec is None or spec.loader is None:
        raise UserError(f"--module {file}: not a Python file; give FILE.py:CALLABLE")
    module = importlib.util.module_from_spec(spec)
    # A name that is taken stays valid for all other importers.
    taken = sys.modules.get(file.stem)
    if taken is None or getattr(taken, "__file__", None) == str(file.resolve()):
        sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


def _folder_of(module: ModuleType, default: Path) -> Path:
    """The folder of a module's files; of a package, its top folder."""
    top = sys.modules.get(module.__name__.partition(".")[0], module)
    file = getattr(top, "__file__", None) or getattr(module, "__file__", None)
    return Path(file).resolve().parent if file else default


def _made(module: ModuleType, location: Location) -> nn.Module:
    target = getattr(module, location.name, None)
    if target is None:
        raise UserError(f"--module {location}: there is no {location.name} in {location.source}")
    made = target if isinstance(target, nn.Module) or not callable(target) else target()
    if isinstance(made, torch.jit.ScriptModule):
        raise UserError(
            f"--module {location}: gives TorchScript; return the nn.Module that it was made from"
        )
    if not isinstance(made, nn.Module):
        raise UserError(
            f"--module {location}: gives {type(made).__name__}, no nn.Module; return the network"
        )
    return made


class _Watch(logging.Handler):
    """Records which of the user's lines decide by a size while PyTorch traces, and how."""

    def __init__(self, folder: Path) -> None:
        super().__init__(logging.INFO)
        self._folder = folder
        self.guards: dict[str, str] = {}  # line of the user -> the last guard

    def __enter__(self) -> "_Watch":
        log = logging.getLogger(_SHAPES_LOG)
        self._before = log.handlers, log.level, log.propagate
        log.handlers, log.propagate = [self], False
        log.setLevel(logging.INFO)
        return self

    def __exit__(self, *error: object) -> None:
        log = logging.getLogger(_SHAPES_LOG)
        log.handlers, level, log.propagate = self._before
        log.setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        if found := _GUARD.search(record.getMessage()):
            frame: FrameType | None = sys._getframe()
            while frame is not None:
                if _is_users(frame.f_code, self._folder):
                    self.guards[f"{_shown(frame.f_code)}:{frame.f_lineno}"] = found[1]
                    return
                frame = frame.f_back

    @property
    def fixed(self) -> list[str]:
        """The lines that fix a size to a number."""
        return [line for line, guard in self.guards.items() if guard.startswith("Eq(")]


def _perhaps(watch: _Watch) -> str:
    """The lines that may be why a core is right at the traced length only."""
    fixed = [f"{line} ({guard})" for line, guard in watch.guards.items() if ">=" not in guard]
    lines = f" ({', '.join(fixed[:3])} decides by one)" if fixed else ""
    return f"; where a length of the trace is baked in{lines}: {_FROM_TENSORS}"


def _explanation(error: Exception, watch: _Watch, folder: Path) -> str:
    """The user's line, what happened there, and what to change."""
    said = _first_line(error)
    at = _line_in(error, folder)
    kinds = {type(one).__name__ for one in _chain(error)}
    if "GuardOnDataDependentSymNode" in kinds:
        what = "decides by the values of a tensor, which no exported graph can; use torch.where, "
        what += "or decide by shapes alone"
    elif "ConstraintViolationError" in kinds or "Constraints violated" in said:
        at = (watch.fixed or [at])[0]
        what = f"bakes in a size of the traced example; {_FROM_TENSORS}"
    elif "DispatchError" in kinds or "ConversionError" in kinds:
        operator = re.search(r"OpOverload\(op='([^']+)'", " ".join(map(str, _chain(error))))
        name = operator[1] if operator else "an operator"
        what = f"{name} has no ONNX form; write it with other operators"
    elif "InferenceError" in kinds:
        what = "mixes dtypes in forward; give tensors that it makes the dtype of its input "
        what += "(dtype=x.dtype)"
    elif "numpy" in said:
        what = "leaves PyTorch (.numpy()); compute with tensors"
    else:
        what = said
    return f"{at or 'the module'}: {what}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _line_in(error: BaseException, folder: Path) -> str:
    """The user's last line in the traceback of an error; "" where there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    for one in _chain(error):
        line = ""
        step: TracebackType | None = one.__traceback__
        while step is not None:
            if _is_users(step.tb_frame.f_code, folder):
                line = f"{_shown(step.tb_frame.f_code)}:{step.tb_lineno}"
            local = step.tb_frame.f_locals
            line = _line_of_node(local.get("node"), folder) or line
            step = step.tb_next
        if line:
            return line
    return ""


def _line_of_node(node: Any, folder: Path) -> str:
    """The user's line that made a node of a traced graph, from PyTorch's metadata."""
    if not isinstance(node, torch.fx.Node):
        return ""
    return _line_of_stack(node.meta.get("stack_trace") or "", folder)


def _line_of_stack(stack: str, folder: Path) -> str:
    found = re.findall(r'File "(.+?)", line (\d+)', stack)
    lines = [f"{Path(f).name}:{line}" for f, line in found if _is_in(f, folder)]
    return lines[-1] if lines else ""


def _is_users(code: CodeType, folder: Path) -> bool:
    return _is_in(code.co_filename, folder)


def _is_in(file: str, folder: Path) -> bool:
    """Whether a file is the user's: in the folder, and not of an installed package or this one."""
    path = Path(file)
    if not path.is_absolute() or not path.is_relative_to(folder):
        return False
    if "site-packages" in path.relative_to(folder).parts:
        return False
    return not any(path.is_relative_to(package) for package in _PACKAGES)


def _shown(code: CodeType) -> str:
    return Path(code.co_filename).name


def _first_line(error: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    said = ascii(lines[0])[1:-1][:300] if lines else ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
