"""The command that builds engines: `trt`."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from frcrn_export.engines.gpus import DEFAULT_GPU
from frcrn_export.exporters.commands.float16 import floor_option, showing_misses
from frcrn_export.exporters.commands.options import (
    chunk_options,
    load,
    model_options,
    require_output,
    streaming_options,
)
from frcrn_export.runtime.bundle.manifest import QUANTIZED, Precision
from frcrn_export.runtime.bundle.remedies import calibrate_command, options_of
from frcrn_export.runtime.commands.console import (
    json_option,
    print_json,
    print_line,
    progress_bar,
    status,
)
from frcrn_export.runtime.commands.inspect_tables import (
    print_engine,
    said_of_model,
    said_of_quantized,
)
from frcrn_export.runtime.errors import UserError, reading
from frcrn_export.runtime.sessions.tensorrt_backends import sms_text
from frcrn_export.runtime.text import printable, quoted

if TYPE_CHECKING:
    from frcrn_export.engines.options import BuildOptions
    from frcrn_export.engines.source import EngineSource
    from frcrn_export.exporters.model_source import ModelSource
    from frcrn_export.runtime.bundle.reader import Bundle

_MIB = 1 << 20


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--fp16", is_flag=True, help="float16 (default).")
@floor_option
@click.option("--fp32", is_flag=True, help="float32.")
@click.option("--int8", is_flag=True, help="INT8 where the model has Q/DQ nodes.")
@click.option("--fp8", is_flag=True, help="FP8 there instead, from SM 8.9 on.")
@click.option(
    "--calib",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="With --int8, --fp8: recordings of noisy speech, to calibrate a missing core.",
)
@click.option(
    "--no-tf32", is_flag=True, help="With --fp32: convolutions without TensorFloat-32 rounding."
)
@click.option(
    "--gpu",
    default=DEFAULT_GPU,
    show_default=True,
    help="A GPU's name, an SM number such as 8.9, or `auto` for the one in this machine; several "
    "with commas, or a family and later (ampere+), for one engine (TensorRT-RTX).",
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "tensorrt", "tensorrt-rtx"]),
    default="auto",
    show_default=True,
    help="TensorRT builds on the GPU itself, TensorRT-RTX on any machine.",
)
@click.option("--flavor", type=click.Choice(["auto", "tensorrt", "tensorrt-rtx"]), hidden=True)
@click.option(
    "--streaming",
    is_flag=True,
    help="An engine of the streaming core, which denoises frame by frame and keeps its state.",
)
@chunk_options
@click.option(
    "--batch",
    metavar="MIN:OPT:MAX",
    help="Utterances at once; with --streaming one number of streams.",
)
@click.option("--frames", metavar="MIN:OPT:MAX", help="Length, for networks that take spectra.")
@click.option("--samples", metavar="MIN:OPT:MAX", help="Length, for networks that take waveforms.")
@click.option(
    "--workspace", type=click.IntRange(min=1), metavar="MIB", help="Limit of scratch memory."
)
@click.option(
    "--timing-cache",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Read and write kernel timings here (TensorRT only).",
)
@click.option(
    "--hardware-compatible",
    is_flag=True,
    help="For Ampere and every later GPU, more slowly (TensorRT only).",
)
@click.option("--refittable", is_flag=True, help="Weights can be replaced: frcrn-export refit.")
@click.option(
    "--strip-weights",
    is_flag=True,
    help="Refittable, and without its weights: opening it takes them from the ONNX file.",
)
@click.option(
    "--log",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the builder's output to this file.",
)
@click.option(
    "--explain", is_flag=True, help="Only print the trtexec and polygraphy commands for this."
)
@model_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Instead of BUNDLE.  [default: the model's name]",
)
@click.option("-f", "--force", is_flag=True, help="Replace an engine that exists.")
@json_option
def trt(
    bundle: Path | None,
    fp16: bool,
    fp16_floor: float | None,
    fp32: bool,
    int8: bool,
    fp8: bool,
    calib: tuple[Path, ...],
    no_tf32: bool,
    gpu: str,
    backend: str,
    flavor: str | None,
    streaming: bool,
    chunk: int | None,
    lookahead: int | None,
    batch: str | None,
    frames: str | None,
    samples: str | None,
    workspace: int | None,
    timing_cache: Path | None,
    hardware_compatible: bool,
    refittable: bool,
    strip_weights: bool,
    log: Path | None,
    explain: bool,
    source: "ModelSource",
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Build a TensorRT engine and add it to a BUNDLE.

    Exports a new bundle first, where BUNDLE is not given, or does not exist and --model,
    --checkpoint or --random-weights is given. Adds a missing core.fp16.onnx (--streaming:
    core.streaming.fp16.onnx) where the weights are at hand, and with --int8 or --fp8 a missing
    quantized core, calibrated on --calib. TensorRT-RTX builds without a GPU.
    """
    from frcrn_export.engines.backends import resolve_backend
    from frcrn_export.engines.bundle import engine_name, require_new
    from frcrn_export.engines.options import BuildOptions, check_options, check_precision
    from frcrn_export.engines.profiles import make_profile, make_streaming_profile
    from frcrn_export.engines.source import find_engine_source, require_bundle
    from frcrn_export.engines.targets import find_targets
    from frcrn_export.runtime.sessions.tensorrt_backends import load_tensorrt

    if bundle is not None and output is not None:
        raise UserError(f"{bundle} and -o {output}: give one of them, the bundle to build in")
    if bundle is not None:
        require_bundle(bundle, source)
    else:
        require_output(source, output, force=True)  # it builds in a bundle that is there
    if explain and as_json:
        raise click.UsageError("--explain prints commands to paste, not JSON; leave out --json")
    if fp16 + fp32 + int8 + fp8 > 1:
        raise click.UsageError(
            "--fp16, --fp32, --int8 and --fp8 exclude each other; give one of them"
        )
    if fp16_floor is not None and fp32:
        raise click.UsageError("--fp16-floor is for float16 cores; leave out --fp32")
    if no_tf32 and not fp32:
        raise UserError("--no-tf32 is for --fp32; float16 has no TensorFloat-32")
    if calib and not (int8 or fp8):
        raise UserError("--calib is for --int8 and --fp8; nothing else is calibrated")
    precision: Precision = "fp32" if fp32 else "int8" if int8 else "fp8" if fp8 else "fp16"
    wanted = streaming_options(streaming, chunk, lookahead)
    targets = find_targets(gpu)
    check_precision(precision, targets)
    chosen = resolve_backend(flavor or backend, targets, here=not explain)
    if targets.left_out:
        print_line(
            f"{targets.name}: without SM {sms_text(targets.left_out)}, which {chosen} does not "
            "serve",
            err=True,
        )
    if not explain:
        load_tensorrt(chosen)
        _keep_log(log, "")  # fails now rather than after the build
    with showing_misses(as_json), status() as step:
        base = find_engine_source(
            bundle or output,
            source,
            partial(load, source, step),
            wanted,
            replacing=force,
        )
        base = replace(base, fp16_floor=fp16_floor)
        make = make_streaming_profile if streaming else make_profile
        options = BuildOptions(
            backend=chosen,
            targets=targets,
            profile=make(base.manifest, base.input, batch=batch, frames=frames, samples=samples),
            states=base.states,
            workspace_bytes=workspace * _MIB if workspace else None,
            timing_cache=timing_cache,
            hardware_compatible=hardware_compatible,
            refittable=refittable or strip_weights,
            strip_weights=strip_weights,
            tf32=not no_tf32,
        )
        if explain:
            _explain(base, precision, options)
            return
        check_options(options)
        if base.bundle is not None and not force:
            again = base.command(precision, options, calib)
            require_new(base.bundle, engine_name(precision, options), again)
        ready = base.prepare(precision, options, step, calib)
    _build(ready, precision, options, force, log, as_json)


