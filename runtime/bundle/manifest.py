"""The manifest: the contract between the writer of a bundle and its runtimes.

`manifest.json` is checked against these types; `parse.py` checks relations between fields. Every
number has an upper bound, so that nothing is allocated for an invalid manifest. `docs/bundle.md` is
the normative text: what a field means, its unit and its bound.
"""

from collections.abc import Iterable
from math import prod
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

SCHEMA_VERSION = 2
# The `end` of a stream whose length is not known yet; exact in float32.
UNKNOWN_END = float(1 << 24)
MANIFEST_NAME = "manifest.json"
# The folder of a transaction's files; its subfolder `commit` is part of the bundle, see
# transaction.py.
TRANSACTION_NAME = ".transaction"
COMMIT_NAME = "commit"
# What a packed bundle holds besides: for people and for `sha256sum -c`, not for a runtime. No
# manifest lists them.
LICENCE_NAME = "LICENCE.txt"
SUMS_NAME = "SHA256SUMS"
NOTE_NAMES = frozenset({LICENCE_NAME, SUMS_NAME})

EXPORT_AGAIN = "export the bundle again: frcrn-export onnx -o NEW_BUNDLE"

_FLOAT32_MAX = 3.4028234663852886e38

Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
NonNegative = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Bytes = Annotated[int, Meta(ge=0, le=2**40)]
Hertz = Annotated[int, Meta(ge=1_000, le=768_000)]
StftLength = Annotated[int, Meta(ge=1, le=2**16)]
# Of an utterance or a window that goes through a network whole, in samples.
Length = Annotated[int, Meta(ge=1, le=2**21)]
NoLength = Annotated[int, Meta(ge=0, le=2**21)]
Float = Annotated[float, Meta(ge=-_FLOAT32_MAX, le=_FLOAT32_MAX)]
PositiveFloat = Annotated[float, Meta(gt=0, le=_FLOAT32_MAX)]
Cutoff = Annotated[float, Meta(gt=0, le=200)]
Decibels = Annotated[float, Meta(ge=-1_000, le=1_000)]
# The least parity of a float16 file that can be asked for, in dB.
Float16Floor = Annotated[float, Meta(ge=10, le=90)]
Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
RelativePath = Annotated[str, Meta(min_length=1, max_length=255)]
Name = Annotated[str, Meta(max_length=255)]
Text = Annotated[str, Meta(max_length=4_000)]
# A word of a command line: an option, or a plain value of one.
Word = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.,:+-]{1,255}$")]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Version = Annotated[str, Meta(pattern=r"^[0-9]{1,4}(\.[0-9]{1,4}){1,2}$")]
Sm = Annotated[int, Meta(ge=1, le=999)]
Dimensions = Annotated[tuple[Positive, ...], Meta(min_length=1, max_length=8)]
Shape = Annotated[tuple[Positive | Name, ...], Meta(max_length=8)]

Window = Literal["hann", "sqrt_hann", "hamming"]
Level = Literal["active_rms", "peak", "none"]
Role = Literal[
    "core",
    "core_long",
    "core_static",
    "core_streaming",
    "pre",
    "post",
    "pipeline",
    "parity",
    "layers",
    "context",
    "report",
]
Format = Literal["onnx", "torchscript", "engine", "epcontext", "npz", "json", "markdown", "png"]
TensorrtBackend = Literal["tensorrt", "tensorrt-rtx"]
Precision = Literal["fp32", "fp16", "int8", "fp8"]
# Precisions of calibrated files: INT8, or for TensorRT alone FP8 (float8e4m3fn).
QUANTIZED: frozenset[Precision] = frozenset(("int8", "fp8"))
# What such a file is quantized for: TensorRT on a GPU, or ONNX Runtime on a processor.
Target = Literal["tensorrt", "cpu"]
CalibrationMethod = Literal["minmax", "percentile", "entropy", "mse"]


