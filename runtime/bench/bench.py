"""A run of `bench`: the counters of a bundle, and what else its mode asks for."""

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import msgspec

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bench.capacity import measure_capacity
from frcrn_export.runtime.bench.cases import GPU_BACKENDS, Case, Wanted, find_cases, speech_of
from frcrn_export.runtime.bench.cold import start_cold
from frcrn_export.runtime.bench.counters import count
from frcrn_export.runtime.bench.gpu_parts import measure_parts
from frcrn_export.runtime.bench.gpu_state import GpuWatch
from frcrn_export.runtime.bench.machine import stolen_seconds, this_machine
from frcrn_export.runtime.bench.measure import Progress, time_cases
from frcrn_export.runtime.bench.result import Cold, PacedStream, Result, Row
from frcrn_export.runtime.bench.roofline import measure_rooflines
from frcrn_export.runtime.bench.scaling import measure_scaling, scaling_wanted, slopes
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import BackendError, FrcrnExportError
from frcrn_export.runtime.verify.parity import stored_parity
from frcrn_export.runtime.verify.streaming import keep_pace

logger = logging.getLogger(__name__)


# `times`: rows, cold starts, streams at their pace. `counters`: nothing that is timed.
Mode = Literal["times", "counters", "capacity", "scaling", "roofline"]

WANTED = Wanted()  # what fits the machine
PACED_SECONDS = 5.0


def bench(
    bundle: Bundle | Path | str,
    wanted: Wanted = WANTED,
    mode: Mode = "times",
    *,
    others: Sequence[Bundle] = (),
    seconds: float = 60.0,
    command: str = "",
    note: str = "",
    seed: int = 0,
    progress: Progress = lambda what, done, all_: None,
) -> Result:
    """Measure a bundle on this machine.

    Example:
        >>> result = frcrn_export.bench("wave", mode="counters")
        >>> core = result.files[0]
        >>> core.path, sum(core.operators.values()) > sum(core.optimised.values())
        ('core.onnx', True)

    Args:
        bundle: A bundle, or its folder.
        wanted: The rows to time.
        mode: What to measure besides the counters.
        others: With the mode `capacity` more bundles of the model, such as with another chunk.
        seconds: About how long the run takes; at least one round of every row is timed.
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
    bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    manifest, machine = bundle.manifest, this_machine()
    progress("counters and parity", 0, 0)
    result = Result(
        tool=f"frcrn-export {version('frcrn-export')}",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=command,
        note=note,
        model=manifest.model,
        weights=manifest.weights.name,
        weights_sha256=manifest.weights.sha256 or "",
        options=manifest.options,
        tools=manifest.tools,
        sample_rate=manifest.sample_rate,
        machine=machine,
        seconds=0.0,
        files=tuple(count(bundle)),
        parity=stored_parity(bundle),
    )
    replace = msgspec.structs.replace
    if mode == "times":
        left = seconds - (time.perf_counter() - started)
        result = _timed(bundle, wanted, result, left, seed, progress)
    elif mode == "capacity":
        rows = measure_capacity((bundle, *others), wanted, progress)
        result = replace(result, capacity=tuple(rows))
    elif mode == "scaling":
        scaled, left_out = measure_scaling(
            bundle, scaling_wanted(wanted), seconds=seconds, progress=progress
        )
        lines = tuple(slopes(scaled))
        result = replace(result, rows=tuple(scaled), slopes=lines, left_out=left_out)
    elif mode == "roofline":
        threads = wanted.threads or (1,)
        found = [each for n in threads for each in measure_rooflines(bundle, n, wanted.files)]
        result = replace(result, rooflines=tuple(found))
    elapsed, stolen_now = time.perf_counter() - started, stolen_seconds()
    if stolen is not None and stolen_now is not None:
        share = (stolen_now - stolen) / (elapsed * machine.cores)
        result = replace(result, stolen=round(share, 4))
    return replace(result, seconds=round(elapsed, 3))


def _timed(
    bundle: Bundle, wanted: Wanted, result: Result, seconds: float, seed: int, progress: Progress
) -> Result:
    """The result with cold starts, rows of times, and streams at their pace."""
    started = time.perf_counter()
    found = find_cases(bundle, wanted)
    speech = speech_of(bundle)
    cold = tuple(_cold_starts(bundle, found.cases, progress))
    paced = [case for case in found.cases if case.kind == "hop"]
    left = seconds - (time.perf_counter() - started) - PACED_SECONDS * len(paced)
    on_gpu = any(case.backend in GPU_BACKENDS for case in found.cases)
    with GpuWatch() if on_gpu else nullcontext() as watch:
        timing = time_cases(bundle, found.cases, speech, seconds=left, seed=seed, progress=progress)
        rows = _with_pace(bundle, found.cases, timing.rows, speech, progress)
        rows = _with_parts(bundle, found.cases, rows, speech, progress)
    return msgspec.structs.replace(
        result,
        anchor_ms=tuple(round(value, 4) for value in timing.anchors),
        cold=cold,
        gpu=watch.course if watch else None,
        rows=tuple(rows),
        left_out=found.left_out,
    )


def _cold_starts(bundle: Bundle, cases: list[Case], progress: Progress) -> list[Cold]:
    """Every file and backend once in a process of its own; failures show in the rows."""
    starts = {(case.entry.path, case.backend): case for case in reversed(cases)}
    found = []
    for number, case in enumerate(reversed(starts.values())):
        progress(f"cold start of {case.entry.path}", number, len(starts))
        try:
            found.append(start_cold(bundle, case.entry, case.backend, case.threads))
        except (BackendError, OSError):  # no new process, say: times are measured in this one
            continue
    return found


def _with_parts(
    bundle: Bundle, cases: list[Case], rows: list[Row], speech: Float32Array, progress: Progress
) -> list[Row]:
    """The rows; those of engines whose calls are one call of the network with its parts.

    A row whose parts cannot be measured has none, and is no failure: its times hold. The log says
    why.
    """
    result = []
    for case, row in zip(cases, rows, strict=True):
        if case.entry.engine is None or case.kind == "offline" or row.summary is None:
            result.append(row)
            continue
        progress(f"parts of {row.label}", 0, 0)
        try:
            parts = measure_parts(bundle, case, speech)
            result.append(msgspec.structs.replace(row, parts=parts))
        except FrcrnExportError as error:
            logger.warning("%s: no parts: %s", row.label, error)
            result.append(row)
    return result


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
            latest_ms=pace.latest_ms,
            missed=pace.deadline_misses,
        )
        result.append(msgspec.structs.replace(row, paced=paced))
    return result