def _explain(base: "EngineSource", precision: Precision, options: "BuildOptions") -> None:
    from frcrn_export.engines.bundle import engine_name
    from frcrn_export.engines.explain import explain
    from frcrn_export.runtime.verify.parity import FLOOR_DB, floor_of

    engine = Path(engine_name(precision, options))  # the bundle is unchanged
    folder, source = base.path, _source_name(base, precision)
    print_line(f"# {said_of_model(folder, base.manifest)}")
    if not (folder / source).is_file():
        exported = _source_name(base, "fp16") if precision in QUANTIZED else source
        click.echo("# The ONNX file first:")
        if not (folder / exported).is_file():
            if base.bundle is not None:  # `onnx` creates bundles and adds to none
                folder = Path("NEW_BUNDLE")
            exported_with = _export_options(base, precision)
            click.echo(f"frcrn-export onnx {exported_with} -o {quoted(folder)}")
        if precision in QUANTIZED:
            streaming = base.streaming is not None
            click.echo(calibrate_command(folder, "tensorrt", precision, streaming=streaming))
    titles = (
        "# Build the engine:",
        "# The same with Polygraphy:",
        "# Compare with ONNX Runtime, where the GPU is:",
        None,
    )
    there = next((entry for entry in base.manifest.files if entry.path == source), None)
    asked = base.fp16_floor if precision == "fp16" else None
    floor = floor_of(there) if there else asked or FLOOR_DB[precision]
    commands = explain(folder / source, engine, base.input.name, options, floor)
    for title, command in zip(titles, commands, strict=True):
        if title:
            click.echo(title)
        click.echo(printable(command))  # the names of tensors are the file's


