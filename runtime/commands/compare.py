"""`frcrn-export compare`: a base against what is to replace it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from frcrn_export.runtime.bench.changes import MAX_DRIFT_DB
from frcrn_export.runtime.bench.comparison import MAX_GROWTH, MAX_SLOWDOWN, Limits
from frcrn_export.runtime.bench.result import RESULT_NAME
from frcrn_export.runtime.bundle.manifest import MANIFEST_NAME
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
    from frcrn_export.runtime.bench.comparison import Comparison
    from frcrn_export.runtime.bench.measure import Progress

_BUDGET = 120.0


class Percent(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A share as a user writes it: "5%" or 5."""

    name = "percent"

    def convert(
        self, value: object, param: click.Parameter | None, context: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        try:
            number = float(str(value).removesuffix("%"))
        except ValueError:
            number = -1.0
        if not 0 <= number <= 1_000:
            self.fail(f"{value!r}: give a percentage, such as 5%", param, context)
        return number / 100


@click.command()
@click.argument("base", metavar="BASE", type=click.Path(path_type=Path))
@click.argument("new", metavar="NEW", type=click.Path(path_type=Path))
@click.option(
    "--max-slowdown",
    type=Percent(),
    default=MAX_SLOWDOWN,
    help=f"The slowdown that is accepted.  [default: {100 * MAX_SLOWDOWN:g}%]",
)
@click.option(
    "--max-growth",
    type=Percent(),
    default=MAX_GROWTH,
    help="How much bytes, parameters, operations, calls and states may grow.  "
    f"[default: {100 * MAX_GROWTH:g}%]",
)
@click.option(
    "--max-drift",
    type=FiniteRange(min=0),
    default=MAX_DRIFT_DB,
    metavar="DB",
    help="How far below the base parity and SI-SDR may be, above their floors.  "
    f"[default: {MAX_DRIFT_DB:g}]",
)
@click.option("--exact", is_flag=True, help="No counter may change at all.")
@click.option(
    "--budget",
    type=FiniteRange(min=0),
    metavar="SECONDS",
    help=f"How long a row of times may take until its verdict; 0: none.  [default: {_BUDGET:g}]",
)
@click.option("--file", "files", multiple=True, metavar="NAME", help="Times of this file only.")
@click.option("-b", "--backend", "backends", multiple=True, help="Times of this backend only.")
@click.option(
    "-t",
    "--threads",
    multiple=True,
    type=click.IntRange(min=1),
    help="Processor threads.  [default: 1]",
)
@click.option(
    "--length",
    type=FiniteRange(min=0, min_open=True, max=7200),
    metavar="SECONDS",
    help="Of a recording.  [default: 1]",
)
@click.option(
    "--pairs",
    type=click.Path(path_type=Path),
    help="Noisy and clean speech (NAME.noisy.wav, NAME.clean.wav): compare SI-SDR too.",
)
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the tables here.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML here.")
@click.option(
    "--history",
    type=click.Path(path_type=Path),
    help="Append the outcome to this file, as one line of JSON.",
)
@click.option("--note", default="", help="Text to keep in the history, such as the commit.")
@click.option("--github", is_flag=True, help="Print annotations for GitHub Actions too.")
@json_option
def compare(
    base: Path,
    new: Path,
    max_slowdown: float,
    max_growth: float,
    max_drift: float,
    exact: bool,
    budget: float | None,
    files: tuple[str, ...],
    backends: tuple[str, ...],
    threads: tuple[int, ...],
    length: float | None,
    pairs: Path | None,
    markdown: Path | None,
    junit: Path | None,
    history: Path | None,
    note: str,
    github: bool,
    as_json: bool,
) -> None:
    """Compare BASE with NEW: two bundles, or results of `bench`.

    Counters are compared exactly, parity and quality with their floors and the base. Times of two
    bundles are measured here in alternating blocks, and judged faster, same, slower or undecided;
    undecided does not fail. A result is compared with a bundle by its counters and parity, and with
    another result by the times in both, of which --file, --backend and --threads choose. Exits with
    1 if anything fails.
    """
    from frcrn_export.runtime.bench.ci_reports import annotations
    from frcrn_export.runtime.bench.ci_reports import junit as junit_text
    from frcrn_export.runtime.bench.documents import comparison_markdown
    from frcrn_export.runtime.files.output import check_output, write_output

    outputs = [path for path in (markdown, junit) if path is not None]
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise click.UsageError(f"--markdown and --junit are both {markdown}; give two files")
    for path in (*outputs, *((history,) if history else ())):
        check_output(path)
    limits = Limits(max_slowdown, max_growth, max_drift, exact)
    asked = _Asked(base, new, limits, budget, files, backends, threads, length, pairs)
    with progress_bar("Comparing") as progress:
        comparison = _compared(asked, progress)
    if markdown is not None:
        write_output(markdown, comparison_markdown(comparison))
    if junit is not None:
        write_output(junit, junit_text(comparison))
    if history is not None:
        _append(history, comparison, note)
    if as_json:
        said = msgspec.to_builtins(comparison)
        print_json({**said, "failures": list(comparison.failures)})
    else:
        _print(comparison)
    if github:
        for line in annotations(comparison):
            click.echo(line, err=as_json)
    if failures := comparison.failures:
        more = f"; and {len(failures) - 1} more" if len(failures) > 1 else ""
        raise CheckFailed(f"{failures[0]}{more}")


@dataclass(frozen=True)
class _Asked:
    """What to compare, and how; empty sequences mean all."""

    base: Path
    new: Path
    limits: Limits
    budget: float | None
    files: tuple[str, ...]
    backends: tuple[str, ...]
    threads: tuple[int, ...]
    length: float | None
    pairs: Path | None


def _compared(asked: _Asked, progress: "Progress") -> "Comparison":
    if asked.base.resolve() == asked.new.resolve():
        raise UserError(
            f"BASE and NEW are both {asked.base}; give two (to see how this machine's times vary, "
            "compare a bundle with a copy of it)"
        )
    of_results = [_is_result(path) for path in (asked.base, asked.new)]
    return _with_results(asked, of_results) if any(of_results) else _of_bundles(asked, progress)


def _with_results(asked: _Asked, of_results: list[bool]) -> "Comparison":
    """Two results, or one and the counters and parity of a bundle."""
    from frcrn_export.runtime.bench.bench import bench
    from frcrn_export.runtime.bench.cases import Wanted
    from frcrn_export.runtime.bench.compare import compare_results
    from frcrn_export.runtime.bench.result import read_result
    from frcrn_export.runtime.bundle.reader import open_bundle

    if asked.budget is not None or asked.pairs or asked.length:
        raise click.UsageError("--budget, --pairs and --length go with two bundles; leave them out")
    wanted = Wanted(files=asked.files, backends=asked.backends, threads=asked.threads)
    if not all(of_results) and wanted != Wanted():
        raise click.UsageError(
            "--file, --backend and --threads choose rows of times, and a bundle has none; give two "
            "bundles or two results"
        )
    base, new = (
        read_result(path) if is_result else bench(open_bundle(path), Wanted(), "counters")
        for path, is_result in zip((asked.base, asked.new), of_results, strict=True)
    )
    return compare_results(base, new, (str(asked.base), str(asked.new)), asked.limits, wanted)


def _of_bundles(asked: _Asked, progress: "Progress") -> "Comparison":
    from frcrn_export.runtime.bench.cases import Wanted
    from frcrn_export.runtime.bench.compare import WANTED, compare_bundles
    from frcrn_export.runtime.bench.quality import read_pairs
    from frcrn_export.runtime.bundle.reader import open_bundle

    base, new = open_bundle(asked.base), open_bundle(asked.new)
    wanted = Wanted(
        files=asked.files,
        backends=asked.backends,
        kinds=WANTED.kinds,
        threads=asked.threads or WANTED.threads,
        lengths=(asked.length,) if asked.length else WANTED.lengths,
    )
    return compare_bundles(
        base,
        new,
        wanted,
        limits=asked.limits,
        budget=_BUDGET if asked.budget is None else asked.budget,
        pairs=read_pairs(asked.pairs, base.manifest.sample_rate) if asked.pairs else (),
        progress=progress,
    )


def _is_result(path: Path) -> bool:
    """Whether a path is meant as a result of `bench`; the others are opened as bundles."""
    result = path / RESULT_NAME
    if result.is_file() and not (path / MANIFEST_NAME).exists():
        raise UserError(f"{path}: a folder with a result of bench; give its file: {quoted(result)}")
    return path.suffix == ".json" and path.name != MANIFEST_NAME and not path.is_dir()


def _print(comparison: "Comparison") -> None:
    from frcrn_export.runtime.bench.comparison_tables import comparison_notes, comparison_tables

    for table in comparison_tables(comparison):
        print_fitting(table)
    for note in comparison_notes(comparison):
        print_line(note)


def _append(path: Path, comparison: "Comparison", note: str) -> None:
    """One line of JSON at the end of a file; lines before it stay."""
    from frcrn_export.runtime.bench.history import history_line

    line = history_line(comparison, note)
    try:
        with path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; make room or give another file") from error
