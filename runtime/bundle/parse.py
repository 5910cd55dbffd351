"""Reading a manifest: decode it into the types of `manifest.py`, and check across fields."""

from collections.abc import Iterator
from math import prod
from pathlib import PurePosixPath
from typing import Any

import msgspec
from msgspec import Struct

from frcrn_export.runtime.bundle.manifest import (
    EXPORT_AGAIN,
    MANIFEST_NAME,
    QUANTIZED,
    SCHEMA_VERSION,
    EngineInfo,
    FileEntry,
    Manifest,
    Positive,
    StftSpec,
    StreamingInfo,
)
from frcrn_export.runtime.bundle.remedies import export_again
from frcrn_export.runtime.errors import BundleError, reading
from frcrn_export.runtime.reserved_options import is_reserved

# Values in all tensors of one row, input, output and states: 128 MiB in float32.
_MAX_ROW_ELEMENTS = 2**25
# Values in the largest input of an engine, 2 GiB; this memory is on the GPU.
_MAX_PROFILE_ELEMENTS = 2**29
# Frames, or windows, that one sample of audio is in.
_MAX_OVERLAP = 64
# Calls of look-ahead.
_MAX_LOOKAHEAD_CALLS = 4_096


def parse_manifest(data: bytes, source: str = MANIFEST_NAME) -> Manifest:
    """Read and check a manifest. `source` names it in errors.

    Raises BundleError for bytes that are not JSON, another schema, a missing or impossible field,
    paths that leave the bundle and a path that is listed twice. Unknown fields are ignored: within
    a schema new fields are optional.
    """
    with reading(source, "not a manifest", EXPORT_AGAIN):
        schema = msgspec.json.decode(data, type=_SchemaOnly).schema
    if schema < SCHEMA_VERSION:
        raise BundleError(f"{source}: {_of_old_schema(data, schema)}")
    if schema > SCHEMA_VERSION:
        raise BundleError(
            f"{source}: schema {schema} is newer than this program's {SCHEMA_VERSION}; "
            "run: pip install --upgrade frcrn-export"
        )
    with reading(source, "not a manifest that can be used", EXPORT_AGAIN):
        manifest = msgspec.json.decode(data, type=Manifest)
        _check(manifest, source)
    return manifest


class _SchemaOnly(Struct):
    schema: Positive


def _of_old_schema(data: bytes, schema: int) -> str:
    """The error for a bundle of schema 1, whose fields are today's except for engines."""
    said = f"a bundle of schema {schema}, this program reads {SCHEMA_VERSION}"
    try:
        document: Any = msgspec.json.decode(data)
        document["schema"] = SCHEMA_VERSION
        document["options"] = [
            word
            for name, value in document["variant"].items()
            if isinstance(value, str)  # the settings that were options in schema 1
            for word in (f"--{name.replace('_', '-')}", value)
        ]
        document["files"] = [file for file in document["files"] if file.get("engine") is None]
        manifest = msgspec.convert(document, Manifest)
    except Exception:  # not a bundle of that schema
        return f"{said}; {EXPORT_AGAIN}"
    weights, needed = manifest.weights, ""
    if weights.source == "checkpoint":
        needed = f" with the weights file {weights.name} (sha256 {weights.sha256})"
    return f"{said}; export it again{needed}: {export_again(manifest)}"


