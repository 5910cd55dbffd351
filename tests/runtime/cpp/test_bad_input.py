"""Bad input through the C interface: a status, and a text that names the value."""

import json
import os
from collections.abc import Callable
from ctypes import byref, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bundles import STFT, manifest, replace_core, write_bundle
from tests.runtime.cpp.library import (
    DenoiseOptions,
    Error,
    FrcrnError,
    Library,
    ModelInfo,
    ModelOptions,
    _pointer,
)
from tests.runtime.cpp.test_recordings import noise
from tests.streaming_bundles import Core, write_streaming_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_streaming_bundle(tmp_path / "bundle", Core(), STFT)


def change(bundle: Path, *keys: Any, to: Any) -> None:
    """Set a value of the manifest; a key that is not there is made."""
    path = bundle / "manifest.json"
    document = json.loads(path.read_text())
    at = document
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = to
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("keys", "value", "text"),
    [
        (["schema"], 3, "schema 3 is later than this library's 2"),
        (["schema"], 1, "schema 1, this library reads 2; export the bundle again"),
        (["schema"], "two", "`schema` must be a whole number"),
        (["sample_rate"], 10**308, r"`sample_rate` is 1e\+308, it must be a whole number"),
        (["sample_rate"], 10**15, "`sample_rate` is 1000000000000000, it must be 1000 to 768000"),
        (["sample_rate"], 999, "`sample_rate` is 999, it must be 1000 to 768000"),
        (["domain"], "cepstrum", "`domain` is 'cepstrum', it must be one of: spectrum, waveform"),
        (["domain"], "waveform", "`stft` and the domain waveform contradict each other"),
        (["level"], None, "`level` must be text"),
        (["padding", "size"], 2**28, "`padding.size` is 268435456"),
        (["padding", "stride"], 0, "`padding.stride` is 0"),
        (["segments", "left"], 16_000, "`segments` drops at least as much as a window holds"),
        (["stft", "hop_length"], 0, "`stft.hop_length` is 0"),
        (["stft", "hop_length"], 1, "`stft` has an fft_length of more than 64 times"),
        (["stft", "window_length"], 639, "`stft` needs an even window_length"),
        (["stft", "hop_length"], 641, "`stft` needs hop_length <= window_length"),
        (["files", 0, "path"], "../core.onnx", r"leaves the bundle \('../core.onnx'\)"),
        (["files", 0, "path"], "/etc/passwd", "leaves the bundle"),
        (["files", 0, "path"], "a/../../b", "leaves the bundle"),
        (["files", 0, "path"], "a\nb", "is not printable"),
        (["files", 0, "sha256"], "00", "`files\\[0\\].sha256` must be 64 hex digits"),
        (["files", 0, "bytes"], -1, "`files\\[0\\].bytes` is -1"),
        (["files", 0, "precision"], "fp4", "'fp4', it must be one of: fp32, fp16, int8, fp8"),
        (["files", 0, "streaming", "chunk"], 2**22, "chunk` is 4194304"),
        (["files", 0, "streaming", "chunk"], 2, "`inputs` and a `chunk` that contradict"),
        (["files", 0, "streaming", "lookahead"], 2**20, "lookahead of more than 4096 calls"),
        (["files", 0, "inputs", 0, "shape"], ["b", 2**16, 2**16, 1], "more than 33554432 values"),
        (["files"], [{}] * 1_025, "`files` has 1025 entries, at most 1024"),
        (["high_pass"], {"cutoff_hz": 0}, "`high_pass.cutoff_hz` must be above 0"),
    ],
)
def test_a_manifest_out_of_bounds(
    keys: list[Any], value: Any, text: str, bundle: Path, library: Library
) -> None:
    change(bundle, *keys, to=value)
    with pytest.raises(FrcrnError, match=f"(?s)FRCRN_BUNDLE: .*manifest.json: .*{text}"):
        library.open(bundle)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "not JSON"),
        (b"[]", "`.*` ?must be an object|must be an object"),
        (b"\xff\xfe", "not JSON in UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"schema": 2}', "`model` is missing"),
        (b"[" + b"0," * (1 << 20) + b"0]", "too many values"),
    ],
)
def test_what_is_no_manifest(content: bytes, text: str, bundle: Path, library: Library) -> None:
    (bundle / "manifest.json").write_bytes(content)
    with pytest.raises(FrcrnError, match=f"FRCRN_BUNDLE: .*{text}"):
        library.open(bundle)


