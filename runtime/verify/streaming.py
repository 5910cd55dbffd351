"""The self-test of streams: parity with the offline network, delay, and pace.

Runs on the bundle's own speech and needs neither torch nor the checkpoint.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.level import measure_gain
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import export_again, make_again
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import BundleError, CheckFailed, UserError
from frcrn_export.runtime.sessions.registry import BACKENDS, require_backend
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from frcrn_export.runtime.streaming.session import require_streaming
from frcrn_export.runtime.streaming.transforms import Latency
from frcrn_export.runtime.text import quoted
from frcrn_export.runtime.verify.parity import FLOOR_DB, Case, compare, read_cases
from frcrn_export.runtime.verify.stream_parity import stream_denoiser
from frcrn_export.runtime.verify.streaming_parity import StreamedCore, open_streamed

_PERCENTILES = (50, 90, 99, 100)


@dataclass(frozen=True)
class Pace:
    """How a stream kept up: the time to compute a chunk of `chunk_ms`, and how many were late.

    A chunk is late when it is not done before the samples of the next one have arrived. Where the
    processor does other work, chunks wait for it: `latest_ms` is the longest from the arrival of a
    chunk's last sample until it was done, waiting included.
    """

    chunks: int
    chunk_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    latest_ms: float
    deadline_misses: int

    @property
    def waited(self) -> bool:
        """Whether chunks were late that had waited: computing them took less than they last."""
        return self.deadline_misses > 0 and self.max_ms <= self.chunk_ms


def keep_pace(
    denoiser: StreamingDenoiser,
    wave: Float32Array,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Pace:
    """Give `denoiser` the wave [N], again and again, each chunk when a microphone would have it.

    It takes `seconds`.
    """
    denoiser.reset()
    size = denoiser.latency.chunk
    period = size / denoiser.sample_rate
    count = max(1, ceil(seconds / period))
    chunks = np.resize(wave, (count, size))  # repeats the wave
    times: list[float] = []
    misses, latest = 0, 0.0
    start = clock()
    for index, chunk in enumerate(chunks, 1):
        arrival = start + index * period
        if (wait := arrival - clock()) > 0:
            sleep(wait)
        began = clock()
        denoiser.process(chunk)
        done = clock()
        times.append(done - began)
        latest = max(latest, done - arrival)
        misses += done > arrival + period
    p50, p90, p99, slowest = (1e3 * float(value) for value in np.percentile(times, _PERCENTILES))
    return Pace(count, 1e3 * period, p50, p90, p99, slowest, 1e3 * latest, misses)


Progress = Callable[[str], None]

_REFERENCE_BACKEND = "onnxruntime-cpu"
_BLOCK = 1_000  # samples, no multiple of any hop
_LAG_SECONDS = 1.0  # of output


@dataclass(frozen=True)
class Match:
    """A stream against its expected output. `floor_db` None: they may differ."""

    case: str
    snr_db: float
    max_abs: float
    floor_db: float | None

    @property
    def passed(self) -> bool:
        """Whether it reaches its floor."""
        return self.floor_db is None or self.snr_db >= self.floor_db


@dataclass(frozen=True)
class StreamReport:
    """The results of one streaming core.

    `latency` is the stated delay, `lag_samples` the measured one. `pace` is None for ONNX files
    that only serve to build engines (float16, or quantized for TensorRT): they are slow on a CPU.
    `make_again`: what to do after a failure.
    """

    artifact: str
    backend: str
    matches: tuple[Match, ...]
    latency: Latency
    lag_samples: int
    pace: Pace | None
    make_again: str

    @property
    def passed(self) -> bool:
        """Whether the samples match and the delay is the stated one."""
        matches = all(match.passed for match in self.matches)
        return matches and self.lag_samples == self.latency.samples


def check_streams(
    bundle: Bundle,
    backends: tuple[str, ...] = (),
    seconds: float = 5.0,
    progress: Progress = lambda step: None,
) -> list[StreamReport]:
    """Check every streaming core of a bundle that runs here, as `open_streamed` opens them.

    `seconds`: how long each runs at real-time pace. Raises BundleError where there is no streaming
    core, no offline core or no speech, BackendError where a backend cannot run, UserError where
    none runs a streaming core.
    """
    require_streaming(bundle, windows=False)
    for backend in backends:
        require_backend(backend)
    cases = read_cases(bundle)
    offline = _offline(bundle)
    wave = _speech(bundle, cases)
    progress("running the offline network")
    expected = offline(wave, bundle.manifest.sample_rate)
    streamed_cases = [case for case in cases if case.stage == "streaming"]
    exact = _is_offline_network(offline, streamed_cases)
    reports = []
    for core in open_streamed(bundle, backends):
        progress(f"streaming through {core.label}")
        matches = [] if exact else list(_vectors(core, streamed_cases))
        denoiser = _denoiser(bundle, core, wave)
        output = _whole(denoiser, wave)
        matches.insert(0, _match(core, "offline", expected, output, exact))
        # A result that differs from offline cannot be located in it to the sample.
        lag = measure_lag(denoiser, wave, expected if exact else output)
        pace = None
        if _is_made_to_run(core.entry):
            progress(f"{core.label} at real-time pace, {seconds:g} s")
            pace = keep_pace(denoiser, wave, seconds)
        reports.append(
            StreamReport(
                core.label,
                core.session.backend,
                tuple(matches),
                denoiser.latency,
                lag,
                pace,
                f"run: {make_again(bundle.path, bundle.manifest, core.entry)}",
            )
        )
    if not reports:
        raise UserError(
            f"{bundle.path}: no backend here runs its streaming cores; run: frcrn-export doctor"
        )
    return reports


def _is_made_to_run(entry: FileEntry) -> bool:
    """Whether a file runs as it is, and does not only serve to build engines."""
    for_cpu = entry.quantization is not None and entry.quantization.target == "cpu"
    return for_cpu or entry.precision == "fp32" or entry.engine is not None


def require_streams(reports: Sequence[StreamReport]) -> None:
    """Raise CheckFailed naming the first report that did not pass, if there is one."""
    for report in reports:
        for match in report.matches:
            if not match.passed:
                raise CheckFailed(
                    f"{report.artifact}, {match.case}: {match.snr_db:.1f} dB, at least "
                    f"{match.floor_db:.0f} dB needed; {report.make_again}"
                )
        if not report.passed:
            raise CheckFailed(
                f"{report.artifact}: its output is {report.lag_samples} samples late, "
                f"{report.latency.samples} were expected; {report.make_again}"
            )


def measure_lag(denoiser: StreamingDenoiser, wave: Float32Array, expected: Float32Array) -> int:
    """The delay of a stream in samples, measured on the wave [N].

    The wave goes in sample by sample; the output is played without a gap, as late as that requires.
    The delay is the lag of the largest cross-correlation with `expected` [N].
    """
    denoiser.reset()
    count = min(len(wave), denoiser.latency_samples + int(_LAG_SECONDS * denoiser.sample_rate))
    played: list[Float32Array] = []
    returned = late = 0
    for given in range(1, count + 1):
        samples = denoiser.process(wave[given - 1 : given])
        if len(samples):
            late = max(late, given - returned)
            returned += len(samples)
            played.append(samples)
    heard = np.concatenate([np.zeros(late, np.float32), *played])
    size = 2 * max(len(heard), count)
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(expected[:count], size))
    lag = int(np.argmax(np.fft.irfft(spectrum, size)))
    return lag if lag <= size // 2 else lag - size


def _speech(bundle: Bundle, cases: Sequence[Case]) -> Float32Array:
    found = [case.input for case in cases if (case.stage, case.name) == ("pipeline", "speech")]
    if not found:
        again = export_again(bundle.manifest)
        raise BundleError(f"{bundle.path}: no speech among its parity vectors; run: {again}")
    return found[0]


def _offline(bundle: Bundle) -> Denoiser:
    """The whole utterance at once, in float32."""
    entry: FileEntry | None = bundle.manifest.file("core", "onnx")
    if entry is None:
        stored = f"frcrn-export verify {quoted(bundle.path)}"
        raise BundleError(
            f"{bundle.path}: no core.onnx to compare streams with, as in a bundle that was packed "
            f"for streams; compare with the stored outputs: {stored}"
        )
    require_backend(_REFERENCE_BACKEND)
    manifest = bundle.manifest.with_high_pass(False)
    return Denoiser(manifest, BACKENDS[_REFERENCE_BACKEND].open(bundle, entry, None))


def _is_offline_network(offline: Denoiser, cases: Sequence[Case]) -> bool:
    """Whether the streams equal the offline network, which a reduced look-ahead does not."""
    floor = FLOOR_DB["fp32"]
    first = cases[:1]
    matches = (compare("", "", c.output, offline.session.run(c.input), None) for c in first)
    return all(match.snr_db >= floor for match in matches)


def _denoiser(bundle: Bundle, core: StreamedCore, wave: Float32Array) -> StreamingDenoiser:
    """A denoiser at the offline gain: the causal gain would change the network's input."""
    gain = float(measure_gain(lambda: [wave[None]], bundle.manifest.level)[0])
    return stream_denoiser(bundle, core, gain)


def _whole(denoiser: StreamingDenoiser, wave: Float32Array) -> Float32Array:
    parts = [denoiser.process(wave[i : i + _BLOCK]) for i in range(0, len(wave), _BLOCK)]
    return np.concatenate([*parts, denoiser.flush()])


def _match(
    core: StreamedCore, case: str, expected: Float32Array, output: Float32Array, held: bool
) -> Match:
    result = compare(core.label, case, expected, output, core.entry)
    return Match(case, result.snr_db, result.max_abs, result.floor_db if held else None)


def _vectors(core: StreamedCore, cases: Sequence[Case]) -> Iterator[Match]:
    for case in cases:
        name = f"{case.stage}.{case.name}"
        yield _match(core, name, case.output, core(case.input), held=True)
