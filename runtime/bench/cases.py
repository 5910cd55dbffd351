"""What can be timed of a bundle on this machine: a file, a backend, and one kind of call."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.framing import fit, padding_samples
from frcrn_export.runtime.audio.stft import Stft
from frcrn_export.runtime.bench.counters import made_for_processors
from frcrn_export.runtime.bench.result import Kind, Row
from frcrn_export.runtime.bundle.audio_cost import calls_a_second
from frcrn_export.runtime.bundle.manifest import FileEntry, Manifest
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.bundle.remedies import streaming_hint
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import BackendError, UserError
from frcrn_export.runtime.gpu import first_gpu
from frcrn_export.runtime.processors import usable_processors
from frcrn_export.runtime.sessions.choose import engine_entries
from frcrn_export.runtime.sessions.registry import (
    BACKENDS,
    ENGINE_BACKENDS,
    RUNS_CODE,
    is_installed,
    require_backend,
)
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from frcrn_export.runtime.streaming.multi import MultiStream
from frcrn_export.runtime.streaming.network import network_of
from frcrn_export.runtime.streaming.session import STREAM_BACKENDS, open_stream_entry, rows_of
from frcrn_export.runtime.text import quoted
from frcrn_export.runtime.verify.parity import read_cases

Call = Callable[[], object]

GPU_BACKENDS = ("onnxruntime-cuda", *ENGINE_BACKENDS)
_OFFLINE_ROLES = ("core", "pipeline")
_NOISE_LEVEL = 0.05  # of the stand-in for speech, where a bundle has none


@dataclass(frozen=True)
class Wanted:
    """What to time. Empty sequences mean what fits the machine.

    `files`: paths in the bundle. `lengths`: of recordings in seconds. `batches`: recordings in one
    call of the core. `streams`: streams in one call.
    """

    files: Sequence[str] = ()
    backends: Sequence[str] = ()
    kinds: Sequence[Kind] = ("offline", "core", "hop", "hops")
    threads: Sequence[int] = ()
    lengths: Sequence[float] = (4.0,)
    batches: Sequence[int] = (1, 4)
    streams: Sequence[int] = (4, 16)


@dataclass(frozen=True)
class Case:
    """One row to be: a file, the backend, and what one call of it is.

    `seconds` is the audio of one row of the batch.
    """

    entry: FileEntry
    backend: str
    kind: Kind
    threads: int
    batch: int
    seconds: float

    def row(self, bundle: Bundle) -> Row:
        """The row without its measurement."""
        return Row(
            path=self.entry.path,
            backend=self.backend,
            kind=self.kind,
            precision=self.entry.precision,
            threads=self.threads,
            batch=self.batch,
            audio_seconds=self.batch * self.seconds,
            command=self.command(bundle),
        )

    def command(self, bundle: Bundle) -> str:
        """The command that measures this row alone."""
        words = [
            f"frcrn-export bench {quoted(bundle.path)} --file {quoted(self.entry.path)}",
            f"--backend {self.backend} --kind {self.kind} --threads {self.threads}",
        ]
        if self.kind in ("offline", "core"):
            words.append(f"--length {self.seconds:g}")
        if self.kind == "core":
            words.append(f"--batch {self.batch}")
        if self.kind == "hops":
            words.append(f"--streams {self.batch}")
        return " ".join(words)

    def open(self, bundle: Bundle, speech: Float32Array) -> Call:
        """Open the file; each call of the result is one call of the row.

        Args:
            bundle: The bundle of the file.
            speech: [N] speech at the bundle's rate, repeated as needed.

        Raises:
            BackendError: The file cannot be opened here.
        """
        if self.kind in ("hop", "hops"):
            return self._stream(bundle, speech)
        session = BACKENDS[self.backend].open(bundle, self.entry, self.threads)
        if self.kind == "offline":
            denoiser = Denoiser(bundle.manifest, session)
            wave = self.wave(bundle.manifest, speech)
            return lambda: denoiser(wave)
        inputs = core_input(bundle.manifest, self.wave(bundle.manifest, speech), self.batch)
        return lambda: session.run(inputs)

    def wave(self, manifest: Manifest, speech: Float32Array) -> Float32Array:
        """Speech [N], cut or repeated to the length of a recording."""
        samples = round(self.seconds * manifest.sample_rate)
        return np.resize(speech, samples).astype(np.float32)

    def open_stream(self, bundle: Bundle) -> StreamingDenoiser:
        """One stream of the file."""
        session = open_stream_entry(bundle, self.entry, self.backend, self.threads)
        return StreamingDenoiser(network_of(bundle, session))

    def _stream(self, bundle: Bundle, speech: Float32Array) -> Call:
        size = round(self.seconds * bundle.manifest.sample_rate)
        whole = np.resize(speech, max(1, len(speech) // size) * size)
        chunks = cycle(whole.astype(np.float32).reshape(-1, size))
        if self.kind == "hop":
            denoiser = self.open_stream(bundle)
            return lambda: denoiser.process(next(chunks))
        session = open_stream_entry(
            bundle, self.entry, self.backend, self.threads, batch=self.batch
        )
        streams = MultiStream(network_of(bundle, session), self.batch)
        numbers = [streams.add() for _ in range(self.batch)]
        return lambda: streams.process({number: next(chunks) for number in numbers})


def hop_of(
    manifest: Manifest, entry: FileEntry, backend: str, threads: int, streams: int = 1
) -> Case:
    """A call of a streaming core: a hop of one stream, or of a batch of them."""
    kind: Kind = "hop" if streams == 1 else "hops"
    return Case(entry, backend, kind, threads, streams, 1 / calls_a_second(manifest, entry))


def core_input(manifest: Manifest, wave: Float32Array, batch: int) -> Float32Array:
    """Equal rows of a wave [N] as the core takes them, [B, ...]."""
    padded = fit(wave[None], len(wave) + padding_samples(len(wave), manifest.padding))
    row = Stft(manifest.stft).analysis(padded) if manifest.stft else padded[:, None]
    return np.ascontiguousarray(np.repeat(row, batch, axis=0))


def speech_of(bundle: Bundle) -> Float32Array:
    """The speech [N] among the bundle's parity vectors, or noise of its level without any."""
    if bundle.manifest.file("parity", "npz") is not None:
        for case in read_cases(bundle):
            if (case.stage, case.name) == ("pipeline", "speech"):
                return case.input
    noise = np.random.default_rng(0).standard_normal(4 * bundle.manifest.sample_rate)
    return (_NOISE_LEVEL * noise).astype(np.float32)


