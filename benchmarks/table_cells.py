"""What the tables of the pages are made of: results, cells with their spread, rows."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS
from frcrn_export.runtime.tables import Table, markdown_rows

Rows = Iterable[Sequence[str]]


class NotMeasured(Exception):
    """A result that a table is to be made of does not exist yet; the name of the result."""


def result_path(name: str) -> Path:
    """The file of a result. Raises NotMeasured where there is none."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        raise NotMeasured(name)
    return path


def result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result_path(name).read_text())
    return found


def table(columns: Sequence[str], rows: Rows) -> str:
    return markdown_rows(Table("", tuple(columns), tuple(map(tuple, rows))))


def one(text: str) -> str:
    """ "1 streams" of a result's keys as "1 stream"."""
    return re.sub(r"\b1 (\w+)s\b", r"1 \1", text)


def spread(value: dict[str, float], unit: str = "", digits: int = 1) -> str:
    """A median with its quartiles."""
    median, low, high = (f"{value[key]:.{digits}f}" for key in ("median", "q1", "q3"))
    return f"{median}{unit} ({low} to {high})"