def _check(manifest: Manifest, source: str) -> None:
    for word in (*manifest.options, *(manifest.streaming_options or ())):
        if is_reserved(word):  # in a command to paste it would do something else
            raise BundleError(f"{source}: {word} is no option of a network; {EXPORT_AGAIN}")
    paths = [entry.path for entry in manifest.files]
    for path in paths:
        if not is_inside(path):
            raise BundleError(f"{source}: the path {path!r} leaves the bundle; refusing to open it")
        if not path.isprintable():
            raise BundleError(f"{source}: the path {path!r} is not printable; refusing to open it")
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
        _check_sizes(entry, source)
        if entry.streaming is not None:
            _check_streaming(entry, entry.streaming, source)
        if entry.engine is not None:
            _check_engine(entry, entry.engine, source)
        for name in named_files(entry):
            if name not in paths:
                raise BundleError(f"{source}: {name!r} of {entry.path} is not listed")
    if (manifest.domain == "spectrum") != (manifest.stft is not None):
        raise BundleError(f"{source}: `stft` and domain {manifest.domain!r} contradict each other")
    if manifest.stft is not None:
        windows = manifest.padding.size, manifest.segments.length
        _check_stft(manifest.stft, min(windows), max(windows), source)
    if manifest.segments.stride < 1:
        raise BundleError(f"{source}: `segments` drops at least as much as a window holds")
    if manifest.segments.length > _MAX_OVERLAP * manifest.segments.stride:
        raise BundleError(
            f"{source}: `segments` has windows of {manifest.segments.length} samples every "
            f"{manifest.segments.stride}, at most {_MAX_OVERLAP} may overlap"
        )


def named_files(entry: FileEntry) -> Iterator[str]:
    """The files that are read with this one."""
    if entry.engine is not None:
        yield entry.engine.layers
        if entry.engine.context is not None:
            yield entry.engine.context
    if entry.quantization is not None and entry.quantization.report is not None:
        yield entry.quantization.report


def _check_sizes(entry: FileEntry, source: str) -> None:
    """Check the size of one row of a batch, before buffers are allocated."""
    tensors = (*entry.call_inputs, *entry.call_outputs)
    row = sum(prod(size for size in t.shape[1:] if isinstance(size, int)) for t in tensors)
    if row > _MAX_ROW_ELEMENTS:
        raise BundleError(
            f"{source}: {entry.path}: {row} values in the tensors of one row, at most "
            f"{_MAX_ROW_ELEMENTS} are taken"
        )
    if entry.engine is not None and prod(entry.engine.profile.max) > _MAX_PROFILE_ELEMENTS:
        raise BundleError(
            f"{source}: {entry.path}: `profile` holds inputs of {list(entry.engine.profile.max)}, "
            f"at most {_MAX_PROFILE_ELEMENTS} values are taken"
        )


def _check_streaming(entry: FileEntry, streaming: StreamingInfo, source: str) -> None:
    if len(entry.inputs) != 1 or entry.inputs[0].shape[-1] != streaming.chunk:
        raise BundleError(f"{source}: {entry.path}: `inputs` and `chunk` contradict each other")
    if streaming.lookahead > _MAX_LOOKAHEAD_CALLS * streaming.chunk:
        raise BundleError(
            f"{source}: {entry.path}: a `lookahead` of {streaming.lookahead} with a `chunk` of "
            f"{streaming.chunk}, at most {_MAX_LOOKAHEAD_CALLS} calls are taken"
        )
    if any(state.shape[:1] != ("batch",) for state in streaming.states):
        raise BundleError(f"{source}: {entry.path}: the first axis of every state is the batch")
    if any(isinstance(size, str) for state in streaming.states for size in state.shape[1:]):
        raise BundleError(f"{source}: {entry.path}: the batch alone is a dynamic axis of a state")
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


def _check_stft(stft: StftSpec, shortest: int, longest: int, source: str) -> None:
    if not stft.hop_length <= stft.window_length <= stft.fft_length:
        raise BundleError(f"{source}: `stft` needs hop_length <= window_length <= fft_length")
    if stft.fft_length > _MAX_OVERLAP * stft.hop_length:
        raise BundleError(
            f"{source}: `stft` has an fft_length of {stft.fft_length} every {stft.hop_length} "
            f"samples, at most {_MAX_OVERLAP} times the hop_length is taken"
        )
    if 2 * stft.bins * stft.frames(longest) > _MAX_ROW_ELEMENTS:
        raise BundleError(
            f"{source}: `stft` gives {2 * stft.bins * stft.frames(longest)} values for a window of "
            f"`padding` or `segments`, at most {_MAX_ROW_ELEMENTS} are taken"
        )
    if stft.window_length % 2 or stft.fft_length % 2:
        raise BundleError(f"{source}: `stft` needs an even window_length and fft_length")
    if shortest < stft.shortest:
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
