"""A result and a comparison as Markdown."""

from collections.abc import Iterable

from frcrn_export.runtime.bench.comparison import Comparison
from frcrn_export.runtime.bench.comparison_tables import comparison_notes, comparison_tables
from frcrn_export.runtime.bench.result import Result
from frcrn_export.runtime.bench.tables import result_notes, result_tables
from frcrn_export.runtime.tables import Table, markdown_table
from frcrn_export.runtime.text import printable


def result_markdown(result: Result) -> str:
    """A result: notes, tables, and the command that measures each row again."""
    commands = [f"\n    {row.command}" for row in result.rows if row.command]
    again = "\n## Measured again by\n" + "".join(commands) + "\n" if commands else ""
    title = f"Benchmark of {result.model}"
    return _document(title, result_notes(result), result_tables(result)) + again


def comparison_markdown(comparison: Comparison) -> str:
    """A comparison, for a pull request: what fails first."""
    lines = [*(f"**{failure}**" for failure in comparison.failures), *comparison_notes(comparison)]
    outcome = "FAILED" if comparison.failures else "passed"
    title = f"{comparison.model}: {outcome}"
    return _document(title, lines, comparison_tables(comparison))


def _document(title: str, notes: Iterable[str], tables: Iterable[Table]) -> str:
    lines = "\n".join(f"- {printable(note)}" for note in notes)
    return f"# {title}\n\n{lines}\n" + "".join(map(markdown_table, tables))
