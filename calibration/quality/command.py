"""The command `frcrn-export evaluate`."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from frcrn_export.runtime.bundle.manifest import Precision
from frcrn_export.runtime.commands.console import (
    print_json,
    print_line,
    print_table,
    progress_bar,
)
from frcrn_export.runtime.commands.inspect_tables import print_model
from frcrn_export.runtime.errors import CheckFailed

if TYPE_CHECKING:
    from frcrn_export.calibration.quality.evaluation import Choice, Evaluation
    from frcrn_export.calibration.quality.gates import Gate
    from frcrn_export.runtime.audio.pairs import Pair
    from frcrn_export.runtime.bundle.manifest import Precision


Command = TypeVar("Command", bound=Callable[..., Any])

MEASURES = ("si_sdr", "pesq", "stoi", "seg_snr")
# Options with the least mean over all clips: the metric, and whether it is of the gain.
GATES = {
    "--min-pesq": ("pesq", False),
    "--min-si-sdr": ("si_sdr", False),
    "--min-stoi": ("stoi", False),
    "--min-pesq-gain": ("pesq", True),
    "--min-si-sdr-gain": ("si_sdr", True),
}


def _gate_option(option: str, metric: str, is_gain: bool) -> Callable[[Command], Command]:
    what = f"improvement of {metric}" if is_gain else metric
    help = f"Exit with 1 where a bundle's mean {what} is less."
    return click.option(option, type=float, metavar="X", help=help)


_OPTIONS = (
    click.argument(
        "bundles", metavar="BUNDLE...", nargs=-1, required=True, type=click.Path(path_type=Path)
    ),
    click.option(
        "-p",
        "--pairs",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="A folder with NAME.noisy.* and NAME.clean.*.",
    ),
    click.option(
        "--noisy",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="Instead of --pairs: noisy recordings.",
    ),
    click.option(
        "--clean",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="With --noisy: the clean speech, under the same names.",
    ),
    click.option(
        "-b",
        "--backend",
        "backends",
        multiple=True,
        default=("auto",),
        show_default=True,
        help="As in denoise; several are compared.",
    ),
    click.option(
        "--precision",
        "precisions",
        multiple=True,
        type=click.Choice(get_args(Precision)),
        help="Files of this precision (in ONNX Runtime unless --backend is given); several are "
        "compared. By default as in denoise.",
    ),
    click.option("--stream", is_flag=True, help="As denoise --stream denoises."),
    click.option("--windowed", is_flag=True, help="With --stream: overlapping windows."),
    click.option(
        "-m",
        "--metric",
        "metrics",
        multiple=True,
        type=click.Choice(MEASURES),
        help="Only this one; may be given several times.  [default: all]",
    ),
    click.option(
        "--dnsmos",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Also DNSMOS P.835, with the challenge's sig_bak_ovr.onnx.",
    ),
    *(_gate_option(option, *gate) for option, gate in GATES.items()),
    click.option(
        "-j",
        "--jobs",
        type=click.IntRange(min=1),
        help="Processes that score; with 1 the speed is measured too.  [default: processors]",
    ),
    click.option(
        "-t",
        "--threads",
        type=click.IntRange(min=1),
        help="Threads of the network; all by default.",
    ),
    click.option("--clips", is_flag=True, help="Also show every clip."),
    click.option(
        "--csv", "csv_file", type=click.Path(path_type=Path), help="Write every clip to a file."
    ),
    click.option(
        "--markdown",
        "markdown_file",
        type=click.Path(path_type=Path),
        help="Write all tables to a file.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the results as JSON."),
)


def evaluate_options(command: Command) -> Command:
    """Every argument and option of the command, shown in the order of this file."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@evaluate_options
