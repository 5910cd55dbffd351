"""The command line: a table of commands, each imported only when it is called."""

import signal
import sys
from importlib import import_module

import click

from frcrn_export.runtime.errors import FrcrnExportError

# name: (module:function, one line for --help)
COMMANDS = {
    "onnx": ("frcrn_export.exporters.commands.export:onnx", "Export a verified ONNX bundle."),
    "torchscript": (
        "frcrn_export.exporters.commands.export:torchscript",
        "Export a verified TorchScript core, into a bundle of its own or an existing one.",
    ),
    "trt": (
        "frcrn_export.engines.commands:trt",
        "Build a TensorRT engine, on any machine, into a bundle.",
    ),
    "calibrate": (
        "frcrn_export.calibration.command:calibrate",
        "Make an INT8 core from recordings, judged by its quality and speed.",
    ),
    "verify": (
        "frcrn_export.exporters.commands.export:verify",
        "Compare every artifact of a bundle with the reference.",
    ),
    "denoise": ("frcrn_export.runtime.commands.denoise:denoise", "Denoise audio files or folders."),
    "stream": (
        "frcrn_export.runtime.commands.stream:stream",
        "Denoise audio while it comes: from standard input, or the microphone.",
    ),
    "evaluate": (
        "frcrn_export.calibration.quality.command:evaluate",
        "Measure the quality of denoised speech against clean speech.",
    ),
    "inspect": (
        "frcrn_export.runtime.commands.inspect:inspect",
        "Show what a bundle holds: tensors, operators, cost, hashes.",
    ),
    "models": (
        "frcrn_export.exporters.commands.models:models",
        "List the models and their weights.",
    ),
    "fetch": ("frcrn_export.exporters.commands.fetch:fetch", "Download published weights."),
    "train": (
        "frcrn_export.exporters.training.commands.train:train",
        "Train a network, or fine-tune one.",
    ),
    "doctor": (
        "frcrn_export.runtime.commands.doctor:doctor",
        "Say what can run on this machine, and what would change it.",
    ),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and help lines without importing them."""

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
            from frcrn_export.runtime.commands.console import refuse_repeated

            refuse_repeated(command, rest, ctx)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="frcrn-export", prog_name="frcrn-export")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
def cli(debug: bool) -> None:
    """From a PyTorch speech denoiser to verified ONNX, TorchScript and TensorRT.

    Exit codes: 0 done, 1 a check failed, 2 the input cannot be used.
    """


def main(args: list[str] | None = None) -> None:
    """Run the command line; every error becomes one line on standard error and an exit code."""
    args = sys.argv[1:] if args is None else args
    signal.signal(signal.SIGTERM, _terminate)
    try:
        result = cli.main(args, prog_name="frcrn-export", standalone_mode=False)
    except click.Abort:
        _leave("interrupted", 130)
    except click.ClickException as error:
        _leave(f"error: {_one_line(error)}", error.exit_code)
    except Exception as error:
        if "--debug" in args:
            raise
        if _was_interrupted(error):
            _leave("interrupted", 130)
        if isinstance(error, FrcrnExportError):
            _leave(f"error: {error}", error.exit_code)
        if isinstance(error, ModuleNotFoundError):
            _leave(f"error: {_missing(error)}", 2)
        _leave(f"unexpected {type(error).__name__}: {error} (see it whole: --debug first)", 1)
    sys.exit(result if isinstance(result, int) else 0)


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether a Ctrl-C is what lies under an error; torch wraps it in others."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _terminate(number: int, frame: object) -> None:
    """Leave as on Ctrl-C, so that what is half-written is cleared away."""
    raise KeyboardInterrupt


def _one_line(error: click.ClickException) -> str:
    """A usage error with the command whose help explains it."""
    message = " ".join(error.format_message().split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message} (see: {context.command_path} --help)" if context else message


def _missing(error: ModuleNotFoundError) -> str:
    """The line that installs a package that an exporter needs."""
    extra = {"tensorboard": "train", "matplotlib": "plot"}.get(str(error.name), "export")
    return f'{error.name} is not installed; run: pip install "frcrn-export[{extra}]"'


def _leave(line: str, code: int) -> None:
    click.echo(line, err=True)
    sys.exit(code)
