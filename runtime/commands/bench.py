"""`frcrn-export bench`: what a bundle costs on this machine."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from frcrn_export.runtime.bench.result import RESULT_NAME, Kind
from frcrn_export.runtime.commands.again import command_again
from frcrn_export.runtime.commands.console import (
    FiniteRange,
    json_option,
    print_fitting,
    print_json,
    print_line,
    progress_bar,
)
from frcrn_export.runtime.errors import CheckFailed, UserError
from frcrn_export.runtime.text import quoted

if TYPE_CHECKING:
    from frcrn_export.runtime.bench.bench import Mode
    from frcrn_export.runtime.bench.result import Result

_SECONDS = 60.0


@click.command()
@click.argument(
    "bundles",
    metavar="BUNDLE...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A folder for result.json, result.md and result.html.",
)
@click.option("--force", is_flag=True, help="Replace the files of an earlier run there.")
@click.option(
    "--counters",
    is_flag=True,
    help="Count and compare with the reference only, time nothing: the same in every run.",
)
@click.option(
    "--capacity",
    is_flag=True,
    help="How many streams this machine holds, in which way; also of several BUNDLEs of one model.",
)
@click.option(
    "--scaling",
    is_flag=True,
    help="How the cost grows with length (1 s to 1 h), streams (1 to 64) and threads.",
)
@click.option(
    "--roofline",
    is_flag=True,
    help="The layers that take the time, and their rates against what this machine can do.",
)
@click.option(
    "--seconds",
    type=FiniteRange(min=0, min_open=True),
    metavar="N",
    help=f"About how long the run takes.  [default: {_SECONDS:g}]",
)
@click.option("--file", "files", multiple=True, metavar="NAME", help="Time this file only.")
@click.option("-b", "--backend", "backends", multiple=True, help="Time this backend only.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(get_args(Kind)),
    help="offline: the pipeline; core: the network on a batch; hop: a stream; hops: several.",
)
@click.option(
    "-t",
    "--threads",
    multiple=True,
    type=click.IntRange(min=1),
    help="Processor threads.  [default: 1 and all usable; streams 1]",
)
@click.option(
    "--length",
    "lengths",
    multiple=True,
    type=FiniteRange(min=0, min_open=True, max=7200),
    metavar="SECONDS",
    help="Of recordings.  [default: 4]",
)
@click.option(
    "--batch",
    "batches",
    multiple=True,
    type=click.IntRange(1, 4096),
    help="Recordings in a call of the core.  [default: 1, 4]",
)
@click.option(
    "--streams",
    multiple=True,
    type=click.IntRange(1, 4096),
    help="Streams in a call.  [default: 4, 16]",
)
@click.option(
    "--pin",
    metavar="CPU,CPU",
    help="Run on these processors only, as numbers of the system.",
)
@click.option("--note", default="", help="A line to keep in result.json, such as a reason.")
@json_option
@click.pass_context
def bench(
    context: click.Context,
    bundles: tuple[Path, ...],
    output: Path | None,
    force: bool,
    counters: bool,
    capacity: bool,
    scaling: bool,
    roofline: bool,
    seconds: float | None,
    files: tuple[str, ...],
    backends: tuple[str, ...],
    kinds: tuple[Kind, ...],
    threads: tuple[int, ...],
    lengths: tuple[float, ...],
    batches: tuple[int, ...],
    streams: tuple[int, ...],
    pin: str | None,
    note: str,
    as_json: bool,
) -> None:
    """Measure a BUNDLE on this machine: times, memory, and exact counters.

    Every file and backend that runs here, offline and as a stream; each row until its median is
    certain to 2 %, or the time is over. Exits with 1 if a row fails, or parity misses a floor.
    """
    from frcrn_export.runtime.bench.bench import bench as measure
    from frcrn_export.runtime.bench.cases import Wanted
    from frcrn_export.runtime.bundle.reader import open_bundle

    modes: dict[Mode, bool] = {
        "counters": counters,
        "capacity": capacity,
        "scaling": scaling,
        "roofline": roofline,
    }
    asked = [mode for mode, given in modes.items() if given]
    mode: Mode = asked[0] if asked else "times"
    _check_options(
        asked,
        bundles,
        seconds=seconds if mode in ("counters", "capacity", "roofline") else None,
        kind=kinds if asked else None,
        length=lengths if asked else None,
        batch=batches if asked else None,
        streams=streams if asked else None,
        threads=threads if mode in ("counters", "capacity") else None,
    )
    for bundle in bundles:
        if bundle.is_file() and bundle.name == RESULT_NAME:
            raise UserError(
                f"{bundle}: a result of bench, no bundle; with another: frcrn-export compare BASE "
                f"{quoted(bundle)}"
            )
    if output is not None:
        _check_folder(output, force, context)
    if pin is not None:
        _pin(pin)
    given = Wanted(files=files, backends=backends, threads=threads)
    wanted = Wanted(
        files=files,
        backends=backends,
        kinds=kinds or given.kinds,
        threads=threads,
        lengths=lengths or given.lengths,
        batches=batches or given.batches,
        streams=streams or given.streams,
    )
    opened, *others = map(open_bundle, bundles)
    with progress_bar("Measuring") as progress:
        result = measure(
            opened,
            wanted,
            mode,
            others=others,
            seconds=seconds or _SECONDS,
            command=command_again(context),
            note=note,
            progress=progress,
        )
    if output is not None:
        _write(output, result)
    if as_json:
        print_json(result.document())
    else:
        print_result(result)
        if output is not None:
            print_line(f"Written: {', '.join(str(output / name) for name in _FILES)}")
    _require(result)


_FILES = (RESULT_NAME, "result.md", "result.html")


def _check_options(asked: list["Mode"], bundles: tuple[Path, ...], **others: object) -> None:
    """Raise click.UsageError for options that do not go with the mode."""
    if len(asked) > 1:
        raise click.UsageError(f"--{asked[0]} and --{asked[1]}: one at a time")
    if len(bundles) > 1 and asked != ["capacity"]:
        raise click.UsageError(
            "several bundles go with --capacity; to compare two, run: frcrn-export compare "
            f"{quoted(bundles[0])} {quoted(bundles[1])}"
        )
    for name, value in others.items():
        if value:
            raise click.UsageError(f"--{asked[0]} takes no --{name}; leave it out")


def print_result(result: "Result") -> None:
    """The tables and notes of a result."""
    from frcrn_export.runtime.bench.tables import result_notes, result_tables

    for table in result_tables(result):
        print_fitting(table)
    for note in result_notes(result):
        print_line(note)


def _check_folder(folder: Path, force: bool, context: click.Context) -> None:
    from frcrn_export.runtime.drawing import require_matplotlib
    from frcrn_export.runtime.files.output import check_output

    require_matplotlib("--output", "bench")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give a folder")
    there = [name for name in _FILES if (folder / name).exists()]
    if there and not force:
        again = command_again(context, added=("--force",))
        raise UserError(f"{folder / there[0]}: exists; to replace it, run: {again}")
    if folder.exists():
        for name in _FILES:
            check_output(folder / name)
        return
    parent = next(each for each in folder.absolute().parents if each.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"{folder}: no folder can be made in {parent}; give another")


def _write(folder: Path, result: "Result") -> None:
    from frcrn_export.runtime.bench.documents import result_markdown
    from frcrn_export.runtime.bench.page import result_page
    from frcrn_export.runtime.files.output import write_output

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; give another folder") from error
    texts = (result.to_json().decode(), result_markdown(result), result_page(result))
    for name, text in zip(_FILES, texts, strict=True):
        write_output(folder / name, text)


def _pin(text: str) -> None:
    """Keep this process, and all that it opens from now on, on some processors."""
    words = text.split(",")
    if not all(word.isdecimal() for word in words):
        raise click.UsageError(f"--pin {text}: give numbers of processors, such as --pin 0,1")
    if not hasattr(os, "sched_setaffinity"):
        raise UserError("--pin works on Linux alone; leave it out")
    try:
        os.sched_setaffinity(0, {int(word) for word in words})
    except (OSError, ValueError, OverflowError) as error:
        usable = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        raise UserError(f"--pin {text}: no such processors; there are: {usable}") from error


def _require(result: "Result") -> None:
    """Raise CheckFailed for a row that failed, or parity below its floor."""
    for row in result.rows:
        if row.failed:
            raise CheckFailed(f"{row.label}: {row.failed}")
    for each in result.parity:
        if not each.passed:
            raise CheckFailed(
                f"{each.artifact}, {each.case}: {each.snr_db:.1f} dB, at least "
                f"{each.floor_db:g} dB needed"
            )
