"""Tables as data: a terminal, a Markdown file and a page show the same cells."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from frcrn_export.runtime.text import printable


@dataclass(frozen=True)
class Table:
    """Columns (">" in front: numbers, to the right) and rows of as many cells.

    `minor` are columns that a narrow terminal may leave out, the least important first.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    minor: tuple[str, ...] = ()

    def column(self, name: str) -> tuple[str, ...]:
        """The cells of a column."""
        index = self.columns.index(name)
        return tuple(row[index] for row in self.rows)

    def without(self, names: Sequence[str]) -> "Table":
        """The table without some columns."""
        kept = [index for index, name in enumerate(self.columns) if name not in names]
        columns = tuple(self.columns[index] for index in kept)
        rows = tuple(tuple(row[index] for index in kept) for row in self.rows)
        return replace(self, columns=columns, rows=rows)


def markdown_table(table: Table) -> str:
    """A table with its title as a heading."""
    return f"\n## {table.title}\n\n{markdown_rows(table)}"


def markdown_rows(table: Table) -> str:
    """A table without its title."""
    lines = [table.columns, *table.rows]
    ruler = "|".join("---:" if name.startswith(">") else "---" for name in table.columns)
    written = [" | ".join(_escaped(cell) for cell in line) for line in lines]
    body = [f"| {written[0]} |", f"|{ruler}|", *(f"| {line} |" for line in written[1:])]
    return "\n".join(body) + "\n"


def _escaped(cell: str) -> str:
    return printable(cell.lstrip(">")).replace("|", "\\|")