def test_files_that_are_not_those_of_the_manifest(bundle: Path, library: Library) -> None:
    core = bundle / "core.streaming.onnx"
    content = core.read_bytes()
    model = library.open(bundle)
    core.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(FrcrnError, match="FRCRN_BUNDLE: .*core.streaming.onnx: its sha256 is not"):
        model.stream()
    core.write_bytes(content + b"\0")
    with pytest.raises(FrcrnError, match=rf"FRCRN_BUNDLE: .*{len(content) + 1} bytes, the manif"):
        library.open(bundle)
    core.unlink()
    with pytest.raises(FrcrnError, match="FRCRN_BUNDLE: .*listed in the manifest but missing"):
        library.open(bundle)
    outside = bundle.parent / "outside.onnx"
    outside.write_bytes(content)
    core.symlink_to(outside)
    with pytest.raises(FrcrnError, match="FRCRN_BUNDLE: .*a link that leaves the bundle"):
        library.open(bundle)


def test_a_file_of_an_unfinished_transaction_is_found(bundle: Path, library: Library) -> None:
    staged = bundle / ".transaction" / "commit"
    staged.mkdir(parents=True)
    (bundle / "core.streaming.onnx").rename(staged / "core.streaming.onnx")
    assert len(library.open(bundle).stream().process(noise(2_000))) > 0


@pytest.mark.parametrize("content", [b"", b"\x08\x0a\x3a\xff", b"no ONNX at all", b"\x0b" * 50])
def test_a_core_that_is_no_onnx(content: bytes, tmp_path: Path, library: Library) -> None:
    bundle = write_bundle(tmp_path / "bundle", manifest(stft=None))
    replace_core(bundle, content)
    with pytest.raises(FrcrnError, match=r"FRCRN_(BUNDLE|BACKEND): .*core\.onnx"):
        library.open(bundle).denoise(noise(100))


def test_an_onnx_file_that_may_never_end(tmp_path: Path, library: Library) -> None:
    import onnx
    from onnx import helper

    bundle = write_bundle(tmp_path / "bundle", manifest(stft=None))
    body = helper.make_graph([helper.make_node("Loop", [], ["y"], body=empty())], "g", [], [])
    replace_core(bundle, helper.make_model(body).SerializeToString())
    with pytest.raises(FrcrnError, match="FRCRN_BUNDLE: .*a node 'Loop', which may never end"):
        library.open(bundle).denoise(noise(100))
    context = helper.make_graph([helper.make_node("EPContext", [], ["y"])], "g", [], [])
    replace_core(bundle, helper.make_model(context).SerializeToString())
    with pytest.raises(FrcrnError, match="FRCRN_BUNDLE: .*EPContext, which is compiled code"):
        library.open(bundle).denoise(noise(100))
    weights = helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0])
    weights.external_data.add(key="location", value="../../etc/passwd")
    outside = helper.make_graph([], "g", [], [], [weights])
    replace_core(bundle, helper.make_model(outside).SerializeToString())
    with pytest.raises(FrcrnError, match="FRCRN_BUNDLE: .*weights that lie in another file"):
        library.open(bundle).denoise(noise(100))


