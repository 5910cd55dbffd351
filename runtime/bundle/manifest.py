"""The manifest: the one contract between whoever writes a bundle and whoever runs it.

`manifest.json` is checked against these types when it is read: a missing field, a wrong type or an
impossible value is an error that names the field. Unknown fields are ignored, so that a newer
minor addition stays readable; an incompatible change raises `SCHEMA_VERSION`.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from frcrn_export.runtime.errors import BundleError

SCHEMA_VERSION = 1
# What a streaming core is told while nobody knows how long the stream will be; exact in float32.
UNKNOWN_END = float(1 << 24)
MANIFEST_NAME = "manifest.json"

EXPORT_AGAIN = "export the bundle again: frcrn-export onnx -o ANOTHER"
# What decoding raises: not JSON or not this type, nested too deeply, not UTF-8.
_DECODE_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)

Positive = Annotated[int, Meta(ge=1)]
NonNegative = Annotated[int, Meta(ge=0)]
RelativePath = Annotated[str, Meta(min_length=1, max_length=255)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]

Level = Literal["active_rms", "peak", "none"]
Role = Literal[
    "core", "core_long", "core_streaming", "pre", "post", "pipeline", "parity", "layers", "report"
]
Format = Literal["onnx", "torchscript", "engine", "npz", "json", "markdown", "png"]
Flavor = Literal["tensorrt", "tensorrt-rtx"]
Precision = Literal["fp32", "fp16", "int8", "fp8"]
# Precisions of calibrated files: whole numbers, or for TensorRT alone FP8 (float8e4m3fn).
QUANTIZED: frozenset[Precision] = frozenset(("int8", "fp8"))
# Who such a file is quantized for: TensorRT on a GPU, or ONNX Runtime on a processor.
Consumer = Literal["tensorrt", "cpu"]
CalibrationMethod = Literal["minmax", "percentile", "entropy", "mse"]


class StftSpec(Struct, frozen=True, kw_only=True):
    """Short-time Fourier transform without centring or padding. Lengths in samples."""

    window_length: Positive
    hop_length: Positive
    fft_length: Positive
    window: Literal["sqrt_hann"] = "sqrt_hann"

    @property
    def bins(self) -> int:
        """Number of frequency bins F of the one-sided spectrum."""
        return self.fft_length // 2 + 1

    def frames(self, samples: int) -> int:
        """Number of frames T that `samples` samples give."""
        return 1 + (samples - self.window_length) // self.hop_length

    def samples(self, frames: int) -> int:
        """Number of samples that the overlap-add of `frames` frames gives."""
        return self.window_length + self.hop_length * (frames - 1)


class Padding(Struct, frozen=True, kw_only=True):
    """Zeros appended to an utterance that goes through the core whole. Lengths in samples.

    `multiple`: up to the next multiple of `size`. `windows`: the published FRCRN rule for windows
    of `size` every `stride` samples.
    """

    rule: Literal["multiple", "windows"]
    size: Positive
    stride: Positive = 1


class Segments(Struct, frozen=True, kw_only=True):
    """How an utterance longer than `above` is cut into windows. Lengths in samples.

    Each window has `length` samples; `left` and `right` of its output are dropped where a
    neighbour covers them.
    """

    length: Positive
    left: NonNegative
    right: NonNegative
    above: NonNegative

    @property
    def stride(self) -> int:
        """Distance between the starts of two windows."""
        return self.length - self.left - self.right


class TensorSpec(Struct, frozen=True, kw_only=True):
    """One input or output of an artifact; a string in `shape` names a dynamic axis."""

    name: str
    dtype: str
    shape: tuple[Positive | str, ...]


class Profile(Struct, frozen=True, kw_only=True):
    """The input shapes that an engine takes, and the one that it is fastest at."""

    min: tuple[Positive, ...]
    opt: tuple[Positive, ...]
    max: tuple[Positive, ...]

    def includes(self, shape: tuple[int, ...]) -> bool:
        """Whether an input of this shape can run."""
        return len(shape) == len(self.min) and all(
            low <= size <= high for low, size, high in zip(self.min, shape, self.max, strict=True)
        )


class EngineInfo(Struct, frozen=True, kw_only=True):
    """What a TensorRT engine was built from, with and for.

    `sm` is the compute capability without its dot (89 is 8.9); `hardware_compatible` engines also
    run on later ones. `version` is the builder's, which the runtime must have; `cuda` the major
    version of CUDA that the driver must serve. `source` is the ONNX file of the bundle it was built
    from, `layers` the layer report beside it. `proof` says in words what was checked on a GPU and
    what was not; `ran_on` names the GPU on which parity passed, None until one did.
    """

    flavor: Flavor
    version: str
    cuda: Positive
    gpu: str
    sm: Positive
    source: RelativePath
    source_sha256: Sha256
    profile: Profile
    layers: RelativePath
    proof: str
    ran_on: str | None = None
    hardware_compatible: bool = False
    refittable: bool = False


class StateSpec(Struct, frozen=True, kw_only=True):
    """One state of a streaming core: the input `name`, and the output `next` after it.

    The first axis of `shape` is "batch", one row for each stream; all values are `initial` before
    the first call. In INT8 files for processors it may be uint8: what the core computes with.
    """

    name: str
    next: str
    shape: tuple[Positive | str, ...]
    dtype: Literal["float32", "uint8"] = "float32"
    initial: float = 0.0

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one stream's state, without the batch."""
        return tuple(map(int, self.shape[1:]))

    def tensor(self, name: str) -> TensorSpec:
        """The state as the input or output of this name."""
        return TensorSpec(name=name, dtype=self.dtype, shape=self.shape)


