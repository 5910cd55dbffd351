"""The command `frcrn-export denoise`."""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click

from frcrn_export.runtime.commands.again import command_again
from frcrn_export.runtime.commands.console import (
    attenuation_option,
    high_pass_option,
    precision_option,
    print_json,
    print_line,
)
from frcrn_export.runtime.commands.denoise_report import Report
from frcrn_export.runtime.commands.inspect_tables import print_model
from frcrn_export.runtime.errors import FrcrnExportError
from frcrn_export.runtime.text import shown

if TYPE_CHECKING:
    from frcrn_export.runtime.bundle.manifest import Precision
    from frcrn_export.runtime.denoiser import Denoiser
    from frcrn_export.runtime.files.jobs import Existing, Job
    from frcrn_export.runtime.files.run import Run
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
    help="A file for one input file, or - for standard output; otherwise a folder.",
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
@click.option(
    "--format",
    metavar="SUFFIX",
    help="The format of an output without a name (standard output, a pipe): wav, flac, ogg, ...; "
    "by default the input's.",
)
@click.option("--plot", is_flag=True, help="Also draw spectrograms before and after, as NAME.png.")
@click.option("-f", "--force", is_flag=True, help="Replace outputs that exist.")
@click.option(
    "--skip-existing",
    is_flag=True,
    help="Leave outputs that are complete: go on with a run that was stopped.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    help="Files at once; one for each processor by default, if 2 GB of memory are there for each.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.pass_context
def denoise(
    context: click.Context,
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
    format: str | None,
    plot: bool,
    force: bool,
    skip_existing: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Denoise audio files, or all audio in folders, with a BUNDLE.

    Reads and writes the formats of libsndfile, such as WAV, FLAC, OGG and MP3; the suffix of an
    output decides its format. Outputs keep the sample rate, the channels and, where they can, the
    subtype and the tags of their inputs. An INPUT of - is standard input. A file that cannot be
    denoised does not end the run: it is named at the end, and the exit code is 1.
    """
    from frcrn_export.runtime.audio.spool import is_stream
    from frcrn_export.runtime.files.jobs import plan_jobs
    from frcrn_export.runtime.files.run import Run, batch_of, files_at_once, threads_of_each

    if windowed and not stream:
        raise click.UsageError("--windowed goes with --stream", context)
    if force and skip_existing:
        raise click.UsageError("--force replaces what --skip-existing leaves: give one", context)
    if stream and jobs is not None and jobs > 1:
        raise click.UsageError("--stream takes one file at a time: --jobs 1", context)
    to_stream = is_stream(output)
    if plot and to_stream:
        raise click.UsageError("--plot needs an output with a name", context)
    if plot:
        from frcrn_export.runtime.drawing import require_matplotlib

        require_matplotlib("--plot")
    if format and not to_stream:
        raise click.UsageError("--format is for -o -; the suffix of a name decides", context)
    suffix = f".{format.lower().lstrip('.')}" if format else ""
    existing: Existing = "skip" if skip_existing else "replace" if force else "refuse"
    plan = plan_jobs(inputs, output, existing=existing, plot=plot, suffix=suffix)
    waiting = plan.waiting
    parallel = 1 if stream else jobs or files_at_once(len(waiting), threads)
    each = threads_of_each(min(parallel, max(1, len(waiting))), threads)
    denoiser = _open(bundle, backend, each, precision, high_pass, stream, windowed)
    if not as_json:
        print_model(bundle, denoiser.manifest)
    if jobs is None and not stream:
        parallel = batch_of(denoiser) or parallel
    run = Run(
        denoiser, waiting, max(1, min(parallel, len(waiting))), restore_level, attenuation_limit
    )
    report = Report(plan, run.outcomes)
    ended = _run_with_progress(run, report)
    single = len(inputs) == 1 and not inputs[0].is_dir()
    if single and report.failed:
        ended = report.failed[0].error
        report.error = str(ended)
    if as_json:
        described = report.to_json(bundle, denoiser, attenuation_limit)
        print_json(described, err=to_stream)
    elif to_stream and not ended:
        print_line(report.line, err=True)
    elif not (single and ended):
        report.print(denoiser)
    if not single:
        report.print_failures()
        if ended is not None:
            print_line(_go_on(context, force), err=True)
    if isinstance(ended, KeyboardInterrupt):
        print_line("interrupted", err=True)
        context.exit(130)
    if ended is not None:
        raise ended
    if report.failed:
        context.exit(1)


def _go_on(context: click.Context, force: bool) -> str:
    """The command for the files that were not reached."""
    if force:  # which of the outputs are new?
        return f"to begin again, run: {command_again(context)}"
    added = () if context.params["skip_existing"] else ("--skip-existing",)
    return f"to go on, run: {command_again(context, added=added)}"


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


def _run_with_progress(run: "Run", report: Report) -> FrcrnExportError | KeyboardInterrupt | None:
    """Do a run, with a bar; what ended it before its end, if anything."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    started = perf_counter()
    try:
        if not console.is_terminal:
            run.start()
            return None
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("", total=len(run.jobs))
            shares: dict[Job, float] = {}

            def show(job: "Job", share: float) -> None:
                gained = share - shares.get(job, 0.0)
                shares[job] = share
                bar.update(task, description=shown(job.source.name), advance=gained)

            run.start(show)
        return None
    except KeyboardInterrupt as interrupt:
        report.error = "interrupted"
        return interrupt
    except FrcrnExportError as error:
        report.error = str(error)
        return error
    finally:
        report.seconds = perf_counter() - started
