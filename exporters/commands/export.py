"""The commands that export: `onnx`, `torchscript`."""

from pathlib import Path
from typing import TYPE_CHECKING

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
from frcrn_export.runtime.commands.console import (
    json_option,
    print_json,
    print_table,
    status,
)
from frcrn_export.runtime.commands.float16_tables import print_float32_layers
from frcrn_export.runtime.text import quoted

if TYPE_CHECKING:
    from frcrn_export.exporters.model_source import ModelSource
    from frcrn_export.exporters.own_module import OwnModule
    from frcrn_export.runtime.bundle.reader import Bundle


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
