"""The commands that export and verify: `onnx`, `torchscript`, `verify`."""

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click
import msgspec

from frcrn_export.exporters.commands.float16 import floor_option, showing_misses
from frcrn_export.exporters.commands.module_options import explained, load_either, module_options
from frcrn_export.exporters.commands.options import (
    Command,
    chunk_options,
    model_options,
    print_parity,
    require_output,
    streaming_options,
)
from frcrn_export.runtime.bundle.manifest import Precision
from frcrn_export.runtime.commands.console import (
    json_option,
    print_json,
    print_line,
    print_table,
    status,
)
from frcrn_export.runtime.commands.float16_tables import print_float32_layers
from frcrn_export.runtime.commands.inspect_tables import said_of_model
from frcrn_export.runtime.text import quoted

if TYPE_CHECKING:
    from frcrn_export.exporters.model_source import ModelSource
    from frcrn_export.exporters.own_module import OwnModule
    from frcrn_export.runtime.bundle.reader import Bundle

_PACED_SECONDS = 5.0


def _output_options(command: Command) -> Command:
    for option in (
        json_option,
        click.option("-f", "--force", is_flag=True, help="Replace a bundle that exists."),
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path),
            help="The bundle's folder.  [default: the model's name]",
        ),
    ):
        command = option(command)
    return command


@click.command()
@model_options
@module_options(placement=True)
@click.option(
    "--fp16",
    is_flag=True,
    help="Also core.fp16.onnx (and core.streaming.fp16.onnx), which TensorRT engines are made of.",
)
@floor_option
@click.option(
    "--streaming",
    is_flag=True,
    help="Also core.streaming.onnx, which denoises frame by frame and keeps its state.",
)
@chunk_options
@click.option(
    "--static",
    type=(click.IntRange(1, 1_024), click.IntRange(1, 2**21)),
    metavar="BATCH LENGTH",
    help="Also core.static.onnx, for inputs of one shape alone, as NPU toolchains need: LENGTH in "
    "frames of a spectrum, or samples of a waveform.",
)
@click.option(
    "--opset",
    type=int,
    metavar="N",
    help="Opset of the ONNX files.  [default: the lowest that each of them needs]",
)
@_output_options
def onnx(
    source: "ModelSource",
    own: "OwnModule | None",
    stft: str,
    fp16: bool,
    fp16_floor: float | None,
    streaming: bool,
    chunk: int | None,
    lookahead: int | None,
    static: tuple[int, int] | None,
    opset: int | None,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Export a verified ONNX bundle from a checkpoint.

    Writes core.onnx (with pre.onnx and post.onnx where the network has an STFT), the manifest and
    the parity vectors, and keeps them only if they match the PyTorch reference.
    """
    if fp16_floor is not None and not fp16:
        raise click.UsageError("--fp16-floor goes with --fp16; add it")
    options = streaming_options(streaming, chunk, lookahead)
    require_output(source, output, force=force, own=own)
    with showing_misses(as_json), status() as step:
        loaded = load_either(source, own, step)
        from frcrn_export.exporters.bundle import export_onnx
        from frcrn_export.exporters.graphs import StaticShape

        with explained(loaded):
            bundle = export_onnx(
                loaded,
                output or Path(loaded.spec.name),
                stft="inline" if stft == "inline" else "split",
                fp16=fp16,
                fp16_floor=fp16_floor,
                streaming=options,
                opset=opset,
                static=StaticShape(*static) if static else None,
                force=force,
                progress=step,
            )
    command = f"frcrn-export verify {quoted(bundle.path)} --streaming" if streaming else None
    _report_export(bundle, as_json, command)


@click.command()
@model_options
@module_options(placement=False)
@_output_options
def torchscript(
    source: "ModelSource",
    own: "OwnModule | None",
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Export a verified TorchScript core: core.pt, in a new bundle or beside the ONNX files."""
    require_output(source, output, force=force, own=own, added="core.pt")
    with status() as step:
        loaded = load_either(source, own, step)
        from frcrn_export.exporters.bundle import export_torchscript

        with explained(loaded):
            bundle = export_torchscript(
                loaded, output or Path(loaded.spec.name), force=force, progress=step
            )
    _report_export(bundle, as_json)


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
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="How long streams run at real-time pace.  [default: 5]",
)
@click.option(
    "--layers",
    is_flag=True,
    help="Show layer by layer where a core leaves the float32 network instead.",
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
        from frcrn_export.exporters.commands.verify_layers import verify_layers

        if set(backends) - {"onnxruntime-cpu"}:
            raise click.UsageError(
                "--layers runs ONNX files with onnxruntime-cpu alone, no engines; leave out "
                "--backend"
            )
        _only("--layers", checkpoint=checkpoint, streaming=streaming or None, seconds=seconds)
        verify_layers(bundle, precision, as_json)
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


def _report_export(bundle: "Bundle", as_json: bool, command: str | None = None) -> None:
    """Show what was exported, and the next command."""
    manifest = bundle.manifest
    if as_json:
        print_json({"bundle": str(bundle.path), "manifest": msgspec.to_builtins(manifest)})
        return
    print_parity(manifest.parity)
    print_table(
        ("File", "Role", "Precision", ">MB", "sha256"),
        (
            (f.path, f.role, f.precision, f"{f.bytes / 1e6:.2f}", f.sha256[:16])
            for f in manifest.files
        ),
        title=f"{bundle.path}: {manifest.model}, weights: {manifest.weights.name}",
    )
    print_float32_layers(manifest)
    if manifest.has_random_weights:
        click.echo("Random weights: for dry runs only, the output is not speech.")
    denoise = f"frcrn-export denoise {quoted(bundle.path)} noisy.wav -o clean.wav"
    click.echo(f"Next: {command or denoise}")
