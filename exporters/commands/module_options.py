"""The options that export a user's own module: `--module` and those that go with it."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, get_args

import click

from frcrn_export.exporters.commands.options import Command, load, print_assumptions
from frcrn_export.exporters.family import flag_of
from frcrn_export.exporters.model_source import ModelSource
from frcrn_export.exporters.registry import all_options
from frcrn_export.runtime.bundle.manifest import Level, Window

if TYPE_CHECKING:
    from frcrn_export.exporters.loading import LoadedModel
    from frcrn_export.exporters.own_module import OwnModule

_LENGTHS = re.compile(r"(\d{1,6})/(\d{1,6})/(\d{1,6})")
_PLACEMENTS = ("split", "inline")


class StftType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """`WINDOW/HOP/FFT` in samples, the transform around a module; or the placement of the STFT."""

    name = "stft"

    def __init__(self, placement: bool) -> None:
        self._words = _PLACEMENTS if placement else ()

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | tuple[int, ...]:
        """The three lengths, or one of the words."""
        if value in self._words or isinstance(value, tuple):
            return value  # type: ignore[no-any-return]
        if lengths := _LENGTHS.fullmatch(str(value)):
            return tuple(int(length) for length in lengths.groups())
        words = "".join(f"{word}, " for word in self._words)
        self.fail(
            f"{str(value)[:80]!r}: takes {words}or with --module WINDOW/HOP/FFT, as in 512/256/512",
            param,
            ctx,
        )
        raise AssertionError  # `fail` raises


def module_options(*, placement: bool) -> Callable[[Command], Command]:
    """Add the options to a command, as argument `own`: an OwnModule, or None without --module.

    With `placement` --stft also takes the placement of the STFT, as argument `stft`.
    """

    def decorate(command: Command) -> Command:
        options = {_name_of(option): option for option in _options(placement)}
        # Families have options of the same names, such as --level: those are read then.
        shared = options.keys() & all_options().keys()

        @wraps(command)
        def with_module(*args: Any, source: ModelSource, **given: Any) -> Any:
            said = {name: given.pop(name) for name in options.keys() - shared}
            if said["module"] is not None:
                said |= {name: source.options.get(name) for name in shared}
                others = {k: v for k, v in source.options.items() if k not in shared}
                source = replace(source, options=others)
            if placement:
                word = said["stft"] if isinstance(said["stft"], str) else None
                given["stft"] = word or _PLACEMENTS[0]
                said["stft"] = None if word else said["stft"]
            return command(*args, source=source, own=_own_module(said), **given)

        decorated: Any = with_module
        for name, option in reversed(options.items()):
            if name not in shared:
                decorated = option(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


def _name_of(option: Callable[[Any], Any]) -> str:
    """The parameter name of an option."""
    parameters: list[click.Parameter] = option(lambda: None).__click_params__
    return str(parameters[0].name)


def _options(placement: bool) -> list[Callable[[Any], Any]]:
    where = (
        "`split`: the STFT outside the core (default); `inline`: everything in one "
        "waveform-to-waveform file. "
        if placement
        else ""
    )
    return [
        click.option(
            "--module",
            metavar="FILE.py:CALLABLE",
            help="A network of your own instead: the callable takes no arguments and gives an "
            "nn.Module. Its code is executed. PACKAGE.MODULE:CALLABLE too. --checkpoint loads its "
            "weights, --model names it.",
        ),
        click.option(
            "--stft",
            type=StftType(placement),
            metavar="split|inline|WINDOW/HOP/FFT" if placement else "WINDOW/HOP/FFT",
            help=f"{where}WINDOW/HOP/FFT, as in 512/256/512: with --module, the transform around "
            "it in samples.",
        ),
        click.option(
            "--window",
            type=click.Choice(get_args(Window)),
            help="With --module: of the STFT.  [default: hann]",
        ),
        click.option(
            "--center/--no-center",
            default=None,
            help="With --module: whether the STFT is centred, as in torch.stft.  [default: yes]",
        ),
        click.option(
            "--sample-rate", type=int, metavar="HZ", help="With --module: its sample rate."
        ),
        click.option(
            "--module-input",
            type=click.Choice(["spectrum", "wave"]),
            help="With --module: what it takes, a spectrum [B, 2, F, T] or a wave [B, 1, N].  "
            "[default: a spectrum with --stft, else a wave]",
        ),
        click.option(
            "--module-output",
            type=click.Choice(["spectrum", "mask", "wave"]),
            help="With --module: what it gives; the exported core multiplies a mask with the "
            "spectrum.  "
            "[default: what it takes]",
        ),
        click.option(
            "--level",
            type=click.Choice(get_args(Level)),
            help="With --module: the level rule of its input.  [default: none]",
        ),
        click.option(
            "--multiple",
            type=click.IntRange(min=1),
            metavar="N",
            help="With --module: a network of waves takes multiples of N samples.  [default: 256]",
        ),
    ]


def _own_module(said: dict[str, Any]) -> "OwnModule | None":
    """The OwnModule of these options. Raises click.UsageError for any of them without --module."""
    if said["module"] is None:
        for name, value in said.items():
            if value is not None:
                raise click.UsageError(f"--{name.replace('_', '-')} goes with --module; add it")
        return None
    if said["sample_rate"] is None:
        raise click.UsageError("--module: at which rate does it work? add --sample-rate HZ")
    from frcrn_export.exporters.own_module import OwnModule

    kinds = {"input": said.pop("module_input"), "output": said.pop("module_output")}
    return OwnModule(**kinds, **said)


def load_either(
    source: ModelSource, own: "OwnModule | None", step: Callable[[str], None]
) -> "LoadedModel":
    """The registered model that the options name, or the user's own module."""
    if own is None:
        return load(source, step)
    if source.options:
        flags = ", ".join(map(flag_of, source.options))
        raise click.UsageError(f"{flags}: an option of registered models; leave it out")
    step("loading torch")
    from frcrn_export.exporters.own_module import load_own_module

    step(f"running {own.module}")
    loaded = load_own_module(
        own,
        source.checkpoint,
        name=source.model,
        seed=source.seed,
        state_dict=source.state_dict,
    )
    print_assumptions(loaded)
    return loaded


@contextmanager
def explained(loaded: "LoadedModel") -> Iterator[None]:
    """Errors of a user's own module name its line; those of registered models are unchanged."""
    from frcrn_export.exporters.own_module import OwnFamily

    if not isinstance(loaded.family, OwnFamily):
        yield
        return
    with loaded.family.code.explained():
        yield