class StftSpec(Struct, frozen=True, kw_only=True):
    """Short-time Fourier transform. Lengths in samples.

    Windows are periodic; `synthesis_window` defaults to `window`. Frame t begins at sample t *
    hop_length; its window lies at the start of the FFT, followed by zeros. With `center` the
    frame's middle lies at that sample, and the window in the middle of the FFT, as in torch.stft;
    `pad_mode` says how the signal continues before the first sample and after the last.
    """

    window_length: StftLength
    hop_length: StftLength
    fft_length: StftLength
    window: Window = "sqrt_hann"
    synthesis_window: Window | None = None
    center: bool = False
    pad_mode: Literal["reflect", "zeros"] = "reflect"

    @property
    def bins(self) -> int:
        """Number of frequency bins F of the one-sided spectrum."""
        return self.fft_length // 2 + 1

    @property
    def margin(self) -> int:
        """Samples of padding on both sides that a window reaches."""
        return self.window_length // 2 if self.center else 0

    @property
    def offset(self) -> int:
        """Where the window begins in the FFT's input."""
        return (self.fft_length - self.window_length) // 2 if self.center else 0

    @property
    def mirrors(self) -> bool:
        """Whether the padding repeats samples of the signal."""
        return self.center and self.pad_mode == "reflect"

    @property
    def shortest(self) -> int:
        """The least number of samples that can be analysed."""
        if self.mirrors:
            return self.margin + 1
        return 1 if self.center else self.window_length

    def frames(self, samples: int) -> int:
        """Number of frames T that `samples` samples give."""
        return 1 + (samples + 2 * self.margin - self.window_length) // self.hop_length

    def samples(self, frames: int) -> int:
        """Number of samples that the overlap-add of `frames` frames gives."""
        return self.window_length - 2 * self.margin + self.hop_length * (frames - 1)


class Padding(Struct, frozen=True, kw_only=True):
    """Zeros appended to an utterance that goes through the core whole. Lengths in samples.

    `multiple`: up to the next multiple of `size`. `hops`: up to the next `size` + k * `stride`,
    k >= 0. `windows`: a published rule for windows of `size` every `stride` samples.
    """

    rule: Literal["multiple", "hops", "windows"]
    size: Length
    stride: Length = 1


class HighPass(Struct, frozen=True, kw_only=True):
    """The high-pass before the level, see `frcrn_export.runtime.audio.high_pass`.

    `cutoff_hz` is that of whole recordings, forward and backward; `streaming_cutoff_hz` that of
    streams.
    """

    cutoff_hz: Cutoff = 20.0
    streaming_cutoff_hz: Cutoff = 10.0


class Segments(Struct, frozen=True, kw_only=True):
    """How an utterance longer than `above` is cut into windows. Lengths in samples.

    Each window has `length` samples; `left` and `right` of its output are dropped where a
    neighbour covers them.
    """

    length: Length
    left: NoLength
    right: NoLength
    above: NonNegative

    @property
    def stride(self) -> int:
        """Distance between the starts of two windows."""
        return self.length - self.left - self.right


class TensorSpec(Struct, frozen=True, kw_only=True):
    """One input or output of an artifact; a string in `shape` names a dynamic axis."""

    name: Name
    dtype: Name
    shape: Shape


class Profile(Struct, frozen=True, kw_only=True):
    """The input shapes that an engine takes, and the one that it is tuned for."""

    min: Dimensions
    opt: Dimensions
    max: Dimensions

    def includes(self, shape: tuple[int, ...]) -> bool:
        """Whether the engine takes an input of this shape."""
        return len(shape) == len(self.min) and all(
            low <= size <= high for low, size, high in zip(self.min, shape, self.max, strict=True)
        )


class EngineInfo(Struct, frozen=True, kw_only=True):
    """How a TensorRT engine was built, and for which GPUs.

    `sms` are the compute capabilities without their dot (89 is 8.9); `hardware_compatible` engines
    also run on later ones. `version` is the builder's, which the runtime must have; `cuda` the
    major version of CUDA that the driver must serve. `source` is the ONNX file of the bundle it was
    built from, `layers` the layer report beside it, `context` the EPContext file with which ONNX
    Runtime opens the engine, None where it has none. `verification` says in words what was verified
    on a GPU; `stripped` engines hold no weights and take those of `source` when they are opened.
    `verified_on` names the GPU on which parity passed, None before. `tf32` lets float32
    convolutions round their inputs, `workspace_bytes` limited the scratch memory of a layer: what a
    new build repeats.
    """

    backend: TensorrtBackend
    version: Name
    cuda: Annotated[int, Meta(ge=1, le=999)]
    gpu: Name
    sms: Annotated[tuple[Sm, ...], Meta(min_length=1, max_length=32)]
    source: RelativePath
    source_sha256: Sha256
    profile: Profile
    layers: RelativePath
    verification: Text
    context: RelativePath | None = None
    verified_on: Name | None = None
    hardware_compatible: bool = False
    refittable: bool = False
    stripped: bool = False
    tf32: bool = True
    workspace_bytes: Bytes | None = None