def evaluate(
    bundles: tuple[Path, ...],
    pairs: Path | None,
    noisy: Path | None,
    clean: Path | None,
    backends: tuple[str, ...],
    precisions: "tuple[Precision, ...]",
    stream: bool,
    windowed: bool,
    metrics: tuple[str, ...],
    dnsmos: Path | None,
    jobs: int | None,
    threads: int | None,
    clips: bool,
    csv_file: Path | None,
    markdown_file: Path | None,
    as_json: bool,
    **minima: float | None,
) -> None:
    """Measure the quality of speech denoised by BUNDLEs, against clean speech.

    SI-SDR, PESQ-WB, STOI and segmental SNR, each with its gain over the noisy input, as means with
    95% confidence intervals, for all clips and by group (the prefix of a name up to the first "_").
    Exits with 1 below a --min-... gate.
    """
    from frcrn_export.calibration.quality.dnsmos import open_dnsmos
    from frcrn_export.calibration.quality.evaluation import Choice, measure, open_subjects
    from frcrn_export.calibration.quality.gates import failures
    from frcrn_export.calibration.quality.report import csv_text, json_report, markdown
    from frcrn_export.calibration.quality.scoring import Scorer, require_packages
    from frcrn_export.runtime.files.output import check_output, write_output

    measures = tuple(name for name in MEASURES if name in (metrics or MEASURES))
    gates = _gates(minima, measures)
    if windowed and (precisions or not stream):
        raise click.UsageError("--windowed goes with --stream, and without --precision")
    require_packages(measures)
    if dnsmos is not None:
        open_dnsmos(dnsmos)
    found = _pairs(pairs, noisy, clean)
    outputs = [path for path in (csv_file, markdown_file) if path is not None]
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise click.UsageError(f"--csv and --markdown are both {csv_file}; give two files")
    for path in outputs:
        check_output(path)
    choices = [
        Choice(bundle, backend, precision, stream, windowed)
        for bundle in bundles
        for backend in backends
        for precision in precisions or (None,)
    ]
    _check_different(choices)
    subjects = open_subjects(choices, threads)
    if not as_json:
        for path, manifest in {s.choice.bundle: s.denoiser.manifest for s in subjects}.items():
            print_model(path, manifest)
    scorer = Scorer(subjects[0].sample_rate, measures, dnsmos)
    jobs = jobs or min(os.cpu_count() or 1, len(found))
    with progress_bar("Evaluating") as progress:
        evaluation = measure(subjects, found, scorer, jobs, progress)
    if as_json:
        folders = [folder for folder in (pairs, noisy, clean) if folder is not None]
        print_json(json_report(evaluation, gates, folders))
    else:
        _print(evaluation, clips)
    if csv_file is not None:
        write_output(csv_file, csv_text(evaluation))
    if markdown_file is not None:
        write_output(markdown_file, markdown(evaluation))
    if missed := failures(evaluation, gates):
        raise CheckFailed("; ".join(missed))


def _gates(minima: dict[str, float | None], measures: tuple[str, ...]) -> "list[Gate]":
    from frcrn_export.calibration.quality.gates import Gate

    gates = []
    for option, (metric, is_gain) in GATES.items():
        least = minima[option.strip("-").replace("-", "_")]
        if least is None:
            continue
        if metric not in measures:
            raise click.UsageError(f"{option} needs --metric {metric}; add it")
        gates.append(Gate(option, metric, is_gain, least))
    return gates


def _check_different(choices: "list[Choice]") -> None:
    seen = set()
    for choice in choices:
        same = replace(choice, bundle=choice.bundle.resolve())
        if same in seen:
            raise click.UsageError(f"{choice.bundle} twice with the same options; give it once")
        seen.add(same)


def _pairs(folder: Path | None, noisy: Path | None, clean: Path | None) -> "list[Pair]":
    from frcrn_export.runtime.audio.pairs import find_pairs, match_folders

    if folder is not None and noisy is None and clean is None:
        return find_pairs(folder)
    if folder is None and noisy is not None and clean is not None:
        return match_folders(noisy, clean)
    raise click.UsageError("give --pairs FOLDER, or --noisy FOLDER and --clean FOLDER")


def _print(evaluation: "Evaluation", clips: bool) -> None:
    from frcrn_export.calibration.quality.tables import notes, tables

    for table in tables(evaluation, clips):
        print_table(table.columns, table.rows, table.title)
    for line in notes(evaluation):
        print_line(line)
