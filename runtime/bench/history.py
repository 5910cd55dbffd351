"""A comparison as one line of JSON, for a history that grows by a line a night."""

from datetime import datetime, timezone

import msgspec

from frcrn_export.runtime.bench.comparison import Comparison


def history_line(comparison: Comparison, note: str = "") -> bytes:
    """The outcome in one line: when, which weights and machine, every row's ratio, what failed.

    `note` is what the user wants to keep with it, such as the commit.

    Tools that look for a change point in a series read it: a row is one column of it.
    """
    return (
        msgspec.json.encode(
            {
                "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "note": note,
                "model": comparison.model,
                "base_weights": comparison.base_weights,
                "weights": comparison.new_weights,
                "processor": comparison.machine.processor,
                "versions": comparison.machine.versions,
                "failed": len(comparison.failures),
                "rows": {
                    row.row: {
                        "verdict": row.verdict,
                        "ratio": row.ratio,
                        "low": row.low,
                        "high": row.high,
                        "base_ms": row.base_ms,
                        "new_ms": row.new_ms,
                    }
                    for row in comparison.rows
                },
            }
        )
        + b"\n"
    )
