"""The command `frcrn-export denoise`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from frcrn_export.runtime.commands.console import (
    attenuation_option,
    high_pass_option,
    precision_option,
    print_json,
    print_table,
)
from frcrn_export.runtime.commands.inspect_tables import print_model
from frcrn_export.runtime.text import shown

if TYPE_CHECKING:
    from frcrn_export.runtime.bundle.manifest import Precision
    from frcrn_export.runtime.denoiser import Denoiser
    from frcrn_export.runtime.files.denoise import FileResult
    from frcrn_export.runtime.files.jobs import Job
    from frcrn_export.runtime.streaming.audio_stream import StreamedSources


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument(
    "inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="A file for one input file; otherwise a folder.",
)
@click.option(
    "-b",
    "--backend",
    default="auto",
    show_default=True,
    help="auto, onnxruntime, onnxruntime-cpu, -cuda, -tensorrt, torchscript, tensorrt, "
    "or tensorrt-rtx.",
)
@click.option(
    "-t",
    "--threads",
    type=click.IntRange(min=1),
    help="Processor threads.  [default: all usable, with --stream 1]",
)
@precision_option
@click.option(
    "--restore-level/--no-restore-level",
    default=True,
    show_default=True,
    help="Restore the input's level (as ClearerVoice does), or keep the level that the network "
    "works at (as ModelScope does).",
)
@attenuation_option
@high_pass_option
@click.option(
    "--stream", is_flag=True, help="The same samples as `frcrn-export stream` gives in a pipe."
)
@click.option(
    "--windowed",
    is_flag=True,
    help="With --stream: overlapping windows, for networks that cannot stream.",
)
@click.option("--plot", is_flag=True, help="Also draw spectrograms before and after, as NAME.png.")
@click.option("-f", "--force", is_flag=True, help="Replace outputs that exist.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def denoise(
    bundle: Path,
    inputs: tuple[Path, ...],
    output: Path,
    backend: str,
    threads: int | None,
    precision: "Precision | None",
    restore_level: bool,
    attenuation_limit: float | None,
    high_pass: bool | None,
    stream: bool,
    windowed: bool,
    plot: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Denoise audio files, or all audio in folders, with a BUNDLE.

    Reads and writes the formats of libsndfile, such as WAV, FLAC, OGG and MP3; outputs keep the
    sample rate, the channels and the subtype of their inputs.
    """
    from frcrn_export.runtime.files.jobs import plan_jobs

    if windowed and not stream:
        raise click.UsageError("--windowed goes with --stream", click.get_current_context())
    jobs = plan_jobs(inputs, output, force=force, plot=plot)
    denoiser = _open(bundle, backend, threads, precision, high_pass, stream, windowed)
    if not as_json:
        print_model(bundle, denoiser.manifest)
    results = _denoise_with_progress(denoiser, jobs, restore_level, attenuation_limit)
    if as_json:
        print_json(_report(bundle, denoiser, attenuation_limit, results))
    else:
        print_table(
            ("Output", ">Audio (s)", ">Time (s)", ">RTF"),
            (
                (
                    str(result.job.target),
                    f"{result.audio_seconds:.2f}",
                    f"{result.elapsed_seconds:.2f}",
                    f"{result.real_time_factor:.3f}",
                )
                for result in results
            ),
        )


def _open(
    bundle: Path,
    backend: str,
    threads: int | None,
    precision: "Precision | None",
    high_pass: bool | None,
    stream: bool,
    windowed: bool,
) -> "Denoiser | StreamedSources":
    if stream:
        from frcrn_export.runtime.streaming.audio_stream import StreamedSources
        from frcrn_export.runtime.streaming.network import open_network

        return StreamedSources(
            open_network(
                bundle,
                backend,
                threads,
                windowed=windowed,
                precision=precision,
                high_pass=high_pass,
            )
        )
    from frcrn_export.runtime.denoiser import Denoiser

    return Denoiser.open(bundle, backend, threads, precision, high_pass)


def _denoise_with_progress(
    denoiser: "Denoiser | StreamedSources",
    jobs: "list[Job]",
    restore_level: bool,
    attenuation_limit: float | None,
) -> "list[FileResult]":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    from frcrn_export.runtime.files.denoise import denoise_files

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=len(jobs))
        done = 0

        def show(job: "Job", share: float) -> None:
            bar.update(task, description=shown(job.source.name), completed=done + share)

        results = []
        for result in denoise_files(
            denoiser,
            jobs,
            restore_level=restore_level,
            attenuation_limit=attenuation_limit,
            progress=show,
        ):
            results.append(result)
            done += 1
    return results


def _report(
    bundle: Path,
    denoiser: "Denoiser | StreamedSources",
    attenuation_limit: float | None,
    results: "list[FileResult]",
) -> dict[str, object]:
    return {
        "bundle": str(bundle),
        "model": denoiser.manifest.model,
        "weights": msgspec.to_builtins(denoiser.manifest.weights),
        "backend": denoiser.session.backend,
        "device": denoiser.session.device,
        "precision": denoiser.session.entry.precision,
        "attenuation_limit": attenuation_limit,
        "high_pass": denoiser.manifest.high_pass is not None,
        "files": [
            {
                "input": str(result.job.source),
                "output": str(result.job.target),
                "plot": str(result.job.plot) if result.job.plot else None,
                "sample_rate": result.sample_rate,
                "channels": result.channels,
                "audio_seconds": round(result.audio_seconds, 3),
                "elapsed_seconds": round(result.elapsed_seconds, 3),
                "real_time_factor": round(result.real_time_factor, 4),
            }
            for result in results
        ],
    }