class StateSpec(Struct, frozen=True, kw_only=True):
    """One state of a streaming core: the input `name`, and the output `next` after it.

    The first axis of `shape` is "batch", one row for each stream, also for recurrent layers; all
    values are `initial` before the first call. In INT8 files for processors the dtype may be uint8,
    in which the core computes.
    """

    name: Name
    next: Name
    shape: Annotated[Shape, Meta(min_length=1)]
    dtype: Literal["float32", "uint8"] = "float32"
    initial: Float = 0.0

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one stream's state, without the batch."""
        return tuple(map(int, self.shape[1:]))

    @property
    def row_bytes(self) -> int:
        """The bytes of one stream's state."""
        return prod(self.row_shape) * (1 if self.dtype == "uint8" else 4)

    def tensor(self, name: str) -> TensorSpec:
        """The state as the input or output of this name."""
        return TensorSpec(name=name, dtype=self.dtype, shape=self.shape)


class StreamingInfo(Struct, frozen=True, kw_only=True):
    """The I/O of a streaming core: `chunk` frames (or samples) and its states in each call.

    The output is `lookahead` frames (or samples) behind the input. `end` names the input [batch]
    float32 with the number of frames of the stream, UNKNOWN_END while it is not known; None where
    the core does not need it.
    """

    chunk: Length
    lookahead: NoLength
    states: Annotated[tuple[StateSpec, ...], Meta(max_length=4_096)]
    end: Name | None = None


class GateResult(Struct, frozen=True, kw_only=True):
    """One gate of a quantized file: its value and limit; None where it was not measured.

    `pesq`, `si_sdr` (dB) and `stoi` are drops against float32, at most `limit`; `core_snr`,
    `abrupt_snr` (dB) and `speed` (times as fast as float32, or as float16 on a GPU) are at least
    that.
    """

    name: Literal["pesq", "si_sdr", "stoi", "core_snr", "abrupt_snr", "speed"]
    limit: Float
    value: Float | None
    passed: bool | None


class QuantizationInfo(Struct, frozen=True, kw_only=True):
    """How an INT8 or FP8 file was made.

    `clips` is the number of calibration recordings, `clips_sha256` the hash of their hashes.
    `layers` of `candidates` layers compute in INT8: the share `share`, 0 to 1, of the
    multiplications of all convolutions, matrix products and recurrent layers. `kept_slower` marks a
    file that failed the speed gate and was kept by request. `report` names the report's JSON file.
    """

    target: Target
    method: CalibrationMethod
    clips: Positive
    clips_sha256: Sha256
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    layers: NonNegative
    candidates: NonNegative
    share: Annotated[float, Meta(ge=0, le=1)]
    gates: Annotated[tuple[GateResult, ...], Meta(max_length=16)] = ()
    kept_slower: bool = False
    report: RelativePath | None = None


class Float32Layers(Struct, frozen=True, kw_only=True):
    """The layers of a float16 file that compute in float32, so that it holds its floor.

    `layers` are their names, the most sensitive to float16 first, `candidates` the number of all
    layers; `added_bytes` is what they add to the file.
    """

    layers: Annotated[tuple[Name, ...], Meta(max_length=16_384)]
    candidates: Positive
    added_bytes: Annotated[int, Meta(ge=-(2**40), le=2**40)]


class FileEntry(Struct, frozen=True, kw_only=True):
    """One file of the bundle. `path` is relative to the bundle and stays inside it.

    `core_long` computes `core` in less memory, for one utterance of more than `above_frames`
    frames. `core_static` is `core` for inputs of one shape, for other toolchains: no session of
    ours runs it. `input_limit` is the largest absolute input value that the file's precision was
    verified for. `opset`, `ir_version` and `min_onnxruntime` are what an ONNX file needs. `engine`
    is there for engines and nothing else, `streaming` for cores of the role `core_streaming`,
    `quantization` for ONNX files in INT8 or FP8. `floor_db` is the parity floor that was asked for,
    None where it is that of the precision; `float32_layers` is there for float16 files with some.
    """

    path: RelativePath
    role: Role
    format: Format
    precision: Precision
    sha256: Sha256
    bytes: Bytes
    inputs: Annotated[tuple[TensorSpec, ...], Meta(max_length=8)] = ()
    outputs: Annotated[tuple[TensorSpec, ...], Meta(max_length=8)] = ()
    above_frames: NonNegative = 0
    input_limit: PositiveFloat | None = None
    opset: Annotated[int, Meta(ge=1, le=999)] | None = None
    ir_version: Annotated[int, Meta(ge=1, le=999)] | None = None
    min_onnxruntime: Version | None = None
    engine: EngineInfo | None = None
    streaming: StreamingInfo | None = None
    quantization: QuantizationInfo | None = None
    floor_db: Float16Floor | None = None
    float32_layers: Float32Layers | None = None

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
    """Where the weights came from: a checkpoint file, a random seed, or `default`.

    `default`: packaged or fetched, what the model has without being given any.

    `built`: from the code of a user's own module, which may load or initialise them; `sha256` is of
    its tensors then.

    `state_dict` names which of several networks in the file was taken, as `--state-dict` does; ""
    where there is one. `licence` and `attribution` are as the author states them, "" where not
    known.
    """

    source: Literal["checkpoint", "default", "random", "built"]
    name: Name
    sha256: Sha256 | None = None
    seed: Integer | None = None
    state_dict: Name = ""
    licence: Name = ""
    attribution: Text = ""

    @property
    def are_random(self) -> bool:
        """Whether the network was never trained: its output is no denoised speech."""
        return self.source == "random"


