"""The command line: a table of commands, each imported only when it is called."""

import errno
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import MappingProxyType
from typing import Any

import click

# Groups of commands by name: (module:function, one line for --help).
GROUPS = MappingProxyType(
    {
        "Export": {
            "models": (
                "frcrn_export.exporters.commands.models:models",
                "List the models and the sources of their weights.",
            ),
            "fetch": (
                "frcrn_export.exporters.commands.fetch:fetch",
                "Download published weights.",
            ),
            "onnx": (
                "frcrn_export.exporters.commands.export:onnx",
                "Export a verified ONNX bundle.",
            ),
            "torchscript": (
                "frcrn_export.exporters.commands.export:torchscript",
                "Export a verified TorchScript core, or add it to a bundle.",
            ),
            "calibrate": (
                "frcrn_export.calibration.command:calibrate",
                "Calibrate an INT8 core on recordings, with gates.",
            ),
            "trt": (
                "frcrn_export.engines.commands.trt:trt",
                "Build a TensorRT engine and add it to a bundle.",
            ),
            "refit": (
                "frcrn_export.engines.commands.refit:refit",
                "Give a bundle's engines other weights, without a new build.",
            ),
            "pack": (
                "frcrn_export.runtime.commands.pack:pack",
                "Pack the part of a bundle that one target needs.",
            ),
        },
        "Run": {
            "denoise": (
                "frcrn_export.runtime.commands.denoise:denoise",
                "Denoise audio files or folders.",
            ),
            "stream": (
                "frcrn_export.runtime.commands.stream:stream",
                "Denoise in real time: stdin to stdout, or the microphone.",
            ),
        },
        "Check": {
            "verify": (
                "frcrn_export.engines.commands.verify:verify",
                "Compare each artifact of a bundle with the PyTorch reference.",
            ),
            "evaluate": (
                "frcrn_export.calibration.quality.command:evaluate",
                "Measure the quality of denoised speech against clean speech.",
            ),
            "bench": (
                "frcrn_export.runtime.commands.bench:bench",
                "Measure what a bundle costs: times, memory, counters.",
            ),
            "compare": (
                "frcrn_export.runtime.commands.compare:compare",
                "Compare two bundles, or results of bench, for CI.",
            ),
            "inspect": (
                "frcrn_export.exporters.commands.inspect:inspect",
                "Show what a bundle or a checkpoint holds.",
            ),
            "doctor": (
                "frcrn_export.runtime.commands.doctor:doctor",
                "Check the environment, and say what to install.",
            ),
        },
        "Train": {
            "train": (
                "frcrn_export.exporters.training.commands.train:train",
                "Train a network, or fine-tune one.",
            ),
        },
    }
)
COMMANDS = MappingProxyType(
    {name: command for commands in GROUPS.values() for name, command in commands.items()}
)
# The extra that installs each module that a command may lack.
EXTRAS = MappingProxyType(
    {
        "onnxruntime": "cpu",
        "torch": "export",
        "onnx": "export",
        "onnxscript": "export",
        "safetensors": "export",
        "yaml": "export",
        "requests": "export",
        "tensorrt": "trt",
        "tensorrt_rtx": "rtx",
        "cuda": "rtx",
        "tensorboard": "train",
        "matplotlib": "plot",
        "pesq": "quality",
        "pystoi": "quality",
        "scipy": "bench",
        "sounddevice": "live",
    }
)


# What a full disk, a quota or a limit of the size of files says, standard output included.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


# What a shell says of a program that SIGPIPE ended, as it ends most of them.
_CLOSED_PIPE = 128 + 13


