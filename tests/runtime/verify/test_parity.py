import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from frcrn_export.exporters.stft_ops import StftAnalysis, StftSynthesis
from frcrn_export.runtime.audio import stft
from frcrn_export.runtime.audio.stft import periodic_window
from frcrn_export.runtime.bundle.manifest import (
    MANIFEST_NAME,
    ParityResult,
    TensorrtBackend,
    Window,
)
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle, sha256_of
from frcrn_export.runtime.errors import BackendError, BundleError
from frcrn_export.runtime.verify import parity
from frcrn_export.runtime.verify.parity import check_bundle, compare, read_cases
from tests.bundles import STFT, manifest
from tests.int8_standins import add_int8, scaled
from tests.standin.gpu import SimulatedGpu
from tests.standin.install import add_engine


def rewrite_manifest(path: Path) -> None:
    """Make the manifest agree with files that a test changed."""
    manifest = open_bundle_unchecked(path)
    files = tuple(
        msgspec.structs.replace(
            entry,
            sha256=sha256_of(path / entry.path),
            bytes=(path / entry.path).stat().st_size,
        )
        for entry in manifest.files
    )
    (path / MANIFEST_NAME).write_bytes(msgspec.structs.replace(manifest, files=files).to_json())


def open_bundle_unchecked(path: Path):  # type: ignore[no-untyped-def]
    from frcrn_export.runtime.bundle.parse import parse_manifest

    return parse_manifest((path / MANIFEST_NAME).read_bytes())


def of_files(bundle: Bundle, backends: tuple[str, ...] = ()) -> list[ParityResult]:
    """The comparisons of the bundle's files, without those of the runtime's own NumPy."""
    return [r for r in check_bundle(bundle, backends) if "numpy" not in r.artifact]


@pytest.fixture
def bundle_path(wave_unet_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(wave_unet_bundle, tmp_path / "bundle"))


def test_an_untouched_bundle_passes(bundle_path: Path) -> None:
    results = of_files(replace(open_bundle(bundle_path), trusted=True))
    assert {result.artifact for result in results} == {"core.onnx", "core.pt"}
    assert {result.case.split(".")[0] for result in results} == {"core", "pipeline", "levelled"}
    assert all(result.passed for result in results)


def test_one_weight_off_by_one_percent_fails(bundle_path: Path) -> None:
    model = onnx.load(bundle_path / "core.onnx")
    tensor = [t for t in model.graph.initializer if len(t.dims) == 3][-1]
    values = numpy_helper.to_array(tensor).copy()
    values.flat[np.abs(values).argmax()] *= 1.01
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, bundle_path / "core.onnx")
    rewrite_manifest(bundle_path)
    bundle = replace(open_bundle(bundle_path), trusted=True)
    results = {r.artifact: r.passed for r in of_files(bundle)}
    assert results == {"core.onnx": False, "core.pt": True}


def test_only_the_named_backends(bundle_path: Path) -> None:
    results = of_files(open_bundle(bundle_path), ("torchscript",))
    assert {result.artifact for result in results} == {"core.pt"}


def add_wave_engine(path: Path, backend: TensorrtBackend = "tensorrt", **changes: object) -> str:
    """An engine of a waveform core, for all lengths of the parity vectors; its file's name."""
    shapes = {"low": (1, 1, 256), "best": (1, 1, 16_384), "high": (2, 1, 1 << 20)}
    return add_engine(path, backend, **{**shapes, **changes}).path


@pytest.mark.parametrize("backends", [(), ("tensorrt",)])
def test_an_engine_is_compared_by_its_own_backend(
    gpu: SimulatedGpu, bundle_path: Path, backends: tuple[str, ...]
) -> None:
    classic, rtx = add_wave_engine(bundle_path), add_wave_engine(bundle_path, "tensorrt-rtx")
    results = of_files(open_bundle(bundle_path), backends)
    assert all(result.passed for result in results)
    engines = {result.artifact for result in results} - {"core.onnx"}
    assert engines == ({classic} if backends else {classic, rtx})
    of_one = {result.case.split(".")[0] for result in results if result.artifact == classic}
    assert of_one == {"core", "pipeline", "levelled"}
    assert {result.floor_db for result in results if result.artifact == classic} == {45.0}
    assert gpu.executions > 0


def test_cores_inputs_outside_the_profile_are_left_out(
    gpu: SimulatedGpu, bundle_path: Path
) -> None:
    window = open_bundle(bundle_path).manifest.segments.length
    add_wave_engine(bundle_path, best=(1, 1, window), high=(1, 1, window))
    results = list(check_bundle(open_bundle(bundle_path), ("tensorrt",)))
    cases = {result.case for result in results if result.case.startswith("core.")}
    assert cases == {"core.7-frames", "core.49-frames"}  # the batch is not there
    assert all(result.passed for result in results)  # the long pipeline goes through windows


