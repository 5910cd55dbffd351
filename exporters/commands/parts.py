"""What several commands share: the options that name a model, loading it, the parity table."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from frcrn_export.exporters.registry import DEFAULT_MODEL, MODELS
from frcrn_export.runtime.commands.console import print_table

if TYPE_CHECKING:
    from frcrn_export.exporters.loading import LoadedModel
    from frcrn_export.exporters.streaming_export import StreamingOptions
    from frcrn_export.runtime.bundle.manifest import ParityResult

# A call of so many hops takes 1.3 s of a stream for FRCRN, half a second for wave-unet-16k. Larger
# ones only add delay, while the time and the memory that an export takes grow with them.
MAX_CHUNK = 64

Command = TypeVar("Command", bound=Callable[..., Any])


def model_options(command: Command) -> Command:
    """The options that say which network with which weights."""
    for option in (
        click.option(
            "--squeeze-excite",
            metavar="MODE",
            help="What FRCRN averages over: global (as published), cumulative (what came so far), "
            "window:SECONDS. By default what the weights were trained with.",
        ),
        click.option(
            "--random-weights",
            "seed",
            type=click.IntRange(min=0),
            metavar="SEED",
            help="Weights from a random seed, for dry runs.",
        ),
        click.option(
            "-c",
            "--checkpoint",
            type=click.Path(path_type=Path),
            help="Weights: .bin .pt .pth .tar .safetensors, in any published form.",
        ),
        click.option(
            "-m",
            "--model",
            metavar="NAME",
            help=f"One of {', '.join(MODELS)}. By default what the checkpoint holds, "
            f"or {DEFAULT_MODEL}.",
        ),
    ):
        command = option(command)
    return command


def chunk_options(command: Command) -> Command:
    """The options that go with --streaming: how a streaming core is exported."""
    for option in (
        click.option(
            "--lookahead",
            type=click.IntRange(min=0),
            metavar="FRAMES",
            help="Frames that the streaming core waits for: fewer, less delay and lower quality.  "
            "[default: all that the network hears]",
        ),
        click.option(
            "--chunk",
            type=click.IntRange(1, MAX_CHUNK),
            metavar="FRAMES",
            help="Frames (hops) that the streaming core takes at a time, "
            f"at most {MAX_CHUNK}.  [default: 1]",
        ),
    ):
        command = option(command)
    return command


def streaming_options(
    streaming: bool, chunk: int | None, lookahead: int | None
) -> "StreamingOptions | None":
    """What these options ask for. Raises click.UsageError for some without --streaming."""
    if not streaming:
        if (chunk, lookahead) != (None, None):
            raise click.UsageError("--chunk and --lookahead go with --streaming; add it")
        return None
    from frcrn_export.exporters.streaming_export import StreamingOptions

    return StreamingOptions(chunk, lookahead)


def load(
    model: str | None,
    checkpoint: Path | None,
    seed: int | None,
    squeeze_excite: str | None,
    step: Callable[[str], None],
) -> "LoadedModel":
    step("loading torch")
    from frcrn_export.exporters.loading import load_model

    quieten_torch()
    step("loading the weights")
    return load_model(model, checkpoint, seed, squeeze_excite)


def quieten_torch() -> None:
    """Keep the exporter's own remarks (missing torchvision, deprecations) off the screen.

    To be called after torch was imported.
    """
    import logging
    import warnings

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"torch\..*|copyreg")


def print_parity(results: "tuple[ParityResult, ...]") -> None:
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
