"""How commands speak: tables on standard output, progress on standard error, JSON for machines."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, get_args

import click

from frcrn_export.runtime.bundle.manifest import Precision

json_option = click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
precision_option = click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    help="The bundle's file of this precision; by default fp32, of engines fp16 first, "
    "never int8 or fp8.",
)


class Step(Protocol):
    """Called with what is being done now."""

    def __call__(self, step: str) -> None: ...


def print_json(value: Any) -> None:
    """Indented JSON on standard output."""
    click.echo(json.dumps(value, indent=2))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None
) -> None:
    """A table on standard output. A column whose name starts with ">" is aligned to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for name in columns:
        right = name.startswith(">")
        table.add_column(
            name.lstrip(">"), justify="right" if right else "left", overflow="fold", no_wrap=right
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    # Without a terminal nothing says how wide a line may be; do not fold what a file can hold.
    console = Console()
    Console(width=None if console.is_terminal else 160).print(table)


@contextmanager
def status() -> Iterator[Step]:
    """A line on standard error that says what is being done; silent where nobody watches."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("starting") as line:

        def show(step: str) -> None:
            line.update(step)

        yield show


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error for work in phases; silent where nobody watches.

    Call it with a phase, the steps of it that are done, and how many it has.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda phase, done, steps: None
        return
    columns = (TextColumn(title), BarColumn(), TaskProgressColumn())
    phase_column = TextColumn("{task.description}")
    with Progress(*columns, phase_column, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(phase: str, done: int, steps: int) -> None:
            bar.update(task, description=phase, completed=done, total=steps)

        yield show
