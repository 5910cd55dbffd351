"""`result.json`: what a run of `bench` measured, with all that is needed to measure it again."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from frcrn_export.runtime.bench.gpu_state import GpuCourse
from frcrn_export.runtime.bench.machine import Machine
from frcrn_export.runtime.bundle.manifest import (
    Bytes,
    Format,
    ParityResult,
    Precision,
    RelativePath,
    Role,
)
from frcrn_export.runtime.errors import UserError, reading
from frcrn_export.runtime.text import counted

RESULT_NAME = "result.json"
_MOST_BYTES = 64 << 20

Text = Annotated[str, Meta(max_length=4_000)]
Count = Annotated[int, Meta(ge=0, le=2**62)]
Number = Annotated[float, Meta(ge=0, le=1e15)]
Milliseconds = Annotated[float, Meta(ge=0, le=1e9)]
# What ratios are taken of.
Duration = Annotated[float, Meta(gt=0, le=1e9)]
Counts = Annotated[dict[str, Count], Meta(max_length=4_096)]

# `offline`: the whole pipeline on one recording. `core`: the network alone on a batch of equal
# recordings. `hop`: one call of a stream, flat out. `hops`: one call of a batch of streams.
Kind = Literal["offline", "core", "hop", "hops"]


class FileCounters(Struct, frozen=True, kw_only=True):
    """What is exact about one file: equal in every run, on every machine of the same kernels.

    `operators` are the file's nodes, `optimised` those of the graph as ONNX Runtime runs it on this
    processor (empty where it was not looked at). `flop` are floating-point operations for a second
    of audio, None where they do not follow from shapes. `layers` are an engine's nodes by operator
    and data type. `calls` are the network's calls for a second of audio, `state_bytes` those of a
    stream. `activation_bytes` and `weights_bytes` are the GPU memory that an engine takes: of one
    execution context at the profile's maximum, and of its weights; None where its builder did not
    say.
    """

    path: RelativePath
    role: Role
    format: Format
    precision: Precision
    bytes: Bytes
    operators: Counts = {}
    optimised: Counts = {}
    parameters: Count = 0
    flop: Count | None = None
    layers: Annotated[dict[str, Counts], Meta(max_length=4_096)] = {}
    calls: Number = 1.0
    state_bytes: Bytes = 0
    activation_bytes: Bytes | None = None
    weights_bytes: Bytes | None = None


class Cold(Struct, frozen=True, kw_only=True):
    """A file in a process of its own: time to open it, the first run after that, memory.

    `peak_bytes` is the most memory of the whole process, `added_bytes` what of it came after the
    imports; None where the system does not say. `device_bytes` is the GPU memory that an engine
    took until it had run, CUDA's own apart, and None for other files; other processes on the GPU
    count in it.
    """

    path: RelativePath
    backend: str
    load_ms: Milliseconds
    first_ms: Milliseconds
    peak_bytes: Bytes | None
    added_bytes: Bytes | None
    device_bytes: Bytes | None = None


class PacedStream(Struct, frozen=True, kw_only=True):
    """A stream at real-time pace: what a hop takes, and how many were not done in time.

    `latest_ms` is the longest from the arrival of a hop's last sample until it was done, with the
    time that it waited for the processor.
    """

    hops: Count
    p50_ms: Milliseconds
    p99_ms: Milliseconds
    max_ms: Milliseconds
    latest_ms: Milliseconds = 0.0
    missed: Count


class Summary(Struct, frozen=True, kw_only=True):
    """Of `samples` in ms. `low` and `high` are the 95 % interval of the median over rounds."""

    median: Duration
    low: Duration
    high: Duration
    mean: Milliseconds
    p90: Milliseconds
    p95: Milliseconds
    p99: Milliseconds
    max: Milliseconds


class Parts(Struct, frozen=True, kw_only=True):
    """A call of a network on a GPU in ms, in the parts and the words of trtexec.

    `h2d` and `d2h` are the copies to and from the GPU, `compute` is the network; `enqueue` is what
    the host takes to start the network.
    """

    h2d: Milliseconds
    compute: Milliseconds
    d2h: Milliseconds
    enqueue: Milliseconds


class Row(Struct, frozen=True, kw_only=True):
    """One thing that was timed. `samples` has the time of each call in ms, round after round.

    `audio_seconds` is the audio of one call, over all of the batch. `processor_ms` is the processor
    time of a call over all threads. `parts` are medians; engines have them, in the kinds whose
    calls are each one call of the network (all but `offline`). `command` measures the row again.
    `failed` says why there are no samples, or fewer.
    """

    path: RelativePath
    backend: Annotated[str, Meta(max_length=64)]
    kind: Kind
    precision: Precision
    threads: Annotated[int, Meta(ge=1, le=65_536)]
    batch: Annotated[int, Meta(ge=1, le=2**20)]
    audio_seconds: Annotated[float, Meta(gt=0, le=1e6)]
    rounds: Annotated[
        tuple[Annotated[tuple[Milliseconds, ...], Meta(max_length=100_000)], ...],
        Meta(max_length=100_000),
    ] = ()
    processor_ms: Milliseconds = 0.0
    summary: Summary | None = None
    paced: PacedStream | None = None
    parts: Parts | None = None
    command: Text = ""
    failed: Text = ""

    @property
    def key(self) -> tuple[str, str, str, int, int, float]:
        """What tells it from the other rows of a result."""
        return (
            self.path,
            self.backend,
            self.kind,
            self.threads,
            self.batch,
            round(self.audio_seconds, 6),
        )

    @property
    def samples(self) -> tuple[float, ...]:
        """The times of all calls in ms."""
        return tuple(value for each in self.rounds for value in each)

    @property
    def real_time_factor(self) -> float | None:
        """Time over audio; None without a measurement."""
        return None if self.summary is None else self.summary.median / 1e3 / self.audio_seconds

    @property
    def label(self) -> str:
        """The row in words."""
        return f"{self.path}, {self.backend}, {self.what}, {counted(self.threads, 'thread')}"

    @property
    def what(self) -> str:
        """What one call is, in words."""
        each = self.audio_seconds / self.batch
        if self.kind == "offline":
            return f"pipeline, {each:g} s"
        if self.kind == "core":
            return f"core, {self.batch} x {each:g} s"
        hop = f"hop of {1e3 * each:g} ms"
        if self.kind == "hop":
            return hop
        return f"{hop}, {counted(self.batch, 'stream')}"


class CapacityRow(Struct, frozen=True, kw_only=True):
    """One way of running streams, and how many it holds; see `capacity`.

    `workers` threads of Python have a batch of streams each, every call has `threads`. `p99_ms` is
    that of a call with all `streams`, `single_ms` the median with one in each worker, both without
    a pause; `missed` of `hops` calls were late at real-time pace. `delay_ms` is the algorithmic
    delay; `processor_share` the share of one processor that a stream takes; `snr_db` the worst
    comparison with the reference.
    """

    bundle: Text
    path: RelativePath
    precision: Precision
    backend: Annotated[str, Meta(max_length=64)]
    threads: Annotated[int, Meta(ge=1, le=65_536)]
    workers: Annotated[int, Meta(ge=1, le=65_536)]
    streams: Count
    hop_ms: Milliseconds
    p99_ms: Milliseconds
    single_ms: Milliseconds
    delay_ms: Milliseconds
    processor_share: Number
    snr_db: Annotated[float, Meta(ge=-1_000, le=1_000)]
    missed: Count
    hops: Count
    on_front: bool = False
    command: Text = ""
    failed: Text = ""


class Slope(Struct, frozen=True, kw_only=True):
    """How time grows with the length of a recording in seconds, or with streams in a call.

    `exponent` 1 is in proportion; `each_ms` is what one more of them adds.
    """

    path: RelativePath
    backend: Annotated[str, Meta(max_length=64)]
    along: Literal["length", "streams"]
    threads: Annotated[int, Meta(ge=1, le=65_536)]
    points: Count
    least: Number
    most: Number
    exponent: Annotated[float, Meta(ge=-100, le=100)]
    each_ms: Milliseconds


class LayerRate(Struct, frozen=True, kw_only=True):
    """One node of a graph as ONNX Runtime runs it: its median time, and its rates.

    `reached` is its rate over what the machine attains for its operations and bytes; for nodes
    without multiplications over the bandwidth alone. With `in_cache` the node moves more than
    memory could, and the bandwidth is that of a cache.
    """

    name: Annotated[str, Meta(max_length=255)]
    operator: Annotated[str, Meta(max_length=255)]
    ms: Milliseconds
    share: Number
    gflops: Number
    gbytes: Number
    reached: Number
    in_cache: bool = False
    shapes: Annotated[str, Meta(max_length=255)] = ""

    @property
    def attained(self) -> str:
        """How much it reaches, in words; above 1 without a known cache it is in one."""
        if self.reached > 1 and not self.in_cache:
            return "in a cache"
        return f"{100 * self.reached:.0f} %" + ", in a cache" * self.in_cache


class Roofline(Struct, frozen=True, kw_only=True):
    """The layers of one core on a second of audio, or a hop, and the machine's own peaks.

    `cache_gbytes` is the bandwidth of the second-level cache, 0 where it is not known.
    """

    path: RelativePath
    threads: Annotated[int, Meta(ge=1, le=65_536)]
    peak_gflops: Number
    peak_int8_gops: Number
    bandwidth_gbytes: Number
    cache_gbytes: Number = 0.0
    total_ms: Milliseconds
    layers: Annotated[tuple[LayerRate, ...], Meta(max_length=100_000)]


class Result(Struct, frozen=True, kw_only=True):
    """A run of `bench` on one bundle.

    `tools` are the versions that exported the bundle. `anchor_ms` are the times of a fixed piece of
    work, measured between the rows. `stolen` is the share of the run's time that the processors
    worked for other machines, None where unknown. `gpu` is how the GPU was while rows were timed,
    None where no row is on it.
    """

    schema: Literal[1] = 1
    tool: str
    created: str
    command: Text
    note: Text = ""
    model: str
    weights: str
    weights_sha256: str
    options: tuple[str, ...] = ()
    tools: dict[str, str] = {}
    sample_rate: Annotated[int, Meta(ge=1, le=768_000)]
    machine: Machine
    seconds: Number
    anchor_ms: Annotated[tuple[Duration, ...], Meta(max_length=100_000)] = ()
    stolen: float | None = None
    gpu: GpuCourse | None = None
    files: Annotated[tuple[FileCounters, ...], Meta(max_length=1_024)]
    parity: Annotated[tuple[ParityResult, ...], Meta(max_length=65_536)] = ()
    cold: Annotated[tuple[Cold, ...], Meta(max_length=4_096)] = ()
    rows: Annotated[tuple[Row, ...], Meta(max_length=4_096)] = ()
    capacity: Annotated[tuple[CapacityRow, ...], Meta(max_length=4_096)] = ()
    slopes: Annotated[tuple[Slope, ...], Meta(max_length=4_096)] = ()
    rooflines: Annotated[tuple[Roofline, ...], Meta(max_length=1_024)] = ()
    left_out: dict[str, Text] = {}

    def document(self) -> dict[str, Any]:
        """The result for JSON. Each row has its label too, which is not read again."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        labels = ({"label": row.label} for row in self.rows)
        document["rows"] = [a | b for a, b in zip(labels, document["rows"], strict=True)]
        return document

    def to_json(self) -> bytes:
        """The result as indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self.document()), indent=1) + b"\n"


def read_result(path: Path) -> Result:
    """Read a `result.json`.

    Args:
        path: Of the file.

    Returns:
        The result.

    Raises:
        UserError: The file is missing, too large, or no result of this schema.
    """
    again = "measure again: frcrn-export bench BUNDLE -o FOLDER"
    if not path.is_file():
        raise UserError(f"{path}: no such result; {again}")
    with reading(path, "not a result of bench", again, UserError):
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise ValueError(f"{size / 1e6:.0f} MB, at most {_MOST_BYTES / 1e6:.0f}")
        return msgspec.json.decode(path.read_bytes(), type=Result)