@dataclass
class Found:
    """The cases of a bundle, and why other files have none."""

    cases: list[Case] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def find_cases(bundle: Bundle, wanted: Wanted) -> Found:
    """Every file and backend of a bundle that can run here.

    Raises UserError for a file that is not in the bundle and where nothing is left to time,
    BackendError for a backend that is unknown or not installed.
    """
    names = [entry.path for entry in bundle.manifest.files]
    for name in wanted.files:
        if name not in names:
            raise UserError(f"{bundle.path}: no file {name!r}; there are: {', '.join(names)}")
    for name in wanted.backends:
        require_backend(name)
        if name == "onnxruntime-cuda" and not _has_device(name):
            raise BackendError(
                f"{name}: the installed ONNX Runtime has no CUDA; run: frcrn-export doctor"
            )
    found = Found()
    for entry in bundle.manifest.files:
        if wanted.files and entry.path not in wanted.files:
            continue
        if entry.role not in (*_OFFLINE_ROLES, "core_streaming"):
            continue
        if why := _why_not(bundle, entry, wanted):
            found.left_out[entry.path] = why
            continue
        for backend in _backends(bundle, entry, wanted):
            found.cases += _of_file(bundle.manifest, entry, backend, wanted)
    if not found.cases:
        reasons = "; ".join(f"{path}: {why}" for path, why in found.left_out.items())
        raise UserError(
            f"{bundle.path}: nothing in it to time here ({reasons or _no_rows(bundle, wanted)})"
        )
    return found