class StreamingInfo(Struct, frozen=True, kw_only=True):
    """How a streaming core is called: with `chunk` frames (or samples) and its states.

    What it returns is `lookahead` frames (or samples) behind what it is given. `end` names the
    input [batch] float32 that holds how many frames the stream has, UNKNOWN_END while it goes on;
    None where the core does not need it.
    """

    chunk: Positive
    lookahead: NonNegative
    states: tuple[StateSpec, ...]
    end: str | None = None


class GateResult(Struct, frozen=True, kw_only=True):
    """What a quantized file lost or gained, and the limit; None where it was not measured.

    `pesq`, `si_sdr` (dB) and `stoi` are drops against float32, at most `limit`; `core_snr` (dB) and
    `speed` (times as fast as float32, or as float16 on a GPU) are at least that.
    """

    name: Literal["pesq", "si_sdr", "stoi", "core_snr", "speed"]
    limit: float
    value: float | None
    passed: bool | None


class QuantizationInfo(Struct, frozen=True, kw_only=True):
    """How an INT8 or FP8 file was made.

    `clips` is how many recordings the ranges were measured on, `clips_sha256` is of their hashes.
    Of `candidates` layers that could compute in INT8 `layers` do, which is the share `share` of the
    multiplications of all convolutions and matrix products, 0 to 1. `kept_slower` marks a file that
    failed the speed gate and was kept by request. `report` names the report's JSON file.
    """

    consumer: Consumer
    method: CalibrationMethod
    clips: Positive
    clips_sha256: Sha256
    seed: NonNegative
    layers: NonNegative
    candidates: NonNegative
    share: float
    gates: tuple[GateResult, ...] = ()
    kept_slower: bool = False
    report: RelativePath | None = None


