"""Shared by commands: the options that name a model, loading it, the parity table."""

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from frcrn_export.exporters.family import Setting, parse_setting
from frcrn_export.exporters.model_source import ModelSource
from frcrn_export.exporters.registry import all_options, models, registry
from frcrn_export.runtime.bundle.manifest import MANIFEST_NAME
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.bundle.transaction import require_free
from frcrn_export.runtime.commands.console import print_line, print_table
from frcrn_export.runtime.errors import UserError

if TYPE_CHECKING:
    from frcrn_export.exporters.loading import LoadedModel
    from frcrn_export.exporters.own_module import OwnModule
    from frcrn_export.exporters.streaming_export import StreamingOptions
    from frcrn_export.runtime.bundle.manifest import ParityResult

# 64 hops of 20 ms are 1.3 s of a stream. Larger chunks only add delay, and make exports slower and
# larger.
MAX_CHUNK = 64

Command = TypeVar("Command", bound=Callable[..., Any])


class SettingType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """The click type of a family's option."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = kind

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Setting:
        """The setting, of the option's kind."""
        if isinstance(value, tuple | bool | int):
            return value
        try:
            return parse_setting(self.kind, value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


def family_options(command: Command, *, training: bool = False) -> Command:
    """The options of all families, passed as one argument `options` with those that were given."""
    found = all_options(training=training)

    @wraps(command)
    def with_options(*args: Any, **given: Any) -> Any:
        options = {name: given.pop(name) for name in found}
        said = {name: value for name, value in options.items() if value is not None}
        return command(*args, options=said, **given)

    decorated: Any = with_options
    for name, owners in reversed(found.items()):
        option = owners[0][1]
        flag, text = option.flag, " ".join(dict.fromkeys(one.help for _, one in owners))
        if option.kind == "flag":
            switch = f"{flag}/{option.negation}"
            decorated = click.option(switch, name, default=None, help=text)(decorated)
        else:
            decorated = click.option(
                flag, name, type=SettingType(option.kind), metavar=option.metavar, help=text
            )(decorated)
    return decorated  # type: ignore[no-any-return]


def model_options(command: Command) -> Command:
    """The options that name the network and its weights, as one argument `source`."""

    @wraps(command)
    def with_source(
        *args: Any,
        model: str | None,
        checkpoint: Path | None,
        seed: int | None,
        state_dict: str | None,
        options: Mapping[str, Setting],
        **given: Any,
    ) -> Any:
        source = ModelSource(model, checkpoint, seed, state_dict, options)
        return command(*args, source=source, **given)

    decorated: Any = family_options(with_source)
    for option in (
        click.option(
            "--random-weights",
            "seed",
            type=click.IntRange(min=0),
            metavar="SEED",
            help="Weights from a random seed, for dry runs.",
        ),
        click.option(
            "--state-dict",
            metavar="KEY",
            help="Which state dict of the checkpoint, where it holds several: ema, best_state, ...",
        ),
        click.option(
            "-c",
            "--checkpoint",
            type=click.Path(path_type=Path),
            help="Weights: .bin .pt .pth .th .tar .safetensors, in any published form.",
        ),
        click.option(
            "-m",
            "--model",
            metavar="NAME",
            help=f"One of {', '.join(models())}. By default what the checkpoint holds, "
            f"or {registry().default.name}.",
        ),
    ):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def chunk_options(command: Command) -> Command:
    """The options of a streaming core, which go with --streaming."""
    for option in (
        click.option(
            "--lookahead",
            type=click.IntRange(min=0),
            metavar="FRAMES",
            help="Look-ahead in frames: fewer frames mean less delay and lower quality.  "
            "[default: the network's whole look-ahead]",
        ),
        click.option(
            "--chunk",
            type=click.IntRange(1, MAX_CHUNK),
            metavar="FRAMES",
            help="Frames (hops) in each call of the streaming core, "
            f"at most {MAX_CHUNK}.  [default: 1]",
        ),
    ):
        command = option(command)
    return command


def streaming_options(
    streaming: bool, chunk: int | None, lookahead: int | None
) -> "StreamingOptions | None":
    """The streaming options. Raises click.UsageError for any of them without --streaming."""
    if not streaming:
        if (chunk, lookahead) != (None, None):
            raise click.UsageError("--chunk and --lookahead go with --streaming; add it")
        return None
    from frcrn_export.exporters.streaming_export import StreamingOptions

    return StreamingOptions(chunk, lookahead)


def require_output(
    source: ModelSource,
    output: Path | None,
    *,
    force: bool,
    own: "OwnModule | None" = None,
    added: str | None = None,
) -> None:
    """Raise UserError for an output that is refused anyway, before anything is loaded.

    Without `output` it is the model's name, where the options say it; what a checkpoint is of is
    known only once it was read. `added` is a file that can be added to a bundle that is there.
    """
    if output is None:
        name = source.model
        if name is None and own is None and source.checkpoint is None:
            name = registry().default.name
        if name is None:
            return
        output = Path(name)
    if added is None or not (output / MANIFEST_NAME).is_file():
        require_free(output, force=force)
    elif not force and any(f.path == added for f in open_bundle(output).manifest.files):
        raise UserError(f"{output / added} exists; add --force to replace it")


def load(source: ModelSource, step: Callable[[str], None]) -> "LoadedModel":
    """The model that the options name; prints assumptions and ignored content on standard error."""
    step("loading torch")
    from frcrn_export.exporters.loading import load_model

    step("loading the weights")
    loaded = load_model(
        source.model,
        source.checkpoint,
        seed=source.seed,
        options=source.options,
        state_dict=source.state_dict,
    )
    print_assumptions(loaded)
    return loaded


def print_assumptions(loaded: "LoadedModel") -> None:
    """Print the assumptions about a checkpoint, and its unused content."""
    for remark in loaded.remarks:
        print_line(remark, err=True)


def print_parity(results: "tuple[ParityResult, ...]") -> None:
    """Print the comparisons with the reference."""
    print_table(
        ("Artifact", "Case", ">SNR dB", ">Floor", ">Max abs", "Pass"),
        (
            (
                result.artifact,
                result.case,
                f"{result.snr_db:.1f}",
                f"{result.floor_db:.0f}",
                f"{result.max_abs:.1e}",
                "yes" if result.passed else "NO",
            )
            for result in results
        ),
        title="Against the PyTorch reference",
    )
