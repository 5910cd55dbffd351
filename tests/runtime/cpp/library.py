"""libfrcrn through its C interface, as any language that is not C sees it."""

import ctypes
import os
from ctypes import (
    CFUNCTYPE,
    POINTER,
    byref,
    c_char,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
_Floats = POINTER(c_float)


class Error(ctypes.Structure):
    _fields_ = [("status", c_int), ("text", c_char * 1024)]


class ModelOptions(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("onnxruntime", c_char_p),
        ("ort_api_base", c_void_p),
        ("provider", c_char_p),
        ("provider_library", c_char_p),
        ("precision", c_char_p),
        ("threads", c_int),
        ("stream_threads", c_int),
        ("high_pass", c_int),
    ]


class ModelInfo(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("name", c_char_p),
        ("licence", c_char_p),
        ("attribution", c_char_p),
        ("onnxruntime", c_char_p),
        ("sample_rate", c_uint32),
        ("random_weights", c_int),
        ("offline", c_int),
        ("streaming", c_int),
        ("chunk", c_uint32),
        ("window", c_uint32),
        ("lookahead", c_uint32),
        ("latency", c_uint32),
    ]


class DenoiseOptions(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("sample_rate", c_uint32),
        ("keep_level", c_int),
        ("attenuation_limit_db", c_double),
    ]


class StreamOptions(ctypes.Structure):
    _fields_ = [*DenoiseOptions._fields_, ("gain", c_double)]


class StreamStats(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("samples_in", c_uint64),
        ("samples_out", c_uint64),
        ("replaced_samples", c_uint64),
        ("calls", c_uint64),
        ("failed_calls", c_uint64),
        ("limited_calls", c_uint64),
        ("late_calls", c_uint64),
        ("worst_ms", c_double),
        ("mean_ms", c_double),
    ]


class Check(ctypes.Structure):
    _fields_ = [
        ("artifact", c_char_p),
        ("name", c_char_p),
        ("snr_db", c_double),
        ("max_abs", c_double),
        ("floor_db", c_double),
        ("passed", c_int),
    ]


class LiveOptions(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("max_block", c_size_t), ("margin", c_size_t)]


CheckFunction = CFUNCTYPE(c_int, POINTER(Check), c_void_p)

_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "frcrn_model_open": (c_char_p, POINTER(ModelOptions), POINTER(c_void_p), POINTER(Error)),
    "frcrn_model_get_info": (c_void_p, POINTER(ModelInfo), POINTER(Error)),
    "frcrn_model_verify": (c_void_p, CheckFunction, c_void_p, POINTER(Error)),
    "frcrn_denoise": (
        c_void_p,
        _Floats,
        _Floats,
        c_size_t,
        POINTER(DenoiseOptions),
        POINTER(Error),
    ),
    "frcrn_stream_create": (c_void_p, POINTER(StreamOptions), POINTER(c_void_p), POINTER(Error)),
    "frcrn_stream_process": (
        c_void_p,
        _Floats,
        c_size_t,
        _Floats,
        c_size_t,
        POINTER(c_size_t),
        POINTER(Error),
    ),
    "frcrn_stream_flush": (c_void_p, _Floats, c_size_t, POINTER(c_size_t), POINTER(Error)),
    "frcrn_stream_reset": (c_void_p, POINTER(Error)),
    "frcrn_stream_set_attenuation_limit": (c_void_p, c_double, POINTER(Error)),
    "frcrn_stream_get_stats": (c_void_p, POINTER(StreamStats), POINTER(Error)),
    "frcrn_batch_create": (
        c_void_p,
        c_size_t,
        POINTER(StreamOptions),
        POINTER(c_void_p),
        POINTER(Error),
    ),
    "frcrn_batch_process": (
        c_void_p,
        POINTER(_Floats),
        POINTER(c_size_t),
        POINTER(_Floats),
        POINTER(c_size_t),
        POINTER(c_size_t),
        POINTER(Error),
    ),
    "frcrn_batch_flush": (
        c_void_p,
        c_size_t,
        _Floats,
        c_size_t,
        POINTER(c_size_t),
        POINTER(Error),
    ),
    "frcrn_batch_reset": (c_void_p, c_size_t, POINTER(Error)),
    "frcrn_batch_get_stats": (c_void_p, c_size_t, POINTER(StreamStats), POINTER(Error)),
    "frcrn_live_start": (c_void_p, POINTER(LiveOptions), POINTER(c_void_p), POINTER(Error)),
    "frcrn_live_exchange": (c_void_p, _Floats, _Floats, c_size_t),
    "frcrn_live_exchange_blocking": (c_void_p, _Floats, _Floats, c_size_t),
    "frcrn_live_set_attenuation_limit": (c_void_p, c_double),
}