def _source_name(base: "EngineSource", precision: Precision) -> str:
    """The ONNX file of a bundle that an engine of this precision is built from."""
    stem = "core.streaming" if base.streaming else "core"
    return f"{stem}.onnx" if precision == "fp32" else f"{stem}.{precision}.onnx"


def _export_options(base: "EngineSource", precision: Precision) -> str:
    options = [options_of(base.manifest, checkpoint=base.checkpoint)]
    if precision != "fp32":
        options.append("--fp16")
    if base.fp16_floor is not None:
        options.append(f"--fp16-floor {base.fp16_floor:g}")
    if base.streaming:
        options.append("--streaming")
        for name in ("chunk", "lookahead"):
            if (frames := getattr(base.streaming, name)) is not None:
                options.append(f"--{name} {frames}")
    return " ".join(options)


def _keep_log(log: Path | None, text: str) -> None:
    """Write the builder's output to `--log`, if given. Raises UserError."""
    if log is None:
        return
    try:
        log.write_text(text)
    except OSError as error:
        raise UserError(
            f"--log {log}: cannot be written ({error.strerror}); choose another path"
        ) from error


def _say_how_calibrated(bundle: "Bundle", source: str) -> None:
    """Print the warnings of a calibration report, and how many clips evaluated the file."""
    import json

    made = next(file.quantization for file in bundle.manifest.files if file.path == source)
    if made is None or made.report is None:
        return
    path, again = bundle.path / made.report, calibrate_command(bundle.path, made.target)
    with reading(path, "not a calibration report", f"run: {again} --force"):
        report = json.loads(path.read_bytes())
        warnings, scored = list(map(str, report["warnings"])), len(report["clips"])
    for warning in warnings:
        print_line(f"warning: {warning}", err=True)
    print_line(
        f"{source} was calibrated on {made.clips} recordings and evaluated on {scored}: "
        f"{made.report}"
    )


def _build(
    bundle: "Bundle",
    precision: Precision,
    options: "BuildOptions",
    force: bool,
    log: Path | None,
    as_json: bool,
) -> None:
    from frcrn_export.engines.build_log import BuildError
    from frcrn_export.engines.bundle import add_engine
    from frcrn_export.runtime.bundle.layer_lint import lint
    from frcrn_export.runtime.bundle.layer_report import (
        census,
        layer_report,
        memory,
        quantized_nodes,
    )

    path = bundle.path
    keep_log = partial(_keep_log, log)
    try:
        with progress_bar("building") as progress:
            entry, seconds = add_engine(
                bundle, precision, options, force=force, progress=progress, keep_log=keep_log
            )
    except BuildError as error:
        keep_log(error.log)
        raise
    assert entry.engine is not None
    report = layer_report(bundle, entry)
    quantized = quantized_nodes(report)
    if as_json:
        print_json(
            {
                "bundle": str(path),
                "model": bundle.manifest.model,
                "weights": msgspec.to_builtins(bundle.manifest.weights),
                "engine": msgspec.to_builtins(entry),
                "census": census(report),
                "lint": msgspec.to_builtins(lint(report, precision)),
                "memory": memory(report),
                "quantized": quantized,
                "seconds": round(seconds, 2),
            }
        )
        return
    print_line(said_of_model(path, bundle.manifest))
    print_engine(entry, report)
    if quantized:
        print_line(said_of_quantized(quantized, precision))
    _say_how_calibrated(bundle, entry.engine.source)
    if bundle.manifest.has_random_weights:
        click.echo("Random weights: for dry runs only, the output is not speech.")
    streaming = " --streaming" if options.states else ""
    click.echo(
        f"Next, on the GPU: frcrn-export verify {quoted(path)}{streaming} "
        f"--backend {options.backend}"
    )
