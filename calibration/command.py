"""The command `frcrn-export calibrate`."""

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from frcrn_export.calibration.settings import CLIPS, METHOD, MINUTES
from frcrn_export.runtime.bundle.manifest import CalibrationMethod, Target
from frcrn_export.runtime.bundle.remedies import FOR_VALUES
from frcrn_export.runtime.commands.console import (
    FiniteRange,
    print_json,
    print_line,
    print_table,
    progress_bar,
)

if TYPE_CHECKING:
    from frcrn_export.calibration.int8_report import Report

_TARGETS: dict[str, Target] = {word: target for target, word in FOR_VALUES.items()}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--calib",
    "folders",
    multiple=True,
    required=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Recordings as they will be denoised: noisy, clean, quiet and loud. May be given several "
    "times.",
)
@click.option(
    "--for",
    "target",
    type=click.Choice(list(_TARGETS)),
    default="rtx4090d",
    show_default=True,
    help="rtx4090d: TensorRT on GPUs; cpu: ONNX Runtime on processors with VNNI.",
)
@click.option("--fp8", is_flag=True, help="FP8 instead, for TensorRT on GPUs from SM 8.9 on.")
@click.option("--streaming", is_flag=True, help="Calibrate the streaming core, by streaming.")
@click.option(
    "-p",
    "--pairs",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Evaluation pairs NAME.noisy.* and NAME.clean.*, none of them in --calib.  "
    "[default: the packaged recording]",
)
@click.option(
    "--method",
    type=click.Choice(list(get_args(CalibrationMethod))),
    default=METHOD,
    show_default=True,
    help="How the range of each tensor is calibrated.",
)
@click.option(
    "--clips",
    type=click.IntRange(min=1),
    default=CLIPS,
    show_default=True,
    help="Number of recordings, spread over level and noise.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the choice of clips.",
)
@click.option(
    "--auto",
    is_flag=True,
    help="If a quality gate fails, let sensitive layers fall back to float until it passes.",
)
@click.option(
    "--minutes",
    type=FiniteRange(min=0, min_open=True),
    default=MINUTES,
    show_default=True,
    help="With --auto: time to measure the sensitivity of layers. A second run continues.",
)
@click.option("--allow-slower", is_flag=True, help="Keep a file that is no faster than float.")
@click.option("-t", "--threads", type=click.IntRange(min=1), help="CPU threads.")
@click.option(
    "-c",
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="The bundle's weights, where the network has a form of its own for --for cpu.",
)
@click.option("-f", "--force", is_flag=True, help="Replace a file that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def calibrate(
    bundle: Path,
    folders: tuple[Path, ...],
    target: str,
    fp8: bool,
    streaming: bool,
    pairs: Path | None,
    method: CalibrationMethod,
    clips: int,
    seed: int,
    auto: bool,
    minutes: float,
    allow_slower: bool,
    threads: int | None,
    checkpoint: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Calibrate the INT8 core of a BUNDLE on recordings, and evaluate it.

    Adds core.int8.onnx (--for cpu: core.int8.cpu.onnx; --fp8: core.fp8.onnx) and a report. A file
    that loses too much quality against float32, or is not faster, is not kept: the command exits
    with 1 and names the gate.
    """
    if fp8 and target == "cpu":
        raise click.UsageError("--fp8 is for TensorRT alone; leave out --for cpu, or --fp8")
    from frcrn_export.calibration.calibrate import calibrate_with
    from frcrn_export.calibration.plan import Settings

    settings = Settings(
        target=_TARGETS[target],
        folders=folders,
        streaming=streaming,
        pairs=pairs,
        method=method,
        count=clips,
        seed=seed,
        auto=auto,
        minutes=minutes,
        allow_slower=allow_slower,
        threads=threads,
        precision="fp8" if fp8 else "int8",
    )
    with progress_bar("Calibrating") as progress:
        report = calibrate_with(
            bundle, settings, checkpoint=checkpoint, force=force, progress=progress
        )
    if as_json:
        import json

        from frcrn_export.calibration.int8_report_json import quality_json

        print_json(json.loads(quality_json(report)))
        return
    _print(report, pairs)


def _print(report: "Report", pairs: Path | None) -> None:
    from frcrn_export.calibration.int8_report_page import facts, tables

    for warning in report.warnings:
        print_line(f"warning: {warning}", err=True)
    for line in facts(report):
        print_line(line)
    for table in tables(report):
        print_table(table.columns, table.rows, table.title)
    if pairs is None:
        click.echo("The gates were measured on the packaged recording alone; give --pairs FOLDER.")
    if report.weights.are_random:
        click.echo("Random weights: for dry runs only, the output is not speech.")
    print_line(f"The report: {report.quantization.report}, and the .md and .png files beside it.")