class LazyGroup(click.Group):
    """A group that knows its commands' names and help lines without importing them."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _ending_with_the_reader():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _ending_with_the_reader():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, function = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(import_module(module), function)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            from frcrn_export.runtime.commands.console import JsonOutput, refuse_repeated

            if "" in rest:  # as a path it would be the current folder
                raise click.UsageError(
                    "an empty argument; is a variable of the shell not set?", ctx
                )
            JsonOutput.printed = False
            refuse_repeated(command, rest, ctx)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(width), line) for name, (_, line) in commands.items()]
                )


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="frcrn-export", prog_name="frcrn-export")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
def cli(debug: bool) -> None:
    """From a PyTorch speech denoiser to verified ONNX, TorchScript and TensorRT.

    Exit codes: 0 done, 1 a check failed, 2 the input cannot be used.
    """
    _show_warnings()


def main(args: list[str] | None = None) -> None:
    """Run the command line; every error becomes one line on standard error and an exit code."""
    args = sys.argv[1:] if args is None else args
    # By default ONNX Runtime reports its use to Microsoft, and keeps an identifier in ~/.cache.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    _print_anywhere()
    try:
        signal.signal(signal.SIGTERM, _terminate)
        _end_calls_on_signals()
        result = cli.main(args, prog_name="frcrn-export", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        _interrupted()
    except click.ClickException as error:
        _leave(_fit_to_print(f"error: {_one_line(error)}"), error.exit_code, args)
    except Exception as error:
        if _was_interrupted(error):
            _interrupted()
        if "--debug" in args:
            traceback.print_exc()
        _leave(*_said_of(error), args)
    sys.exit(result if isinstance(result, int) else 0)


def _said_of(error: Exception) -> tuple[str, int]:
    """The message line and the exit code of an error."""
    from frcrn_export.runtime.errors import FrcrnExportError, out_of_memory

    if isinstance(error, FrcrnExportError):
        return f"error: {error}", error.exit_code
    if out_of_memory(error):
        return "error: this takes more memory than there is; free some, or take a smaller input", 2
    if isinstance(error, ModuleNotFoundError) and (missing := _missing(error)):
        return f"error: {missing}", 2
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        where = error.filename or "the output"
        said = _fit_to_print(f"{where}: cannot be written ({error.strerror}); make room for it")
        return f"error: {said}", 2
    kind = f"unexpected {type(error).__name__}"
    return f"{kind}: {_fit_to_print(str(error))} (traceback: frcrn-export --debug …)", 1


def _fit_to_print(line: str) -> str:
    """Escape a message for a terminal; our own errors are escaped already."""
    from frcrn_export.runtime.text import shown

    return shown(line, 4_000)


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether a Ctrl-C caused an error; torch wraps it in others."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _terminate(number: int, frame: object) -> None:
    """Exit as on Ctrl-C, so that partial files are removed."""
    raise KeyboardInterrupt


# A call of ONNX Runtime that still goes on so long after Ctrl-C is within an operator.
_STUCK_SECONDS = 5.0


def _end_calls_on_signals() -> None:
    """Let Ctrl-C and SIGTERM end calls of ONNX Runtime too, in which Python sees no signal."""
    if sys.platform == "win32":  # where a signal wakes no pipe
        return
    global _woken
    if _woken is None:
        _woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        threading.Thread(target=_end_calls, args=(_woken,), daemon=True).start()


_woken: int | None = None  # where a byte arrives with each signal


def _end_calls(woken: int) -> None:
    while os.read(woken, 1)[0] in (signal.SIGINT, signal.SIGTERM):
        limit = sys.modules.get("frcrn_export.runtime.sessions.run_limit")
        if limit is not None:
            still_going = limit.interrupt_calls()
            time.sleep(_STUCK_SECONDS)
            if still_going():
                os.write(2, b"interrupted\n")
                os._exit(130)


def _one_line(error: click.ClickException) -> str:
    """A usage error with the command whose help explains it."""
    message = " ".join(error.format_message().split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message} (see: {context.command_path} --help)" if context else message


def _missing(error: ModuleNotFoundError) -> str | None:
    """The line that installs a missing package; None if no extra has it."""
    extra = EXTRAS.get(str(error.name).partition(".")[0])
    if extra is None:
        return None
    if extra == "cpu" and shutil.which("nvidia-smi"):
        extra = "gpu"
    return f'{error.name} is not installed; run: pip install "frcrn-export[{extra}]"'


def _print_anywhere() -> None:
    """Escape characters that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # None where it is closed, and others in tests
            stream.reconfigure(errors="backslashreplace")


def _show_warnings() -> None:
    """Print the library's warnings on standard error, one line each."""
    import logging

    class Printed(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = f"{record.levelname.lower()}: {record.getMessage()}"
            click.echo(_fit_to_print(line), err=True)

    logger = logging.getLogger("frcrn_export")
    if not any(handler.name == "command line" for handler in logger.handlers):
        handler = Printed(logging.WARNING)
        handler.name = "command line"
        logger.addHandler(handler)


def _interrupted() -> None:
    """Leave without importing anything more: an import may be what was interrupted."""
    _print_last("interrupted")
    sys.exit(130)


def _leave(line: str, code: int, args: list[str]) -> None:
    """Exit with a line on standard error, and for `--json` the same on standard output.

    Not where a command has printed its own JSON, or audio goes to standard output.
    """
    _print_last(line)
    from frcrn_export.runtime.commands.console import JsonOutput

    is_audio = args[:1] == ["stream"] or {"-", "/dev/stdout"} & set(args)
    if "--json" in args and not is_audio and not JsonOutput.printed:
        said = {"error": line.removeprefix("error: "), "exit_code": code}
        _print_last(json.dumps(said), err=False)
    sys.exit(code)


def _print_last(line: str, *, err: bool = True) -> None:
    """Print a line before the exit. Where that fails (a full disk) the exit code stays the same."""
    try:
        click.echo(line, err=err)
    except OSError:
        stream = sys.stderr if err else sys.stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what Python writes at its end


@contextmanager
def _ending_with_the_reader() -> Iterator[None]:
    """Exit without a word where nobody reads the output any more, as in `frcrn-export … | head`.

    click and rich would exit with 1, which says that a check failed.
    """
    try:
        yield
        return
    except BrokenPipeError:
        pass
    except SystemExit as end:  # rich's
        if not isinstance(end.__context__, BrokenPipeError):
            raise
    sys.exit(_CLOSED_PIPE)
