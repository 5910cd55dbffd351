"""The commands that export and verify: `onnx`, `torchscript`, `verify`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from frcrn_export.exporters.models import DEFAULT_MODEL, MODELS
from frcrn_export.runtime.console import print_json, print_table, status

if TYPE_CHECKING:
    from frcrn_export.exporters.loading import LoadedModel
    from frcrn_export.runtime.bundle import Bundle
    from frcrn_export.runtime.manifest import ParityResult

Command = TypeVar("Command", bound=Callable[..., Any])

_json_option = click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")


def _model_options(command: Command) -> Command:
    """The options that say which network with which weights."""
    for option in (
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


def _output_options(command: Command) -> Command:
    for option in (
        _json_option,
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
@_model_options
@click.option(
    "--stft",
    type=click.Choice(["split", "inline"]),
    default="split",
    show_default=True,
    help="The STFT outside the core, or everything in one waveform-to-waveform file.",
)
@click.option(
    "--fp16", "half", is_flag=True, help="Also core.fp16.onnx, which TensorRT engines are made of."
)
@_output_options
def onnx(
    model: str | None,
    checkpoint: Path | None,
    seed: int | None,
    stft: str,
    half: bool,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Export a verified ONNX bundle from a checkpoint.

    Writes core.onnx (with pre.onnx and post.onnx where the network has an STFT), the manifest and
    the parity vectors, and keeps them only if they give what the PyTorch reference gives.
    """
    with status() as step:
        loaded = _load(model, checkpoint, seed, step)
        from frcrn_export.exporters.bundling import export_onnx_bundle

        bundle = export_onnx_bundle(
            loaded,
            output or Path(loaded.spec.name),
            stft="inline" if stft == "inline" else "split",
            half=half,
            force=force,
            progress=step,
        )
    _report_export(bundle, as_json)


@click.command()
@_model_options
@_output_options
def torchscript(
    model: str | None,
    checkpoint: Path | None,
    seed: int | None,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Export a verified TorchScript core: core.pt, in a new bundle or beside the ONNX files."""
    with status() as step:
        loaded = _load(model, checkpoint, seed, step)
        from frcrn_export.exporters.bundling import export_torchscript_bundle

        bundle = export_torchscript_bundle(
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
    help="The checkpoint the bundle was made from, to compare with the live network as well.",
)
@_json_option
def verify(bundle: Path, backends: tuple[str, ...], checkpoint: Path | None, as_json: bool) -> None:
    """Compare every artifact of a BUNDLE with the reference outputs inside it.

    Where torch is installed and the weights are at hand (packaged, fetched, random, or given with
    --checkpoint), also with the live reference network at lengths that were never traced. Exits
    with 1 if a comparison misses its floor.
    """
    from frcrn_export.exporters.parity_report import require_parity, verify_bundle

    with status() as step:
        report = verify_bundle(bundle, backends, checkpoint, progress=step)
    if as_json:
        print_json(
            {
                "live": report.live,
                "unchecked": report.unchecked,
                "parity": msgspec.to_builtins(report.results),
            }
        )
    else:
        _print_parity(report.results)
        if report.unchecked:
            click.echo(f"Not compared here: {', '.join(report.unchecked)} (frcrn-export doctor).")
        if report.why_not_live:
            click.echo(f"Not compared with the live network: {report.why_not_live}.")
    require_parity(report.results)


def _load(
    model: str | None, checkpoint: Path | None, seed: int | None, step: Callable[[str], None]
) -> "LoadedModel":
    step("loading torch")
    from frcrn_export.exporters.loading import load_model

    _quieten_torch()
    step("loading the weights")
    return load_model(model, checkpoint, seed)


def _quieten_torch() -> None:
    """Keep the exporter's own remarks (missing torchvision, deprecations) off the screen."""
    import logging
    import warnings

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"torch\..*|copyreg")


def _report_export(bundle: "Bundle", as_json: bool) -> None:
    manifest = bundle.manifest
    if as_json:
        print_json({"bundle": str(bundle.path), "manifest": msgspec.to_builtins(manifest)})
        return
    _print_parity(manifest.parity)
    print_table(
        ("File", "Role", "Precision", ">MB", "sha256"),
        (
            (f.path, f.role, f.precision, f"{f.bytes / 1e6:.2f}", f.sha256[:16])
            for f in manifest.files
        ),
        title=f"{bundle.path}: {manifest.model}, weights: {manifest.weights.name}",
    )
    if manifest.weights.source == "random":
        click.echo("Random weights: for dry runs only, the output is no denoised speech.")
    click.echo(f"Next: frcrn-export denoise {bundle.path} noisy.wav -o clean.wav")


def _print_parity(results: "tuple[ParityResult, ...]") -> None:
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
