"""How many streams a machine holds, and which way of running them is worth it.

A way of running is a streaming core, a backend, threads a call, and workers: threads of Python that
each have a batch of streams. A number of streams is held if 99 of 100 calls, of all workers at
once, take no longer than the audio of a hop lasts: without a pause, and at real-time pace.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter, sleep

import msgspec
import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bench.cases import Wanted, find_cases, speech_of
from frcrn_export.runtime.bench.machine import processor_seconds
from frcrn_export.runtime.bench.measure import Progress
from frcrn_export.runtime.bench.result import CapacityRow
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.errors import UserError, reason
from frcrn_export.runtime.processors import usable_processors
from frcrn_export.runtime.streaming.multi import MultiStream
from frcrn_export.runtime.streaming.network import network_of
from frcrn_export.runtime.streaming.session import open_stream_entry, rows_of
from frcrn_export.runtime.text import quoted

_PROBE_SECONDS, _FEWEST_CALLS = 0.7, 40
_MOST_STREAMS = 1_024  # of a worker
_PACED_SECONDS = 3.0
_MOST_LATE = 0.01


@dataclass(frozen=True)
class Way:
    """One way of running streams of a bundle."""

    bundle: Bundle
    entry: FileEntry
    backend: str
    threads: int
    workers: int
    hop: int  # samples

    @property
    def hop_ms(self) -> float:
        """How long the audio of a call lasts."""
        return 1e3 * self.hop / self.bundle.manifest.sample_rate


def ways(bundles: Iterable[Bundle], wanted: Wanted) -> Iterator[Way]:
    """The ways of running the streaming cores of bundles here.

    One thread a call with as many workers as there are processors, and one worker whose calls have
    all threads. Raises UserError where a bundle has no streaming core that runs here.
    """
    processors = usable_processors()
    for bundle in bundles:
        streams = Wanted(
            files=wanted.files, backends=wanted.backends, kinds=("hop", "hops"), streams=(1,)
        )
        seen = set()
        for case in find_cases(bundle, streams).cases:
            if (case.entry.path, case.backend) in seen:
                continue
            seen.add((case.entry.path, case.backend))
            hop = round(case.seconds * bundle.manifest.sample_rate)
            on_gpu = not case.backend.startswith("onnxruntime-cpu")
            pairs = {(1, 1)} if on_gpu else {(1, processors), (processors, 1)}
            for threads, workers in sorted(pairs):
                yield Way(bundle, case.entry, case.backend, threads, workers, hop)


@dataclass
class _Probe:
    """What calls took with so many streams in every worker."""

    times: list[float] = field(default_factory=list)
    processor: float = 0.0  # of a call of one worker
    failed: str = ""

    @property
    def p99_ms(self) -> float:
        return 1e3 * float(np.percentile(self.times, 99)) if self.times else float("inf")


class _Workers:
    """The sessions of a way, opened once; every worker has its own."""

    def __init__(self, way: Way, speech: Float32Array) -> None:
        self._way = way
        rows = rows_of(way.entry)
        self._streams = [
            MultiStream(
                network_of(
                    way.bundle,
                    open_stream_entry(way.bundle, way.entry, way.backend, way.threads, rows),
                )
            )
            for _ in range(way.workers)
        ]
        self._numbers: list[list[int]] = [[] for _ in self._streams]
        size = max(1, len(speech) // way.hop)
        self._chunks = np.resize(speech, size * way.hop).astype(np.float32).reshape(-1, way.hop)

    def probe(self, streams: int, seconds: float, *, pace: bool = False) -> _Probe:
        """Run all workers at once, each with so many streams; `pace`: at real-time pace."""
        for multi, numbers in zip(self._streams, self._numbers, strict=True):
            while len(numbers) < streams:
                numbers.append(multi.add())
            while len(numbers) > streams:
                multi.remove(numbers.pop())
        probes = [_Probe() for _ in self._streams]
        ready = threading.Barrier(len(probes))
        before = processor_seconds()
        threads = [
            threading.Thread(
                target=self._run, args=(index, probe, ready, seconds, pace), daemon=True
            )
            for index, probe in enumerate(probes)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        times = [time for probe in probes for time in probe.times]
        failed = next((probe.failed for probe in probes if probe.failed), "")
        spent = (processor_seconds() - before) / max(1, len(times))
        return _Probe(times, spent, failed)

    def _run(
        self, index: int, probe: _Probe, ready: threading.Barrier, seconds: float, pace: bool
    ) -> None:
        """Calls of one worker. At real-time pace a time is from the arrival of the samples on."""
        multi, numbers = self._streams[index], self._numbers[index]
        period, calls = self._way.hop_ms / 1e3, 0
        try:
            for warm in range(3):
                multi.process(dict.fromkeys(numbers, self._chunks[warm % len(self._chunks)]))
            ready.wait()
            began = perf_counter()
            while calls < _FEWEST_CALLS or perf_counter() < began + seconds:
                arrived = began + (calls + 1) * period if pace else perf_counter()
                if (wait := arrived - perf_counter()) > 0:
                    sleep(wait)
                multi.process(dict.fromkeys(numbers, self._chunks[calls % len(self._chunks)]))
                probe.times.append(perf_counter() - arrived)
                calls += 1
                if not pace and probe.times[-1] > 8 * period and calls >= 3:
                    break  # far too many
        except Exception as error:  # of one worker: none holds this many
            ready.abort()
            probe.failed = reason(error)


def measure_capacity(
    bundles: Sequence[Bundle],
    wanted: Wanted,
    progress: Progress = lambda what, done, all_: None,
) -> list[CapacityRow]:
    """The streams that each way of running holds, and which ways are worth it.

    Args:
        bundles: Of one model: with other chunks, look-aheads, precisions.
        wanted: Its files and backends.
        progress: Called with what is measured, the ways done, and their number.

    Returns:
        A row for each way. `on_front`: no other has less delay, less processor time and a better
        SNR, or is better in one and equal in the others.

    Raises:
        UserError: A bundle has no streaming core that runs here, or the models differ.
    """
    models = {bundle.manifest.model for bundle in bundles}
    if len(models) > 1:
        raise UserError(
            f"{', '.join(sorted(models))}: one model at a time; run bench for each of them"
        )
    found = list(ways(bundles, wanted))
    rows = []
    for number, way in enumerate(found):
        progress(f"streams of {way.entry.path}, {way.threads} threads", number, len(found))
        rows.append(_row(way))
    return mark_front(rows)


def _row(way: Way) -> CapacityRow:
    workers = _Workers(way, speech_of(way.bundle))
    engine, least = way.entry.engine, rows_of(way.entry)
    most = least if engine else _MOST_STREAMS
    held, probe = search(
        lambda streams: workers.probe(streams, _PROBE_SECONDS),
        lambda probe: not probe.failed and probe.p99_ms <= way.hop_ms,
        least,
        most,
    )
    # At real-time pace caches cool down between calls, and all workers are called at once.
    paced = _Probe()
    while held:
        paced = workers.probe(held, _PACED_SECONDS, pace=True)
        if _late(paced, way) <= _MOST_LATE * len(paced.times):
            break
        held = 0 if engine else held - max(1, held // 8)
    single = workers.probe(least, _PROBE_SECONDS)
    latency = (
        network_of(
            way.bundle, open_stream_entry(way.bundle, way.entry, way.backend, way.threads, least)
        )
        .transform()
        .latency
    )
    rate = way.bundle.manifest.sample_rate
    share = probe.processor / max(1, held or least) / (way.hop_ms / 1e3)
    return CapacityRow(
        bundle=str(way.bundle.path),
        path=way.entry.path,
        precision=way.entry.precision,
        backend=way.backend,
        threads=way.threads,
        workers=way.workers,
        streams=held * way.workers,
        hop_ms=way.hop_ms,
        p99_ms=probe.p99_ms if probe.times else 0.0,
        single_ms=1e3 * float(np.median(single.times)) if single.times else 0.0,
        delay_ms=1e3 * latency.samples / rate,
        processor_share=share,
        snr_db=worst_snr(way.bundle, way.entry),
        missed=_late(paced, way),
        hops=len(paced.times),
        command=_command(way, held),
        failed=probe.failed,
    )


def _late(probe: _Probe, way: Way) -> int:
    return sum(time > way.hop_ms / 1e3 for time in probe.times)


def search(
    probe: Callable[[int], _Probe], holds: Callable[[_Probe], bool], least: int, most: int
) -> tuple[int, _Probe]:
    """The largest number that holds, by doubling and then halving, and its probe.

    0 and the probe of `least` where not even that holds.
    """
    low, best = 0, probe(least)
    if not holds(best):
        return 0, best
    low, high = least, least
    while high < most:
        high = min(most, 2 * low)
        found = probe(high)
        if not holds(found):
            break
        low, best = high, found
    else:
        return low, best
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        found = probe(middle)
        if holds(found):
            low, best = middle, found
        else:
            high = middle
    return low, best


def mark_front(rows: Sequence[CapacityRow]) -> list[CapacityRow]:
    """The rows; those that no other is better than in delay, processor time and SNR are marked."""

    def beats(other: CapacityRow, row: CapacityRow) -> bool:
        ours = (row.delay_ms, row.processor_share, -row.snr_db)
        theirs = (other.delay_ms, other.processor_share, -other.snr_db)
        return theirs != ours and all(a <= b for a, b in zip(theirs, ours, strict=True))

    usable = [row for row in rows if row.streams]
    return [
        msgspec.structs.replace(
            row, on_front=row.streams > 0 and not any(beats(other, row) for other in usable)
        )
        for row in rows
    ]


def recommended(rows: Sequence[CapacityRow]) -> CapacityRow | None:
    """Of the rows on the front that holds the most streams; None where none holds one."""
    front = [row for row in rows if row.on_front]
    return max(front, key=lambda row: (row.streams, -row.delay_ms), default=None)


def worst_snr(bundle: Bundle, entry: FileEntry) -> float:
    """The worst comparison of a file with its reference when it was made, in dB.

    For a quantized file the mean that its gate measured; 0 where nothing was.
    """
    values = [each.snr_db for each in bundle.manifest.parity if each.artifact == entry.path]
    if not values and entry.quantization is not None:
        gates = (gate.value for gate in entry.quantization.gates if gate.name == "core_snr")
        values = [value for value in gates if value is not None]
    return min(values, default=0.0)


def _command(way: Way, streams: int) -> str:
    """The command for one stream, the line of Python for more in each worker."""
    if streams > 1:
        options = f'"{way.backend}", threads={way.threads}, max_streams={streams}'
        if way.entry.precision != "fp32":
            options += f', precision="{way.entry.precision}"'
        return f"frcrn_export.MultiStream.open({str(way.bundle.path)!r}, {options})"
    words = f"frcrn-export stream {quoted(way.bundle.path)} --threads {way.threads}"
    if way.entry.precision != "fp32":
        words += f" --precision {way.entry.precision}"
    return words + (f" --backend {way.backend}" if way.entry.engine else "")
