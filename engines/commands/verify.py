"""The command that compares a bundle with the PyTorch reference: `verify`."""

from pathlib import Path
from typing import get_args

import click
import msgspec

from frcrn_export.exporters.commands.options import print_parity
from frcrn_export.runtime.bundle.manifest import Precision
from frcrn_export.runtime.commands.console import (
    FiniteRange,
    json_option,
    print_json,
    print_line,
    status,
)
from frcrn_export.runtime.commands.inspect_tables import said_of_model

_PACED_SECONDS = 5.0


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "-b",
    "--backend",
    "backends",
    multiple=True,
    help="Check with this backend; may be given several times.",
)
@click.option(
    "-c",
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="The bundle's checkpoint, to compare with the reference network too.",
)
@click.option(
    "--streaming",
    is_flag=True,
    help="Compare streams with the offline network instead; measure delay and pace.",
)
@click.option(
    "--seconds",
    type=FiniteRange(min=0, min_open=True),
    metavar="N",
    help="How long streams run at real-time pace.  [default: 5]",
)
@click.option(
    "--layers",
    is_flag=True,
    help="Show layer by layer where a core leaves the float32 network instead: ONNX files, or with "
    "--backend tensorrt or tensorrt-rtx engines, built again with their layers as outputs.",
)
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    help="With --layers: the cores of this precision.  [default: all but fp32]",
)
@json_option
def verify(
    bundle: Path,
    backends: tuple[str, ...],
    checkpoint: Path | None,
    streaming: bool,
    seconds: float | None,
    layers: bool,
    precision: Precision | None,
    as_json: bool,
) -> None:
    """Compare every artifact of a BUNDLE with the reference outputs inside it.

    Where torch is installed and the weights are available (packaged, fetched, random, or given with
    --checkpoint), also with the reference network at lengths that were not traced. Exits with 1 if
    a comparison misses its floor.
    """
    if layers:
        from frcrn_export.engines.commands.verify_layers import verify_layers

        _only("--layers", checkpoint=checkpoint, streaming=streaming or None, seconds=seconds)
        verify_layers(bundle, backends, precision, as_json)
        return
    if precision is not None:
        raise click.UsageError("--precision goes with --layers; add it")
    if streaming:
        _only("--streaming", checkpoint=checkpoint)
        from frcrn_export.exporters.commands.verify_streaming import verify_streaming

        verify_streaming(bundle, backends, seconds or _PACED_SECONDS, as_json)
        return
    if seconds is not None:
        raise click.UsageError("--seconds goes with --streaming; add it")
    from frcrn_export.exporters.verify import require_parity
    from frcrn_export.exporters.verify import verify as compare

    with status() as step:
        report = compare(bundle, backends=backends, checkpoint=checkpoint, progress=step)
    if as_json:
        print_json(
            {
                "model": report.manifest.model,
                "weights": msgspec.to_builtins(report.manifest.weights),
                "reference": report.reference,
                "unchecked": report.unchecked,
                "engines": report.engines,
                "parity": msgspec.to_builtins(report.results),
            }
        )
    else:
        print_line(said_of_model(bundle, report.manifest))
        print_parity(report.results)
        for path, verification in report.engines.items():
            print_line(f"{path}: {verification}")
        if report.unchecked:
            print_line(f"Not compared here: {', '.join(report.unchecked)}: {report.remedy}")
        if report.why_no_reference:
            print_line(f"Not compared with the reference network: {report.why_no_reference}.")
    require_parity(report.results)


def _only(option: str, **others: object) -> None:
    """Raise click.UsageError for an option that this one does not go with."""
    for name, value in others.items():
        if value is not None:
            raise click.UsageError(f"{option} takes no --{name}; leave out one of them")