def test_engines_for_other_gpus_are_left_out(gpu: SimulatedGpu, bundle_path: Path) -> None:
    fitting, foreign = add_wave_engine(bundle_path), add_wave_engine(bundle_path, sm=120)
    bundle = open_bundle(bundle_path)
    assert {r.artifact for r in of_files(bundle, ("tensorrt",))} == {fitting}
    gpu.capability = (7, 5)
    assert {r.artifact for r in of_files(bundle)} == {"core.onnx"}
    with pytest.raises(BackendError, match=f"^{fitting} is for rtx4090d"):
        list(check_bundle(bundle, ("tensorrt",)))
    assert foreign != fitting


def test_without_a_gpu_engines_are_left_out_unless_named(bundle_path: Path) -> None:
    """With the real packages, as far as they are here."""
    add_wave_engine(bundle_path, "tensorrt-rtx", version="1.0")
    bundle = open_bundle(bundle_path)
    assert {r.artifact for r in of_files(bundle)} == {"core.onnx"}
    with pytest.raises(BackendError, match="tensorrt-rtx"):
        list(check_bundle(bundle, ("tensorrt-rtx",)))


def test_a_wrong_shape_or_a_nan_never_passes() -> None:
    ones = np.ones(4, np.float32)
    assert compare("a", "c", ones, ones, None).passed
    assert compare("a", "c", ones, ones, None).snr_db == 300.0
    for bad in (
        np.ones(5, np.float32),
        np.float32([1, np.nan, 1, 1]),
        np.float32([1, np.inf, 1, 1]),
    ):
        result = compare("a", "c", ones, bad, None)
        assert not result.passed
        msgspec.json.encode(result)  # stays a number that JSON knows


def test_the_floor_is_that_of_the_precision() -> None:
    expected = np.ones(1000, np.float32)
    assert compare("a", "c", expected, expected * np.float32(1.00001), None).passed
    assert not compare("a", "c", expected, expected * np.float32(1.001), None).passed


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_vectors_that_cannot_be_read(bundle_path: Path, content: bytes) -> None:
    (bundle_path / "parity.npz").write_bytes(content)
    rewrite_manifest(bundle_path)
    with pytest.raises(BundleError, match="not parity vectors"):
        read_cases(open_bundle(bundle_path))


def test_vectors_that_would_run_code(bundle_path: Path) -> None:
    class Harm:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return Path.touch, (bundle_path / "harmed",)

    np.savez(bundle_path / "parity.npz", **{"core.x.input": np.array([Harm()], dtype=object)})
    rewrite_manifest(bundle_path)
    with pytest.raises(BundleError, match="not parity vectors"):
        read_cases(open_bundle(bundle_path))
    assert not (bundle_path / "harmed").exists()


def test_one_window_sample_off_by_one_percent_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    wave = 0.1 * np.random.default_rng(0).standard_normal((2, 4_000)).astype(np.float32)
    with torch.inference_mode():
        spec = StftAnalysis(STFT)(torch.from_numpy(wave))
        back = StftSynthesis(STFT)(spec)
    cases = [
        parity.Case("pre", "noise", wave, spec.numpy()),
        parity.Case("post", "noise", spec.numpy(), back.numpy()),
    ]
    bundle = Bundle(Path(), manifest(stft=STFT))

    def passed() -> dict[str, bool]:
        return {r.case: r.passed for r in parity._check_surroundings(bundle, cases)}

    assert passed() == {"pre.noise": True, "post.noise": True}

    def off(kind: Window, length: int) -> np.ndarray:
        window = periodic_window(kind, length)
        window[length // 2] *= 1.01
        return window

    monkeypatch.setattr(stft, "periodic_window", off)
    assert passed() == {"pre.noise": False, "post.noise": False}


def test_int8_cores_have_their_own_floor(bundle_path: Path) -> None:
    add_int8(bundle_path, lambda model: scaled(model, 1.05))  # 26 dB
    add_int8(bundle_path, lambda model: scaled(model, 1.2), "tensorrt")  # 14 dB
    results = list(check_bundle(open_bundle(bundle_path), ("onnxruntime-cpu",)))
    of_int8 = [result for result in results if ".int8." in result.artifact]
    assert {result.case.split(".")[0] for result in of_int8} == {"core", "pipeline", "levelled"}
    for result in of_int8:
        assert result.floor_db == 20.0
        assert result.passed == (result.artifact == "core.int8.cpu.onnx")
    assert all(result.passed for result in results if result.artifact == "core.onnx")