def empty() -> Any:
    from onnx import helper

    return helper.make_graph([], "body", [], [])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda lib, path: lib.open(path / "none"), "FRCRN_BUNDLE: .*none: no such folder"),
        (lambda lib, path: lib.open(path.parent), "FRCRN_BUNDLE: .*no manifest.json"),
        (
            lambda lib, path: lib.open(path / "manifest.json"),
            "FRCRN_BUNDLE: .*no such folder; give the folder",
        ),
        (lambda lib, path: lib.open(path, precision="fp4"), "FRCRN_ARGUMENT: precision 'fp4'; th"),
        (lambda lib, path: lib.open(path, provider="npu"), "FRCRN_ARGUMENT: provider 'npu'; there"),
        (lambda lib, path: lib.open(path, threads=-1), "FRCRN_ARGUMENT: threads are -1"),
        (lambda lib, path: lib.open(path, high_pass=2), "FRCRN_ARGUMENT: high_pass is 2"),
        (lambda lib, path: lib.open(path, size=9_999), "FRCRN_ARGUMENT: .*size is 9999, this lib"),
        (lambda lib, path: lib.open(path, size=0), "FRCRN_ARGUMENT: .*size is 0"),
        (
            lambda lib, path: lib.open(path, precision="int8").stream(),
            "FRCRN_UNSUPPORTED: .*no streaming core in int8",
        ),
        (
            lambda lib, path: lib.open(path).denoise(noise(10)),
            "FRCRN_UNSUPPORTED: .*no core in fp32",
        ),
        (
            lambda lib, path: lib.open(path, provider="cuda").stream(),
            "FRCRN_RUNTIME: .*has no CUDAExecutionProvider",
        ),
        (
            lambda lib, path: lib.open(path, provider="tensorrt").stream(),
            "FRCRN_RUNTIME: .*has no TensorrtExecutionProvider",
        ),
        (
            lambda lib, path: lib.open(path, provider="tensorrt-rtx").stream(),
            "FRCRN_RUNTIME: .*needs provider_library",
        ),
        (
            lambda lib, path: lib.open(
                path, provider="tensorrt-rtx", provider_library="/none.so"
            ).stream(),
            "FRCRN_RUNTIME: /none.so: not a provider",
        ),
        (lambda lib, path: lib.open(path).stream(gain=-1.0), "FRCRN_ARGUMENT: a gain of -1"),
        (lambda lib, path: lib.open(path).stream(gain=float("nan")), "FRCRN_ARGUMENT: a gain of"),
        (
            lambda lib, path: lib.open(path).stream(attenuation_limit_db=float("nan")),
            "FRCRN_ARGUMENT: an attenuation limit that is NaN",
        ),
        (
            lambda lib, path: lib.open(path).stream(sample_rate=999),
            "FRCRN_AUDIO: a sample rate of 999 Hz; give 1000 to 768000",
        ),
    ],
)
def test_arguments_that_cannot_be(
    call: Callable[[Library, Path], object], text: str, bundle: Path, library: Library
) -> None:
    with pytest.raises(FrcrnError, match=text):
        call(library, bundle)


@pytest.mark.parametrize(
    ("wave", "options", "text"),
    [
        (np.zeros(0), {}, "no samples"),
        (np.float32([0, np.nan]), {}, "sample 1 is -?nan"),
        (np.float32([0, 0, np.inf]), {}, "sample 2 is inf"),
        (np.float32([1e6]), {}, r"sample 0 is 1e\+06"),
        (np.zeros(10), {"sample_rate": 10}, "a sample rate of 10 Hz"),
    ],
)
def test_audio_that_cannot_be(
    wave: np.ndarray, options: dict[str, Any], text: str, tmp_path: Path, library: Library
) -> None:
    model = library.open(write_bundle(tmp_path / "bundle", manifest(stft=None)))
    with pytest.raises(FrcrnError, match=f"FRCRN_AUDIO: .*{text}"):
        model.denoise(wave, **options)