class Assumption(Struct, frozen=True, kw_only=True):
    """The value assumed for a setting that the weights do not show and nobody stated."""

    setting: Name
    value: Name
    reason: Text


class ParityResult(Struct, frozen=True, kw_only=True):
    """One comparison of an artifact with the reference. Identical outputs are written as 300 dB."""

    artifact: Name
    case: Name
    snr_db: Decibels
    max_abs: Float
    floor_db: Decibels
    passed: bool


class Manifest(Struct, frozen=True, kw_only=True):
    """Everything a target machine needs to know about a bundle.

    `options` are the command-line options that state what the weights do not show; a new export
    repeats them. `streaming_options` are those that a streaming export needs besides, None where
    the network has no streaming form.
    """

    schema: Positive = SCHEMA_VERSION
    model: Name
    variant: Annotated[
        dict[Name, Text | Integer | bool | Annotated[list[Integer], Meta(max_length=256)]],
        Meta(max_length=64),
    ]
    domain: Literal["spectrum", "waveform"]
    weights: Weights
    sample_rate: Hertz
    stft: StftSpec | None
    level: Level
    padding: Padding
    segments: Segments
    files: Annotated[tuple[FileEntry, ...], Meta(max_length=1_024)]
    options: Annotated[tuple[Word, ...], Meta(max_length=64)] = ()
    streaming_options: Annotated[tuple[Word, ...], Meta(max_length=64)] | None = ()
    high_pass: HighPass | None = None
    assumptions: Annotated[tuple[Assumption, ...], Meta(max_length=64)] = ()
    parity: Annotated[tuple[ParityResult, ...], Meta(max_length=16_384)] = ()
    tools: Annotated[dict[Name, Name], Meta(max_length=64)] = {}

    @property
    def frame_length(self) -> int:
        """What a frame counts in `chunk` and `lookahead`: 1, or a hop of a network of waves."""
        return 1 if self.stft else self.padding.size

    @property
    def has_random_weights(self) -> bool:
        """Whether the network was never trained, so that its output is not speech."""
        return self.weights.are_random

    def file(
        self,
        role: Role,
        format: Format,
        precision: Precision = "fp32",
        target: Target | None = None,
    ) -> FileEntry | None:
        """The entry with this role, format and precision, quantized for `target`; or None."""
        wanted = (role, format, precision, target)
        return next((f for f in self.files if _kind(f) == wanted), None)

    def with_high_pass(self, wanted: bool | None) -> "Manifest":
        """The manifest with a high-pass, or without one; None leaves the network's own choice."""
        if wanted is None or wanted == (self.high_pass is not None):
            return self
        return msgspec.structs.replace(self, high_pass=HighPass() if wanted else None)

    def with_parity(self, results: Iterable[ParityResult]) -> "Manifest":
        """The manifest with these results; a repeated comparison replaces its predecessor."""
        now = tuple(results)
        again = {(result.artifact, result.case) for result in now}
        kept = (result for result in self.parity if (result.artifact, result.case) not in again)
        return msgspec.structs.replace(self, parity=(*kept, *now))

    def to_json(self) -> bytes:
        """The manifest as indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def _kind(entry: FileEntry) -> tuple[Role, Format, Precision, Target | None]:
    target = entry.quantization.target if entry.quantization else None
    return entry.role, entry.format, entry.precision, target
