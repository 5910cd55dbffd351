"""A result as one HTML page that needs nothing beside it."""

from collections.abc import Iterable
from html import escape

from frcrn_export.runtime.bench.pictures import pictures
from frcrn_export.runtime.bench.result import Result
from frcrn_export.runtime.bench.tables import result_notes, result_tables
from frcrn_export.runtime.drawing import require_matplotlib
from frcrn_export.runtime.tables import Table

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: 0.25rem 0.7rem; text-align: left;
         white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { overflow-x: auto; background: #f6f6f6; padding: 0.7rem; }
svg { max-width: 100%; height: auto; }
"""


def result_page(result: Result) -> str:
    """The page: notes, pictures, tables, and the commands that measure every row again.

    Raises UserError without matplotlib.
    """
    require_matplotlib("the page", "bench")
    title = escape(f"Benchmark of {result.model}")
    parts = [f"<h1>{title}</h1>", _list(result_notes(result))]
    for caption, picture in pictures(result):
        parts += [f"<h2>{escape(caption)}</h2>", picture]
    parts += map(_table, result_tables(result))
    if commands := [row.command for row in result.rows if row.command]:
        parts += ["<h2>Measured again by</h2>", f"<pre>{escape(chr(10).join(commands))}</pre>"]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _table(table: Table) -> str:
    kinds = [' class="number"' * name.startswith(">") for name in table.columns]
    head = _cells("th", [name.lstrip(">") for name in table.columns], kinds)
    body = "".join(f"<tr>{_cells('td', row, kinds)}</tr>\n" for row in table.rows)
    return f"<h2>{escape(table.title)}</h2>\n<table><tr>{head}</tr>\n{body}</table>"


def _cells(tag: str, values: Iterable[str], kinds: Iterable[str]) -> str:
    pairs = zip(values, kinds, strict=True)
    return "".join(f"<{tag}{kind}>{escape(value)}</{tag}>" for value, kind in pairs)
