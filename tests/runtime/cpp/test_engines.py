"""Engines through EPContext files: which one is taken, what is checked, and that all its rows run.

There is no GPU here. A stand-in for ONNX Runtime has TensorRT's provider by name, and opens in
place of an EPContext file the ONNX file `*.standin.onnx` beside it, whose rows are fixed as those
of an engine.
"""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper

from frcrn_export.engines.ep_context import context_name
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import sha256_of
from tests.bundles import STFT, write_bundle
from tests.runtime.cpp.library import FrcrnError, Library
from tests.runtime.cpp.test_recordings import noise
from tests.standin.install import add_engine
from tests.streaming_bundles import Core, write_streaming_bundle

PROVIDER = """
#include <dlfcn.h>
#include <string.h>
#include <stdio.h>
#include <onnxruntime_c_api.h>
static OrtApi api;
static const OrtApi *real;
static char *names[] = {"TensorrtExecutionProvider", "CUDAExecutionProvider"};
static OrtStatusPtr list(char ***out, int *count) { *out = names; *count = 2; return NULL; }
static OrtStatusPtr release(char **list, int count) { return NULL; }
static OrtStatusPtr trt(OrtTensorRTProviderOptionsV2 **out) { *out = NULL; return NULL; }
static void no_trt(OrtTensorRTProviderOptionsV2 *options) {}
static OrtStatusPtr cuda(OrtCUDAProviderOptionsV2 **out) { *out = NULL; return NULL; }
static void no_cuda(OrtCUDAProviderOptionsV2 *options) {}
static OrtStatusPtr add_trt(OrtSessionOptions *o, const OrtTensorRTProviderOptionsV2 *p) {
    return NULL;
}
static OrtStatusPtr add_cuda(OrtSessionOptions *o, const OrtCUDAProviderOptionsV2 *p) {
    return NULL;
}
static OrtStatusPtr create(const OrtEnv *env, const char *path, const OrtSessionOptions *options,
                           OrtSession **out) {
    char found[4096];
    const char *end = strstr(path, ".context.onnx");
    if (end == NULL) return real->CreateSession(env, path, options, out);
    snprintf(found, sizeof found, "%.*s.standin.onnx", (int)(end - path), path);
    return real->CreateSession(env, found, options, out);
}
static const OrtApi *get(uint32_t version) { return &api; }
static const char *version(void) { return "1.99.0"; }
const OrtApiBase *OrtGetApiBase(void) {
    static OrtApiBase base = {get, version};
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    real = ((const OrtApiBase *(*)(void))dlsym(library, "OrtGetApiBase"))()->GetApi(17);
    api = *real;
    api.GetAvailableProviders = list;
    api.ReleaseAvailableProviders = release;
    api.CreateTensorRTProviderOptions = trt;
    api.ReleaseTensorRTProviderOptions = no_trt;
    api.CreateCUDAProviderOptions = cuda;
    api.ReleaseCUDAProviderOptions = no_cuda;
    api.SessionOptionsAppendExecutionProvider_TensorRT_V2 = add_trt;
    api.SessionOptionsAppendExecutionProvider_CUDA_V2 = add_cuda;
    api.CreateSession = create;
    return &base;
}
"""
ROW = (2, 321, 1)
CORE = Core("halved_end", 1, 2)


