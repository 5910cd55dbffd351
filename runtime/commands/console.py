"""Output of commands: tables on standard output, progress on standard error, JSON for machines."""

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, get_args

import click

from frcrn_export.runtime.bundle.manifest import Precision
from frcrn_export.runtime.tables import Table
from frcrn_export.runtime.text import shown

_LONGEST_CELL, _LONGEST_LINE = 1_000, 4_000  # characters


class FiniteRange(click.FloatRange):
    """A range of numbers without those that compare with nothing, or end nothing: nan and inf."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


json_option = click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
precision_option = click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    help="The bundle's file of this precision; by default fp32, of engines fp16 first, "
    "never int8 or fp8.",
)
attenuation_option = click.option(
    "--attenuation-limit",
    type=FiniteRange(min=0),
    metavar="DB",
    help="Lower noise by at most this much; some of the room stays. No limit by default.",
)

high_pass_option = click.option(
    "--high-pass/--no-high-pass",
    default=None,
    help="Take out DC and infrasound first, or not. By default as the network was published.",
)


def refuse_repeated(command: click.Command, args: Sequence[str], parent: click.Context) -> None:
    """Raise click.UsageError for a single-value option given twice; click takes the last one."""
    context = click.Context(command, parent, command.name)
    _, _, given = command.make_parser(context).parse_args(list(args))
    for parameter, count in Counter(given).items():
        if count == 1 or not isinstance(parameter, click.Option):
            continue
        same_again = parameter.is_flag and not parameter.secondary_opts
        if not (parameter.multiple or parameter.count or same_again):
            names = "/".join((parameter.opts[-1], *parameter.secondary_opts))
            raise click.UsageError(f"{names} is given {count} times; give it once", context)


class Step(Protocol):
    """Called with what is being done now."""

    def __call__(self, step: str) -> None: ...


def print_line(line: str, *, err: bool = False) -> None:
    """A line that holds text from files, on standard output or on standard error."""
    click.echo(shown(line, _LONGEST_LINE), err=err)


class JsonOutput:
    """Whether the command that runs now has printed its JSON: an error needs none of its own."""

    printed = False


def print_json(value: Any, *, err: bool = False) -> None:
    """Indented JSON on standard output, or on standard error."""
    JsonOutput.printed = True
    click.echo(json.dumps(value, indent=2), err=err)


# Words up to this length do not fold: numbers, shapes, operators. Paths and hashes may.
_WHOLE_WORD = 24
_PIPE_WIDTH = 160  # of a table that nobody's terminal limits


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None
) -> None:
    """A table on standard output. A column whose name starts with ">" is aligned to the right.

    Text folds to the width of the terminal, and names of columns do; numbers never do, so a table
    may be wider. Without a terminal (and COLUMNS) no word is cut, and only sentences that make a
    table wider than 160 columns go on in a further line.
    """
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    table = Table(title or "", tuple(columns), tuple(map(tuple, rows)))
    cells = [list(map(_cell, row)) for row in table.rows]
    numeric = [name.startswith(">") for name in columns]
    widths = _column_widths(table, _terminal_width())
    drawn = RichTable(title=None if title is None else Text(_cell(title)), title_justify="left")
    for name, right, width in zip(columns, numeric, widths, strict=True):
        drawn.add_column(
            Text(_cell(name.lstrip(">"))),
            justify="right" if right else "left",
            overflow="fold",
            width=width,
        )
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))
    Console(width=max(Console().width, _table_width(widths))).print(drawn)


def print_fitting(table: Table) -> None:
    """A table, without columns that say nothing, and in a terminal without those that do not fit.

    First go those that are the same in every row, then `table.minor`; a line below says which.
    """
    if table.rows:
        table = table.without([n for n in table.columns if {"", "-"}.issuperset(table.column(n))])
    width, said = _terminal_width(), []
    same = [name for name in table.columns if len({*table.column(name)}) == 1 < len(table.rows)]
    minor = [name for name in table.minor if name in table.columns and name not in same]
    for name in (*same, *minor):
        if width is None or _table_width(_column_widths(table, width)) <= width:
            break
        cell = f" ({table.column(name)[0]} in every row)" if name in same else ""
        said.append(f"{name.lstrip('>')}{cell}")
        table = table.without([name])
    print_table(table.columns, table.rows, title=table.title)
    if said:
        print_line(f"too wide for this terminal, left out: {'; '.join(said)}")


def _terminal_width() -> int | None:
    """The width of the terminal, None without one (and without COLUMNS)."""
    from rich.console import Console

    console = Console()
    return console.width if console.is_terminal or "COLUMNS" in os.environ else None


def _column_widths(table: Table, terminal: int | None) -> list[int]:
    """The width of each column, for a table no wider than the terminal where possible."""
    from rich.cells import cell_len

    limit = terminal or _PIPE_WIDTH
    whole_word = _WHOLE_WORD if terminal else _LONGEST_CELL
    widths, least = [], []
    for index, column in enumerate(table.columns):
        name, cells = _cell(column.lstrip(">")), [_cell(row[index]) for row in table.rows]
        lines = [cell_len(line) for cell in (name, *cells) for line in cell.splitlines()]
        words = [min(whole_word, cell_len(word)) for c in (name, *cells) for word in c.split()]
        numbers = map(cell_len, cells) if column.startswith(">") else ()
        widths.append(max((1, *lines)))
        least.append(max((1, *words, *numbers)))
    widths = [
        max(at_least, min(width, limit)) for at_least, width in zip(least, widths, strict=True)
    ]
    while _table_width(widths) > limit:
        shrinkable = [i for i, width in enumerate(widths) if width > least[i]]
        if not shrinkable:
            break
        widths[max(shrinkable, key=widths.__getitem__)] -= 1
    return widths


def _table_width(widths: Sequence[int]) -> int:
    """With a border and two blanks for each column."""
    return sum(widths) + 3 * len(widths) + 1


def _cell(text: str) -> str:
    """Text from files, safe for a terminal."""
    return shown(text, _LONGEST_CELL)


@contextmanager
def status() -> Iterator[Step]:
    """A line on standard error that says what is being done; silent without a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    with console.status("starting") as line:

        def show(step: str) -> None:
            line.update(Text(shown(step)))

        yield show


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error for work in phases; silent without a terminal.

    Call it with a phase, the number of steps done, and their total.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda phase, done, steps: None
        return
    columns = (TextColumn(title), BarColumn(), TaskProgressColumn())
    phase_column = TextColumn("{task.description}", markup=False)
    with Progress(*columns, phase_column, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(phase: str, done: int, steps: int) -> None:
            bar.update(task, description=shown(phase), completed=done, total=steps)

        yield show
