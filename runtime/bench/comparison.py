"""The outcome of a comparison, and what it accepts."""

from dataclasses import dataclass
from typing import Literal

from msgspec import Struct

from frcrn_export.runtime.bench.changes import (
    MAX_DRIFT_DB,
    CounterChange,
    ParityChange,
    QualityChange,
)
from frcrn_export.runtime.bench.machine import Machine
from frcrn_export.runtime.bench.result import Row
from frcrn_export.runtime.bench.verdict import Word

# A verdict; or a row that one side alone has, or that could not be measured.
RowWord = Word | Literal["lost", "new", "broken"]

MAX_SLOWDOWN, MAX_GROWTH = 0.03, 0.01


@dataclass(frozen=True)
class Limits:
    """What a comparison accepts. Shares: 0.05 is 5 %. `exact`: no counter may change at all."""

    max_slowdown: float = MAX_SLOWDOWN
    max_growth: float = MAX_GROWTH
    max_drift_db: float = MAX_DRIFT_DB
    exact: bool = False


class RowVerdict(Struct, frozen=True, kw_only=True):
    """One row of the comparison of times.

    `ratio` is new over base, `low` and `high` its interval, `floor` the change that base against
    base shows; None where a side was not measured. The sessions were opened `openings` times, and
    measured in `blocks` blocks over all of them. `why` says what the word alone does not.
    """

    path: str
    row: str
    verdict: RowWord
    failed: bool
    base_ms: float | None = None
    new_ms: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    floor: float | None = None
    openings: int = 0
    blocks: int = 0
    why: str = ""
    command: str = ""


def lacking(row: Row, *, in_base: bool) -> RowVerdict:
    """A row that one side alone has; a row that was lost fails."""
    word: RowWord = "lost" if in_base else "new"
    why = (
        "in the base alone (another chunk or backend is another row); make it, or name the files "
        "to compare with --file"
        if in_base
        else "the base has no such row"
    )
    return RowVerdict(path=row.path, row=row.label, verdict=word, failed=in_base, why=why)


class Comparison(Struct, frozen=True, kw_only=True):
    """All of a comparison. `notes` are lines for the reader; they fail nothing.

    `files` are those of which the counters were compared. `base_weights` and `new_weights` are the
    weights' hashes, or names where there are none.
    """

    base: str
    new: str
    model: str
    base_weights: str = ""
    new_weights: str = ""
    machine: Machine
    max_slowdown: float
    files: int = 0
    counters: tuple[CounterChange, ...]
    parity: tuple[ParityChange, ...]
    quality: tuple[QualityChange, ...]
    rows: tuple[RowVerdict, ...]
    notes: tuple[str, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """One line for each thing that fails, the rows of times first."""
        return (
            *(f"{r.row}: {r.verdict}, {r.why}" for r in self.rows if r.failed),
            *(f"{c.path}: lost" for c in self.counters if c.what == "file" and c.new == "-"),
            *(f"{p.artifact}, {p.case}: {p.why}" for p in self.parity if p.outcome == "failed"),
            *(
                f"{q.artifact}: SI-SDR {q.new_db:.2f} dB, in the base {q.base_db:.2f}"
                for q in self.quality
                if q.outcome == "failed"
            ),
            *(
                f"{c.path}: {c.what} {c.new}, in the base {c.base}"
                for c in self.counters
                if c.outcome == "failed" and not (c.what == "file" and c.new == "-")
            ),
        )