class FileEntry(Struct, frozen=True, kw_only=True):
    """One file of the bundle. `path` is relative to the bundle and stays inside it.

    `core_long` does what `core` does in less memory, for one utterance of more frames than
    `above_frames`. `engine` is there for engines and nothing else, `streaming` for cores of the
    role `core_streaming`, `quantization` for ONNX files in INT8 or FP8.
    """

    path: RelativePath
    role: Role
    format: Format
    precision: Precision
    sha256: Sha256
    bytes: NonNegative
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    above_frames: NonNegative = 0
    engine: EngineInfo | None = None
    streaming: StreamingInfo | None = None
    quantization: QuantizationInfo | None = None

    @property
    def call_inputs(self) -> tuple[TensorSpec, ...]:
        """All inputs of one call in the file's order: `inputs`, the end and the states."""
        if self.streaming is None:
            return self.inputs
        end = self.streaming.end
        ends = () if end is None else (TensorSpec(name=end, dtype="float32", shape=("batch",)),)
        return *self.inputs, *ends, *(state.tensor(state.name) for state in self.streaming.states)

    @property
    def call_outputs(self) -> tuple[TensorSpec, ...]:
        """All outputs of one call in the file's order: `outputs` and the next states."""
        states = self.streaming.states if self.streaming else ()
        return *self.outputs, *(state.tensor(state.next) for state in states)


class Weights(Struct, frozen=True, kw_only=True):
    """Where the weights came from: a checkpoint file, the packaged default, or a random seed."""

    source: Literal["checkpoint", "default", "random"]
    name: str
    sha256: Sha256 | None = None
    seed: int | None = None


class ParityResult(Struct, frozen=True, kw_only=True):
    """One comparison of an artifact with the reference. Identical outputs are written as 300 dB."""

    artifact: str
    case: str
    snr_db: float
    max_abs: float
    floor_db: float
    passed: bool


