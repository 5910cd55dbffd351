"""How often `compare` says slower where nothing is, and where something is.

    python benchmarks/verdicts.py record BUNDLE --seconds 300 --name quiet
    python benchmarks/verdicts.py simulate [--pairs 100]
    python benchmarks/verdicts.py real BUNDLE [--slower 15]

`record` compares a bundle with itself for so long, as `compare` does, and keeps what every opening
showed (results/verdict_samples.NAME.json). `simulate` gives `compare` openings of them that it
draws, with the three sessions in a drawn order and the new one's times multiplied by 1.00, 1.05 and
1.15. Every simulated run has the rows of the default comparison, a row's default budget of 120 s,
and counts as a false alarm if any of them is slower. `real` compares a bundle with itself while the
new session is slowed on purpose. Writes results/verdicts.json.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from machine import RESULTS, write

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bench.alternate import Block, Opening
from frcrn_export.runtime.bench.cases import Call, Case, find_cases, speech_of
from frcrn_export.runtime.bench.compare import BUDGET_SECONDS, WANTED
from frcrn_export.runtime.bench.comparison import MAX_SLOWDOWN
from frcrn_export.runtime.bench.paired import Timer, decide
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle

SAMPLES = "verdict_samples"
ROWS = len(WANTED.kinds)
RATIOS = {1.0: 1, 1.15: 1, 1.05: 2}  # a real ratio, and how many budgets it has


def record(root: Path, seconds: float, name: str) -> None:
    """The openings of every default row, for `seconds` each."""
    bundle = open_bundle(root)
    timer = Timer(bundle, bundle, MAX_SLOWDOWN, BUDGET_SECONDS)
    rows: dict[str, Any] = {}
    for case in find_cases(bundle, WANTED).cases:
        measured = timer.openings(case, case, speech_of(bundle))
        found: list[dict[str, float]] = []
        until = last = time.perf_counter()
        until += seconds
        while last < until:
            opening = next(measured)
            now = time.perf_counter()
            medians = [
                float(np.median([getattr(block, side) for block in opening.blocks]))
                for side in ("base", "again", "new")
            ]
            # The three sessions of an opening, as logarithms against the first.
            found.append(
                {
                    "seconds": round(now - last, 4),
                    "blocks": len(opening.blocks),
                    "ms": round(medians[0], 4),
                    "again": round(opening.again, 6),
                    "new": round(opening.new + opening.again / 2, 6),
                }
            )
            last = now
        rows[case.kind] = found
        print(f"{case.kind}: {len(found)} openings in {seconds:g} s")
    print(write(f"{SAMPLES}.{name}", {"bundle": bundle.manifest.model, "rows": rows}))


class Replay:
    """Openings drawn from recorded ones, and the clock of their time."""

    def __init__(self, row: list[dict[str, float]], ratio: float, draw: random.Random) -> None:
        self._row, self._ratio, self._draw = row, ratio, draw
        self.now = 0.0

    def openings(self) -> Iterator[Opening]:
        while True:
            each = self._draw.choice(self._row)
            self.now += each["seconds"]
            logarithms = [0.0, each["again"], each["new"]]
            self._draw.shuffle(logarithms)
            base, again, new = np.exp(logarithms)
            yield Opening((Block(base, again, self._ratio * new),))


def simulate(pairs: int) -> dict[str, Any]:
    """By recording and real ratio: the runs in which any row is slower, and the words of rows."""
    results: dict[str, Any] = {}
    for path in sorted(RESULTS.glob(f"{SAMPLES}.*.json")):
        recorded = json.loads(path.read_text())["rows"]
        name = path.name.removeprefix(f"{SAMPLES}.").removesuffix(".json")
        for ratio, budgets in RATIOS.items():
            alarms, words, spent = 0, dict.fromkeys(recorded, ""), []
            counts = {kind: {"slower": 0, "same": 0, "faster": 0, "undecided": 0} for kind in words}
            for seed in range(pairs):
                draw, alarm = random.Random(seed), False
                for kind, row in recorded.items():
                    replay = Replay(row, ratio, draw)
                    verdict, _ = decide(
                        replay.openings(),
                        budget=budgets * BUDGET_SECONDS,
                        rows=ROWS,
                        allowance=MAX_SLOWDOWN,
                        seed=seed,
                        clock=lambda replay=replay: replay.now,  # type: ignore[misc]
                    )
                    counts[kind][verdict.word] += 1
                    alarm = alarm or verdict.word == "slower"
                    spent.append(replay.now)
                alarms += alarm
            results[f"{name}, new/base {ratio:g}"] = {
                "pairs": pairs,
                "runs with a slower row": alarms,
                "rows": counts,
                "openings recorded": {kind: len(row) for kind, row in recorded.items()},
                "seconds a row, median": float(np.median(spent)),
                "budget of a row": budgets * BUDGET_SECONDS,
            }
            print(f"{name:10s} new/base {ratio:.2f}: slower in {alarms} of {pairs} runs; {counts}")
    return results


def slowed(share: float, new: Bundle) -> Any:
    """Opens cases; those of the new bundle work busily for a share of each call's time on top."""

    def open_case(case: Case, bundle: Bundle, speech: Float32Array) -> Call:
        call = case.open(bundle, speech)
        if bundle is not new:
            return call

        def slower() -> object:
            started = time.perf_counter()
            result = call()
            until = time.perf_counter() + share * (time.perf_counter() - started)
            while time.perf_counter() < until:
                pass
            return result

        return slower

    return open_case


def real(root: Path, percents: list[float]) -> dict[str, Any]:
    """Whole comparisons of a bundle with itself, slowed by so much."""
    base, new = open_bundle(root), open_bundle(root)
    results = {}
    for percent in percents:
        timer = Timer(base, new, MAX_SLOWDOWN, BUDGET_SECONDS, open_case=slowed(percent / 100, new))
        started = time.perf_counter()
        for row in timer.rows(WANTED, lambda *_: None):
            results[f"{percent:g} % slower, {row.row}"] = {
                "verdict": row.verdict,
                "ratio": row.ratio,
                "interval": [row.low, row.high],
                "floor": row.floor,
                "openings": row.openings,
                "seconds": time.perf_counter() - started,
            }
            print(
                f"{percent:g} % slower, {row.row}: {row.verdict} {row.ratio:.3f} "
                f"({row.low:.3f} to {row.high:.3f}), base/base {100 * row.floor:.1f} %, "
                f"{row.openings} openings"
            )
            started = time.perf_counter()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("record", "simulate", "real"))
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--name", default="samples")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--slower", type=float, nargs="+", default=[0, 5, 15], metavar="PERCENT")
    arguments = parser.parse_args()
    if arguments.what == "record":
        record(arguments.bundle, arguments.seconds, arguments.name)
        return
    path = RESULTS / "verdicts.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    results.pop("machine", None)
    if arguments.what == "simulate":
        results["simulated"] = simulate(arguments.pairs)
    else:
        results["real"] = real(arguments.bundle, arguments.slower)
    print(write("verdicts", results))


if __name__ == "__main__":
    main()