def test_null_pointers_and_small_buffers(bundle: Path, library: Library) -> None:
    c, error, handle = library.c, Error(), c_void_p(1)
    assert c.frcrn_model_open(None, None, byref(handle), byref(error)) == 1
    assert error.text == b"bundle is NULL"
    assert not handle.value
    assert c.frcrn_model_open(os.fsencode(bundle), None, None, byref(error)) == 1
    assert c.frcrn_model_open(None, None, byref(handle), None) == 1  # without an error
    assert c.frcrn_model_get_info(None, None, byref(error)) == 1
    assert c.frcrn_denoise(None, None, None, 0, None, byref(error)) == 1
    assert c.frcrn_stream_create(None, None, byref(handle), byref(error)) == 1
    for name in ("model_free", "stream_free", "batch_free", "live_stop"):
        getattr(c, f"frcrn_{name}")(None)
    model = library.open(bundle)
    assert c.frcrn_model_get_info(model.handle, None, byref(error)) == 1
    small = ModelInfo(size=4)
    assert c.frcrn_model_get_info(model.handle, byref(small), byref(error)) == 1
    older = ModelInfo(size=ModelInfo.licence.offset)  # of an earlier header
    assert c.frcrn_model_get_info(model.handle, byref(older), byref(error)) == 0
    assert (older.name, older.size) == (b"gain", ModelInfo.licence.offset)
    assert not older.licence
    stream, written = model.stream(), c_size_t(7)
    out = np.empty(10_000, np.float32)
    wave = noise(1_000)
    needed = c.frcrn_stream_max_out(stream.handle, 1_000)
    given = (stream.handle, _pointer(wave), 1_000, _pointer(out))
    assert c.frcrn_stream_process(*given, needed - 1, byref(written), byref(error)) == 7
    assert written.value == 0
    assert str(needed).encode() in error.text
    assert stream.stats().samples_in == 0  # nothing was consumed
    assert c.frcrn_stream_process(*given, needed, None, byref(error)) == 1
    assert c.frcrn_stream_process(stream.handle, None, 5, None, 0, byref(written), None) == 1
    assert c.frcrn_stream_process(*given, needed, byref(written), byref(error)) == 0
    flush = (stream.handle, _pointer(out), c.frcrn_stream_pending(stream.handle) - 1)
    assert c.frcrn_stream_flush(*flush, byref(written), byref(error)) == 7
    options = DenoiseOptions(size=1)
    arguments = (model.handle, _pointer(wave), _pointer(out), 10, byref(options), byref(error))
    assert c.frcrn_denoise(*arguments) == 1
    assert b"size is 1" in error.text


def test_lengths_that_no_memory_holds(bundle: Path, library: Library) -> None:
    """Such as a negative count of a sound card, passed on."""
    c, error, written = library.c, Error(), c_size_t(7)
    model = library.open(bundle)
    stream, buffer = model.stream(), np.zeros(8_192, np.float32)
    for n in (2**64 - 1, 2**64 - 32, 2**62):
        assert c.frcrn_stream_max_out(stream.handle, n) == 2**64 - 1
        given = (stream.handle, _pointer(buffer), n, _pointer(buffer), buffer.size)
        assert c.frcrn_stream_process(*given, byref(written), byref(error)) == 1
        assert str(n).encode() in error.text
        arguments = (model.handle, _pointer(buffer), _pointer(buffer), n, None, byref(error))
        assert c.frcrn_denoise(*arguments) == 1
    nothing = (stream.handle, None, 0, None, 0)
    assert c.frcrn_stream_max_out(stream.handle, 0) == 0
    assert c.frcrn_stream_process(*nothing, byref(written), byref(error)) == 0
    assert (written.value, error.status, error.text) == (0, 0, b"")


@pytest.mark.parametrize(
    ("precision", "command"),
    [
        ("int8", "frcrn-export calibrate '{}' --for cpu --calib FOLDER --streaming"),
        ("fp16", "frcrn-export onnx --streaming --fp16 -o NEW_BUNDLE"),
    ],
)
def test_what_is_missing_names_the_command_that_makes_it(
    precision: str, command: str, library: Library, tmp_path: Path
) -> None:
    bundle = write_streaming_bundle(tmp_path / "mein Büro", Core(), STFT)
    with pytest.raises(FrcrnError, match="FRCRN_UNSUPPORTED") as raised:
        library.open(bundle, precision=precision).stream()
    assert command.format(bundle) in raised.value.text
    (bundle / "manifest.json").unlink()
    with pytest.raises(FrcrnError, match=f"frcrn-export onnx -o '{bundle}'$"):
        library.open(bundle, onnxruntime="/none.so")  # the bundle is named first


def test_an_error_text_is_cut_to_its_place(bundle: Path, library: Library) -> None:
    with pytest.raises(FrcrnError) as raised:
        library.open(bundle / ("x" * 200) / ("y" * 200) / ("z" * 2_000))
    assert len(raised.value.text) == 1_023


def test_options_of_a_smaller_struct_are_those_of_an_earlier_header(
    bundle: Path, library: Library
) -> None:
    options = ModelOptions(size=ModelOptions.threads.offset, high_pass=77, threads=-5)
    handle = c_void_p()
    library.call("frcrn_model_open", os.fsencode(bundle), byref(options), byref(handle))
    library.c.frcrn_model_free(handle)