@pytest.fixture(scope="module")
def provider(
    cpp_build: Path, onnxruntime_library: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """ONNX Runtime with a stand-in for TensorRT's provider."""
    include = re.search(
        r"ONNXRUNTIME_INCLUDE_DIR:\w+=(.*)", (cpp_build / "CMakeCache.txt").read_text()
    )
    assert include is not None
    folder = tmp_path_factory.mktemp("provider")
    source, made = folder / "provider.c", folder / "provider.so"
    source.write_text(PROVIDER)
    command = ["cc", "-shared", "-fPIC", "-I", include[1], f'-DLIBRARY="{onnxruntime_library}"']
    subprocess.run([*command, str(source), "-o", str(made), "-ldl"], check=True)
    return made


def standin(root: Path, engine: FileEntry) -> None:
    """What runs in place of an engine: its ONNX file, with the sizes that the engine fixes."""
    assert engine.engine is not None
    profile = engine.engine.profile
    fixed = {
        name: low
        for name, low, high in zip(engine.inputs[0].shape, profile.min, profile.max, strict=True)
        if low == high
    }
    model = onnx.load(root / engine.engine.source)
    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param in fixed:
                size.dim_value = fixed[size.dim_param]
    onnx.save(model, root / f"{Path(engine.path).stem}.standin.onnx")


def with_streams(root: Path, *rows: int, **changes: Any) -> list[FileEntry]:
    """Engines of a bundle's streaming core for these numbers of streams."""
    made = []
    for count in rows:
        shape = (count, *ROW)
        facts = {"low": shape, "best": shape, "high": shape, "context": True, **changes}
        made.append(add_engine(root, **facts))
        standin(root, made[-1])
    return made


@pytest.fixture
def streams(tmp_path: Path) -> Path:
    return write_streaming_bundle(tmp_path / "bundle", CORE, STFT)


def test_a_stream_through_an_engine_is_one_through_the_onnx_file(
    streams: Path, library: Library, provider: Path
) -> None:
    with_streams(streams, 1)
    wave = noise(9_000)
    found, expected = [], []
    for out, options in (
        (found, {"onnxruntime": provider, "provider": "tensorrt"}),
        (expected, {}),
    ):
        stream = library.open(streams, **options).stream()
        out += [stream.process(wave[:7]), stream.process(wave[7:]), stream.flush()]
        stream.reset()
        out.append(stream.process(wave))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    # It was the engine: without its stand-in nothing opens.
    next(streams.glob("*.standin.onnx")).unlink()
    with pytest.raises(FrcrnError, match="FRCRN_BACKEND: .*context.onnx: cannot be loaded by prov"):
        library.open(streams, onnxruntime=provider, provider="tensorrt").stream()
    library.open(streams, onnxruntime=provider, provider="cpu").stream()


def test_all_rows_of_an_engine_run_whoever_is_ready(
    streams: Path, library: Library, provider: Path
) -> None:
    with_streams(streams, 1, 3)
    waves = [noise(6_000, seed) for seed in range(3)]
    results = []
    for options in ({"onnxruntime": provider, "provider": "tensorrt"}, {}):
        batch = library.open(streams, **options).batch(3)
        random = np.random.default_rng(0)
        given, done = [0, 0, 0], [[], [], []]
        while min(given) < 6_000:
            blocks = []
            for index, wave in enumerate(waves):
                # Often only some have enough for a call.
                n = int(random.integers(0, 700)) * int(random.integers(0, 2))
                blocks.append(wave[given[index] : given[index] + n])
                given[index] += len(blocks[-1])
            for index, out in enumerate(batch.process(blocks)):
                done[index].append(out)
        for index in (1, 0, 2):
            done[index].append(batch.flush(index))
        results.append([np.concatenate(parts) for parts in done])
    for one, other, wave in zip(*results, waves, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.shape == wave.shape


def test_rows_that_no_engine_has(streams: Path, library: Library, provider: Path) -> None:
    with_streams(streams, 3)
    model = library.open(streams, onnxruntime=provider, provider="tensorrt")
    assert model.info().streaming
    command = rf"frcrn-export trt {streams} --fp16 --backend tensorrt --gpu rtx4090d --streaming"
    for count, make in ((2, lambda: model.batch(2)), (1, model.stream)):
        found = f"FRCRN_UNSUPPORTED: .*no tensorrt engine for {count} streams .*{command}"
        with pytest.raises(FrcrnError, match=f"{found} --batch {count}$"):
            make()


def test_float16_comes_first_and_8_bits_are_asked_for(
    streams: Path, library: Library, provider: Path
) -> None:
    def taken(**options: Any) -> str:
        for file in streams.glob("*.standin.onnx"):
            file.unlink(missing_ok=True)
        with pytest.raises(FrcrnError) as error:
            library.open(streams, onnxruntime=provider, **options).stream()
        found = re.search(r"\.(fp16|fp32|int8)\.sm89\.([a-z-]*)\.context", error.value.text)
        return " ".join(found.groups()) if found else error.value.text

    with_streams(streams, 1, precision="int8")
    with_streams(streams, 1, precision="fp32", backend="tensorrt-rtx")
    # No engine of TensorRT that may run unasked: the ONNX file.
    library.open(streams, onnxruntime=provider, provider="tensorrt").stream()
    assert taken(provider="tensorrt", precision="int8") == "int8 tensorrt"
    with_streams(streams, 1, precision="fp32")
    assert taken(provider="tensorrt") == "fp32 tensorrt"
    with_streams(streams, 1, precision="fp16")
    assert taken(provider="tensorrt") == "fp16 tensorrt"
    assert taken(provider="tensorrt", precision="fp32") == "fp32 tensorrt"
    library.open(streams, onnxruntime=provider, provider="cuda").stream()


def test_an_engine_without_a_context_file_is_not_taken(
    streams: Path, library: Library, provider: Path
) -> None:
    with_streams(streams, 1, context=False)
    library.open(streams, onnxruntime=provider, provider="tensorrt").stream()


def test_recordings_whole_and_in_windows(tmp_path: Path, library: Library, provider: Path) -> None:
    root = write_bundle(tmp_path / "bundle", gain=0.5)
    sizes = {"low": (1, 1, 16), "best": (1, 1, 16_000), "high": (1, 1, 16_000)}
    standin(root, add_engine(root, context=True, **sizes))
    model = library.open(root, onnxruntime=provider, provider="tensorrt")
    for n in (1_000, 50_000):  # the second is longer than the profile
        wave = noise(n)
        np.testing.assert_allclose(model.denoise(wave), wave / 2, atol=1e-7)
    sizes["high"] = (1, 1, 15_999)
    shorter = write_bundle(tmp_path / "shorter", gain=0.5)
    standin(shorter, add_engine(shorter, context=True, **{**sizes, "best": (1, 1, 16)}))
    with pytest.raises(FrcrnError) as error:
        library.open(shorter, onnxruntime=provider, provider="tensorrt").denoise(noise(1_000))
    assert error.value.status == "FRCRN_UNSUPPORTED"
    assert "its profile takes no input of 16000 frames or samples; build it aga" in error.value.text
    command = f"frcrn-export trt {shorter} --fp16 --backend tensorrt --gpu rtx4090d --force"
    assert error.value.text.endswith(command)


def test_without_the_provider_it_is_named(streams: Path, library: Library) -> None:
    with_streams(streams, 1)
    with_streams(streams, 1, backend="tensorrt-rtx")
    with pytest.raises(FrcrnError, match=r"FRCRN_RUNTIME: .* has no TensorrtExecutionProvider"):
        library.open(streams, provider="tensorrt").stream()
    with pytest.raises(FrcrnError, match='FRCRN_RUNTIME: provider "tensorrt-rtx" needs provider_l'):
        library.open(streams, provider="tensorrt-rtx").stream()


@pytest.mark.parametrize("which", ["engine", "context.onnx"])
def test_both_files_are_those_of_the_manifest(
    streams: Path, library: Library, provider: Path, which: str
) -> None:
    with_streams(streams, 1)
    file = next(streams.glob(f"*.{which}"))
    file.write_bytes(file.read_bytes()[::-1])
    model = library.open(streams, onnxruntime=provider, provider="tensorrt")
    with pytest.raises(FrcrnError, match=f"FRCRN_BUNDLE: {file}: its sha256 is not the manifest's"):
        model.stream()


def attribute(name: str, value: object) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        (node,) = model.graph.node
        kept = [each for each in node.attribute if each.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def two_nodes(model: onnx.ModelProto) -> None:
    model.graph.node.append(model.graph.node[0])


def another_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Loop"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (attribute("ep_cache_context", "../other.engine"), r"another file, '\.\./other\.engine'"),
        (attribute("ep_cache_context", "core.onnx"), "another file, 'core.onnx' instead of"),
        (attribute("embed_mode", 1), "an engine of its own"),
        (attribute("onnx_model_filename", "/etc/passwd"), "an attribute 'onnx_model_filename'"),
        (two_nodes, "more than one node"),
        (another_operator, "a node 'Loop'"),
    ],
)
def test_a_hostile_context_is_refused(
    streams: Path,
    library: Library,
    provider: Path,
    change: Callable[[onnx.ModelProto], None],
    text: str,
) -> None:
    (engine,) = with_streams(streams, 1)
    path = streams / context_name(engine.path)
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    relist(streams, path.name, sha256=sha256_of(path), bytes=path.stat().st_size)
    again = r"build the engine again: frcrn-export trt \S+ --fp16 .* --batch 1 --force$"
    with pytest.raises(FrcrnError, match=f"FRCRN_BUNDLE: {path}: it holds .*{text}.*; {again}"):
        library.open(streams, onnxruntime=provider, provider="tensorrt").stream()


def test_a_context_that_is_another_file_of_the_bundle(
    streams: Path, library: Library, provider: Path
) -> None:
    (engine,) = with_streams(streams, 1)
    assert engine.engine is not None
    for other in (engine.engine.source, "none.onnx"):
        info = msgspec.structs.replace(engine.engine, context=other)
        relist(streams, engine.path, engine=info)
        with pytest.raises(FrcrnError, match=f"{other}: no EPContext file of the manifest; build"):
            library.open(streams, onnxruntime=provider, provider="tensorrt").stream()


def test_a_name_for_which_the_provider_opens_another_file(
    streams: Path, library: Library, provider: Path
) -> None:
    (engine,) = with_streams(streams, 1)
    (streams / engine.path).rename(streams / "core.stripped.engine")
    relist(streams, engine.path, path="core.stripped.engine")
    with pytest.raises(FrcrnError, match="'core.stripped.engine' is named as one without weights"):
        library.open(streams, onnxruntime=provider, provider="tensorrt").stream()


def relist(root: Path, listed: str, **changes: Any) -> None:
    """Change what the manifest says of a file, without a check."""
    manifest = json.loads((root / "manifest.json").read_bytes())
    entry = next(each for each in manifest["files"] if each["path"] == listed)
    entry.update(msgspec.to_builtins(changes))
    (root / "manifest.json").write_text(json.dumps(manifest))