class FrcrnError(Exception):
    """A status other than FRCRN_OK: its name and the text."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status, self.text = status, text


class Library:
    """The functions of libfrcrn; a status other than FRCRN_OK is raised."""

    def __init__(self, path: Path) -> None:
        self.c = ctypes.CDLL(str(path))
        for name, arguments in _SIGNATURES.items():
            getattr(self.c, name).argtypes = arguments
        for name in ("model_free", "stream_free", "batch_free", "live_stop"):
            getattr(self.c, f"frcrn_{name}").argtypes = (c_void_p,)
            getattr(self.c, f"frcrn_{name}").restype = None
        for name in ("stream_max_out", "batch_max_out", "batch_pending"):
            getattr(self.c, f"frcrn_{name}").argtypes = (c_void_p, c_size_t)
            getattr(self.c, f"frcrn_{name}").restype = c_size_t
        for name in ("stream_pending", "stream_latency", "live_latency"):
            getattr(self.c, f"frcrn_{name}").argtypes = (c_void_p,)
            getattr(self.c, f"frcrn_{name}").restype = c_size_t
        self.c.frcrn_live_late_samples.argtypes = (c_void_p,)
        self.c.frcrn_live_late_samples.restype = c_uint64
        self.c.frcrn_status_name.restype = c_char_p
        self.c.frcrn_version.restype = c_char_p

    def call(self, name: str, *arguments: object) -> None:
        error = Error()
        if getattr(self.c, name)(*arguments, byref(error)):
            raise FrcrnError(self.c.frcrn_status_name(error.status).decode(), error.text.decode())

    def open(self, bundle: Path, **options: Any) -> "Model":
        chosen = ModelOptions(size=ctypes.sizeof(ModelOptions), high_pass=-1)
        for name, value in options.items():
            given = os.fsencode(value) if isinstance(value, str | Path) else value
            setattr(chosen, name, given)
        handle = c_void_p()
        self.call("frcrn_model_open", os.fsencode(bundle), byref(chosen), byref(handle))
        return Model(self, handle)


def _pointer(array: Float32Array) -> Any:
    return array.ctypes.data_as(_Floats)


def _stream_options(options: dict[str, Any]) -> StreamOptions:
    return StreamOptions(
        size=ctypes.sizeof(StreamOptions), **{"attenuation_limit_db": -1.0, **options}
    )


class Model:
    """A model of the library."""

    def __init__(self, library: Library, handle: c_void_p) -> None:
        self.library, self.handle = library, handle

    def __del__(self) -> None:
        self.library.c.frcrn_model_free(self.handle)

    def info(self) -> ModelInfo:
        info = ModelInfo(size=ctypes.sizeof(ModelInfo))
        self.library.call("frcrn_model_get_info", self.handle, byref(info))
        return info

    def verify(self) -> list[tuple[str, str, float, float, bool]]:
        found: list[tuple[str, str, float, float, bool]] = []

        @CheckFunction
        def report(check: Any, user: object) -> int:
            c = check.contents
            found.append(
                (c.artifact.decode(), c.name.decode(), c.snr_db, c.max_abs, bool(c.passed))
            )
            return 0

        self.library.call("frcrn_model_verify", self.handle, report, None)
        return found

    def denoise(self, wave: Float32Array, **options: Any) -> Float32Array:
        chosen = DenoiseOptions(
            size=ctypes.sizeof(DenoiseOptions), **{"attenuation_limit_db": -1.0, **options}
        )
        given = np.ascontiguousarray(wave, np.float32)
        out = np.empty_like(given)
        arguments = (_pointer(given), _pointer(out), given.size, byref(chosen))
        self.library.call("frcrn_denoise", self.handle, *arguments)
        return out

    def stream(self, **options: Any) -> "Stream":
        handle = c_void_p()
        chosen = _stream_options(options)
        self.library.call("frcrn_stream_create", self.handle, byref(chosen), byref(handle))
        return Stream(self.library, handle)

    def batch(self, streams: int, **options: Any) -> "Batch":
        handle = c_void_p()
        chosen = _stream_options(options)
        self.library.call("frcrn_batch_create", self.handle, streams, byref(chosen), byref(handle))
        return Batch(self.library, handle, streams)


class Stream:
    """A stream of the library."""

    def __init__(self, library: Library, handle: c_void_p) -> None:
        self.library, self.handle = library, handle

    def __del__(self) -> None:
        self.library.c.frcrn_stream_free(self.handle)

    def process(self, block: Float32Array) -> Float32Array:
        given = np.ascontiguousarray(block, np.float32)
        out = np.empty(self.library.c.frcrn_stream_max_out(self.handle, given.size), np.float32)
        return self._call("frcrn_stream_process", out, _pointer(given), given.size)

    def process_in_place(self, block: Float32Array) -> Float32Array:
        """As `process`, with one buffer for both."""
        out = np.empty(self.library.c.frcrn_stream_max_out(self.handle, block.size), np.float32)
        out[: block.size] = block
        return self._call("frcrn_stream_process", out, _pointer(out), block.size)

    def flush(self) -> Float32Array:
        out = np.empty(self.library.c.frcrn_stream_pending(self.handle), np.float32)
        return self._call("frcrn_stream_flush", out)

    def _call(self, name: str, out: Float32Array, *arguments: Any) -> Float32Array:
        written = c_size_t(12345)
        self.library.call(name, self.handle, *arguments, _pointer(out), out.size, byref(written))
        return out[: written.value].copy()

    def reset(self) -> None:
        self.library.call("frcrn_stream_reset", self.handle)

    def stats(self) -> StreamStats:
        stats = StreamStats(size=ctypes.sizeof(StreamStats))
        self.library.call("frcrn_stream_get_stats", self.handle, byref(stats))
        return stats


@dataclass
class Batch:
    """A batch of streams of the library."""

    library: Library
    handle: c_void_p
    streams: int

    def __del__(self) -> None:
        self.library.c.frcrn_batch_free(self.handle)

    def process(self, blocks: list[Float32Array]) -> list[Float32Array]:
        given = [np.ascontiguousarray(block, np.float32) for block in blocks]
        most = [self.library.c.frcrn_batch_max_out(self.handle, len(block)) for block in given]
        outs = [np.empty(count, np.float32) for count in most]
        sizes = c_size_t * self.streams
        written = sizes()
        self.library.call(
            "frcrn_batch_process",
            self.handle,
            (_Floats * self.streams)(*map(_pointer, given)),
            sizes(*map(len, given)),
            (_Floats * self.streams)(*map(_pointer, outs)),
            sizes(*most),
            written,
        )
        return [out[:count].copy() for out, count in zip(outs, written, strict=True)]

    def flush(self, stream: int) -> Float32Array:
        out = np.empty(self.library.c.frcrn_batch_pending(self.handle, stream), np.float32)
        written = c_size_t()
        self.library.call(
            "frcrn_batch_flush", self.handle, stream, _pointer(out), out.size, byref(written)
        )
        return out[: written.value].copy()

    def reset(self, stream: int) -> None:
        self.library.call("frcrn_batch_reset", self.handle, stream)