def _no_rows(bundle: Bundle, wanted: Wanted) -> str:
    """Why none of the wanted files has a row of a wanted kind."""
    asked = " ".join(
        (
            *(f"--file {quoted(name)}" for name in wanted.files),
            *map("--kind {}".format, wanted.kinds),
        )
    )
    streaming = "core_streaming" in {entry.role for entry in bundle.manifest.files}
    there = "cores have the kinds offline and core, streaming cores hop and hops"
    lacks = "" if streaming else f"; there is no streaming core: {streaming_hint(bundle.manifest)}"
    return f"no rows of {asked}; {there}{lacks}"


def _why_not(bundle: Bundle, entry: FileEntry, wanted: Wanted) -> str:
    """Why a file is not timed, "" if it is."""
    if entry.format == "torchscript" and "torchscript" not in wanted.backends:
        return f"{RUNS_CODE}; add --backend torchscript"
    backends = _backends(bundle, entry, wanted)
    if not backends and wanted.backends:
        return f"no file for {', '.join(wanted.backends)}"
    if not backends:
        return "no backend here runs it; run: frcrn-export doctor"
    on_processor = all(name not in GPU_BACKENDS for name in backends)
    unasked = entry.format == "onnx" and on_processor and entry.path not in wanted.files
    if unasked and not made_for_processors(entry):
        return f"made for GPUs, slow on a processor; to time it: --file {quoted(entry.path)}"
    return ""


def _backends(bundle: Bundle, entry: FileEntry, wanted: Wanted) -> list[str]:
    """The backends that run a file here."""
    names = wanted.backends or [
        name
        for name in ("onnxruntime-cpu", *GPU_BACKENDS)
        if is_installed(BACKENDS[name].package) and _has_device(name)
    ]
    return [name for name in names if _takes(bundle, entry, name)]


def _takes(bundle: Bundle, entry: FileEntry, backend: str) -> bool:
    found = BACKENDS[backend]
    if entry.role == "core_streaming" and backend not in STREAM_BACKENDS:
        return False
    if found.engines is not None:
        return entry.engine is not None and entry in engine_entries(bundle, found.engines)
    return found.takes(entry)


def _has_device(backend: str) -> bool:
    """Whether what a backend runs on is here; builders of engines are installed without a GPU."""
    if backend == "onnxruntime-cuda":
        import onnxruntime

        return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if backend not in ENGINE_BACKENDS:
        return True
    try:
        first_gpu()
    except BackendError:
        return False
    return True


def _of_file(manifest: Manifest, entry: FileEntry, backend: str, wanted: Wanted) -> Iterator[Case]:
    on_gpu = backend in GPU_BACKENDS
    processors = (1,) if on_gpu else tuple(dict.fromkeys((1, usable_processors())))
    if entry.streaming is not None:
        rows = rows_of(entry) if entry.engine else None
        for threads in wanted.threads or (1,):
            hop = hop_of(manifest, entry, backend, threads)
            if "hop" in wanted.kinds and rows in (None, 1):
                yield hop
            if "hops" in wanted.kinds and rows != 1:
                for streams in (rows,) if rows else wanted.streams:
                    yield replace(hop, kind="hops", batch=streams)
        return
    for seconds in wanted.lengths:
        if "offline" in wanted.kinds:
            for threads in wanted.threads or processors:
                yield Case(entry, backend, "offline", threads, 1, seconds)
        if "core" in wanted.kinds and entry.role == "core":
            for batch in wanted.batches:
                for threads in wanted.threads or processors[-1:]:
                    yield Case(entry, backend, "core", threads, batch, seconds)