class Manifest(Struct, frozen=True, kw_only=True):
    """Everything a target machine needs to know about a bundle."""

    schema: int = SCHEMA_VERSION
    model: str
    variant: dict[str, str | int | bool | list[int]]
    domain: Literal["spectrum", "waveform"]
    weights: Weights
    sample_rate: Positive
    stft: StftSpec | None
    level: Level
    padding: Padding
    segments: Segments
    files: tuple[FileEntry, ...]
    parity: tuple[ParityResult, ...] = ()
    tools: dict[str, str] = {}

    def file(
        self,
        role: Role,
        format: Format,
        precision: Precision = "fp32",
        consumer: Consumer | None = None,
    ) -> FileEntry | None:
        """The entry with this role, format and precision, quantized for `consumer`; or None."""
        wanted = (role, format, precision, consumer)
        return next((f for f in self.files if _kind(f) == wanted), None)

    def with_parity(self, results: Iterable[ParityResult]) -> "Manifest":
        """The manifest with more results; a comparison that was made again replaces the former."""
        now = tuple(results)
        again = {(result.artifact, result.case) for result in now}
        kept = (result for result in self.parity if (result.artifact, result.case) not in again)
        return msgspec.structs.replace(self, parity=(*kept, *now))

    def to_json(self) -> bytes:
        """The manifest as indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def _kind(entry: FileEntry) -> tuple[Role, Format, Precision, Consumer | None]:
    consumer = entry.quantization.consumer if entry.quantization else None
    return entry.role, entry.format, entry.precision, consumer


def parse_manifest(data: bytes, source: str = MANIFEST_NAME) -> Manifest:
    """Read and check a manifest. `source` names it in errors.

    Raises BundleError for bytes that are not JSON, a later schema, a missing or impossible field,
    paths that leave the bundle and a path that is listed twice.
    """
    try:
        schema = msgspec.json.decode(data, type=_SchemaOnly).schema
    except _DECODE_ERRORS as error:
        raise BundleError(f"{source}: not a manifest ({error}); {EXPORT_AGAIN}") from error
    if schema > SCHEMA_VERSION:
        raise BundleError(
            f"{source}: schema {schema} is newer than this program's {SCHEMA_VERSION}; "
            "run: pip install --upgrade frcrn-export"
        )
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except _DECODE_ERRORS as error:
        raise BundleError(f"{source}: {error}; {EXPORT_AGAIN}") from error
    _check(manifest, source)
    return manifest


class _SchemaOnly(Struct):
    schema: Positive


def _check(manifest: Manifest, source: str) -> None:
    paths = [entry.path for entry in manifest.files]
    for path in paths:
        if not is_inside(path):
            raise BundleError(f"{source}: the path {path!r} leaves the bundle; refusing to open it")
    if len(set(paths)) != len(paths):
        raise BundleError(f"{source}: a file is listed twice; {EXPORT_AGAIN}")
    for entry in manifest.files:
        if (entry.format == "engine") != (entry.engine is not None):
            raise BundleError(f"{source}: {entry.path}: engines, and only they, have `engine`")
        if (entry.role == "core_streaming") != (entry.streaming is not None):
            raise BundleError(f"{source}: {entry.path}: streaming cores alone have `streaming`")
        if (entry.format == "onnx" and entry.precision in QUANTIZED) != (
            entry.quantization is not None
        ):
            raise BundleError(
                f"{source}: {entry.path}: INT8 and FP8 files alone have `quantization`"
            )
        if entry.streaming is not None:
            _check_streaming(entry, entry.streaming, source)
        if entry.engine is not None:
            _check_engine(entry, entry.engine, source)
            if entry.engine.layers not in paths:
                raise BundleError(
                    f"{source}: {entry.engine.layers!r} of {entry.path} is not listed"
                )
    if (manifest.domain == "spectrum") != (manifest.stft is not None):
        raise BundleError(f"{source}: `stft` and domain {manifest.domain!r} contradict each other")
    if manifest.stft is not None:
        _check_stft(manifest.stft, min(manifest.padding.size, manifest.segments.length), source)
    if manifest.segments.stride < 1:
        raise BundleError(f"{source}: `segments` drops at least as much as a window holds")


def _check_streaming(entry: FileEntry, streaming: StreamingInfo, source: str) -> None:
    if len(entry.inputs) != 1 or entry.inputs[0].shape[-1] != streaming.chunk:
        raise BundleError(f"{source}: {entry.path}: `inputs` and `chunk` contradict each other")
    if any(state.shape[:1] != ("batch",) for state in streaming.states):
        raise BundleError(f"{source}: {entry.path}: the first axis of every state is the batch")
    for state in streaming.states:
        if state.dtype == "uint8" and state.initial not in range(256):
            raise BundleError(
                f"{source}: {entry.path}: state {state.name!r} cannot begin with {state.initial:g} "
                "as uint8, 0 to 255"
            )
    names = [name for state in streaming.states for name in (state.name, state.next)]
    if len(set(names)) != len(names):
        raise BundleError(f"{source}: {entry.path}: two states share a name")


def _check_engine(entry: FileEntry, engine: EngineInfo, source: str) -> None:
    if len(entry.inputs) != 1 or len(entry.outputs) != 1:
        raise BundleError(f"{source}: {entry.path}: an engine has one input and one output")
    shapes = (engine.profile.min, engine.profile.opt, engine.profile.max)
    if {len(shape) for shape in shapes} != {len(entry.inputs[0].shape)}:
        raise BundleError(f"{source}: {entry.path}: `profile` and `inputs` contradict each other")
    if not all(low <= best <= high for low, best, high in zip(*shapes, strict=True)):
        raise BundleError(f"{source}: {entry.path}: `profile` needs min <= opt <= max")


def _check_stft(stft: StftSpec, shortest: int, source: str) -> None:
    if not stft.hop_length <= stft.window_length <= stft.fft_length:
        raise BundleError(f"{source}: `stft` needs hop_length <= window_length <= fft_length")
    if stft.window_length % 2 or stft.fft_length % 2:
        raise BundleError(f"{source}: `stft` needs an even window_length and fft_length")
    if shortest < stft.window_length:
        raise BundleError(f"{source}: `padding` and `segments` must hold a window of `stft`")


def is_inside(path: str) -> bool:
    """Whether a manifest path is a plain relative path that cannot leave the bundle."""
    parts = PurePosixPath(path).parts
    return (
        bool(parts)
        and not path.startswith("/")
        and ".." not in parts
        and not any(character in path for character in "\\:\0")
        and path != MANIFEST_NAME
    )
