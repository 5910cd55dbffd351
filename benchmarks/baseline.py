"""The result that `make regression` compares with: written with a reason, its times as ratios.

    python benchmarks/baseline.py BUNDLE                  print the ratios of times, in one line
    python benchmarks/baseline.py BUNDLE --reason TEXT    make BUNDLE the baseline

Ratios are for people who read the log. Nothing is asserted of them: the machine, and what else it
does, may be what differs. `frcrn-export compare baseline.json BUNDLE --exact` is what fails.
"""

import argparse
import sys
from pathlib import Path
from statistics import median

import msgspec

from frcrn_export.runtime.bench.bench import bench
from frcrn_export.runtime.bench.cases import Wanted, find_cases, speech_of
from frcrn_export.runtime.bench.machine import this_machine
from frcrn_export.runtime.bench.measure import time_cases
from frcrn_export.runtime.bench.result import Result, read_result
from frcrn_export.runtime.bench.unpaired import unpaired_rows
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle

BASELINE = Path(__file__).with_name("baseline.json")
ROWS = Wanted(kinds=("offline", "hop"), threads=(1,), lengths=(1.0,))
BASE_SECONDS, NEW_SECONDS = 30.0, 4.0


def baseline_of(bundle: Bundle, reason: str, seconds: float = BASE_SECONDS) -> Result:
    """A bundle's result without raw samples, so that its changes can be read in a review."""
    result = bench(bundle, ROWS, seconds=seconds, note=reason, command="make baseline")
    rows = tuple(msgspec.structs.replace(row, rounds=(), command="") for row in result.rows)
    return msgspec.structs.replace(result, rows=rows, anchor_ms=(median(result.anchor_ms),))


def ratios(base: Result, bundle: Bundle, seconds: float = NEW_SECONDS) -> str:
    """The times of a bundle over those of a result, in a line."""
    cases = find_cases(bundle, ROWS).cases
    timing = time_cases(bundle, cases, speech_of(bundle), seconds=seconds)
    here = this_machine()
    new = msgspec.structs.replace(
        base, machine=here, rows=tuple(timing.rows), anchor_ms=tuple(timing.anchors)
    )
    kind = "times" if base.machine.times_as(here) else "times by the anchor, on another machine"
    found = [
        f"{row.path} {row.row.split(', ')[2]} {row.ratio:.2f}"
        for row in unpaired_rows(base, new, 0.0)
        if row.ratio is not None
    ]
    return f"{kind} over the baseline's, not asserted: {', '.join(found)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--reason", help="why the counters changed")
    args = parser.parse_args()
    bundle = open_bundle(args.bundle)
    if args.reason is None:
        print(ratios(read_result(BASELINE), bundle))
    elif args.reason.strip():
        BASELINE.write_bytes(baseline_of(bundle, args.reason.strip()).to_json())
        print(f"written: {BASELINE}; commit it")
    else:
        sys.exit('say why the counters change: make baseline REASON="..."')


if __name__ == "__main__":
    main()
