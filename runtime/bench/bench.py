"""A run of `bench`: counters, parity, cold starts, rows of times, streams at their pace."""

import time
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import version

import msgspec

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bench.cases import Case, Wanted, find_cases, speech_of
from frcrn_export.runtime.bench.cold import start_cold
from frcrn_export.runtime.bench.counters import count
from frcrn_export.runtime.bench.machine import stolen_seconds, this_machine
from frcrn_export.runtime.bench.measure import Timing, time_cases
from frcrn_export.runtime.bench.result import Cold, PacedStream, Result, Row
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.errors import BackendError, FrcrnExportError
from frcrn_export.runtime.verify.parity import check_bundle
from frcrn_export.runtime.verify.streaming import keep_pace

Progress = Callable[[str, int, int], None]

PACED_SECONDS = 5.0


def bench(
    bundle: Bundle,
    wanted: Wanted,
    *,
    seconds: float = 60.0,
    times: bool = True,
    command: str = "",
    note: str = "",
    seed: int = 0,
    progress: Progress = lambda what, done, all_: None,
) -> Result:
    """Measure a bundle on this machine.

    Args:
        bundle: An opened bundle.
        wanted: The rows to time.
        seconds: About how long the run takes; at least one round of every row is timed.
        times: False for the counters and parity alone, which are the same in every run.
        command: What the user called, for the result.
        note: What the user wants to keep with it.
        seed: Of the order of the rows.
        progress: Called with what is measured, the rows done, and their number.

    Returns:
        The result.

    Raises:
        UserError: A file that is not in the bundle, nothing to time, or a package is missing.
        BundleError: A file that cannot be read.
        BackendError: A backend that is unknown or not installed.
    """
    started, stolen = time.perf_counter(), stolen_seconds()
    found = find_cases(bundle, wanted) if times else None
    progress("counters", 0, 0)
    files = tuple(count(bundle))
    progress("parity", 0, 0)
    parity = tuple(check_bundle(bundle)) if bundle.manifest.file("parity", "npz") else ()
    cold: tuple[Cold, ...] = ()
    timing = Timing([], [])
    if found is not None:
        speech = speech_of(bundle)
        cold = tuple(_cold_starts(bundle, found.cases, progress))
        paced = [case for case in found.cases if case.kind == "hop"]
        left = seconds - (time.perf_counter() - started) - PACED_SECONDS * len(paced)
        timing = time_cases(bundle, found.cases, speech, seconds=left, seed=seed, progress=progress)
        timing = Timing(
            _with_pace(bundle, found.cases, timing.rows, speech, progress), timing.anchors
        )
    elapsed = time.perf_counter() - started
    manifest, machine = bundle.manifest, this_machine()
    stolen_now = stolen_seconds()
    return Result(
        tool=f"frcrn-export {version('frcrn-export')}",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=command,
        note=note,
        model=manifest.model,
        weights=manifest.weights.name,
        weights_sha256=manifest.weights.sha256 or "",
        options=manifest.options,
        sample_rate=manifest.sample_rate,
        machine=machine,
        seconds=round(elapsed, 3),
        anchor_ms=tuple(round(value, 4) for value in timing.anchors),
        stolen=None
        if stolen is None or stolen_now is None
        else round((stolen_now - stolen) / (elapsed * machine.cores), 4),
        files=files,
        parity=parity,
        cold=cold,
        rows=tuple(timing.rows),
        left_out=found.left_out if found else {},
    )


def _cold_starts(bundle: Bundle, cases: list[Case], progress: Progress) -> list[Cold]:
    """Every file and backend once in a process of its own; failures show in the rows."""
    starts = {(case.entry.path, case.backend): case for case in reversed(cases)}
    found = []
    for number, case in enumerate(reversed(starts.values())):
        progress(f"cold start of {case.entry.path}", number, len(starts))
        try:
            found.append(start_cold(bundle, case.entry, case.backend, case.threads))
        except BackendError:
            continue
    return found


def _with_pace(
    bundle: Bundle, cases: list[Case], rows: list[Row], speech: Float32Array, progress: Progress
) -> list[Row]:
    """The rows; those of one stream with how it kept up at real-time pace."""
    result = []
    for case, row in zip(cases, rows, strict=True):
        if case.kind != "hop" or row.summary is None:
            result.append(row)
            continue
        progress(f"{row.path} at real-time pace, {PACED_SECONDS:g} s", 0, 0)
        try:
            pace = keep_pace(case.open_stream(bundle), speech, PACED_SECONDS)
        except FrcrnExportError as error:
            result.append(msgspec.structs.replace(row, failed=str(error)))
            continue
        paced = PacedStream(
            hops=pace.chunks,
            p50_ms=pace.p50_ms,
            p99_ms=pace.p99_ms,
            max_ms=pace.max_ms,
            missed=pace.deadline_misses,
        )
        result.append(msgspec.structs.replace(row, paced=paced))
    return result
