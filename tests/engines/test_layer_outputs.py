"""Engines against float32, layer by layer: on the simulated GPU, and a real build."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from frcrn_export.engines import layer_outputs
from frcrn_export.engines.build import BuiltEngine, OnnxSource, build_network
from frcrn_export.engines.layer_outputs import check_engine_layers, with_float_outputs
from frcrn_export.engines.options import BuildOptions
from frcrn_export.exporters.layer_parity import check_layers
from frcrn_export.runtime.bundle.layer_report import LayerReport
from frcrn_export.runtime.bundle.manifest import Precision, TensorrtBackend
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import BackendError, BundleError, UserError
from tests.engines.tiny import options, tiny_model
from tests.exporters.test_layer_parity import NAMES, scale_weight
from tests.runtime.verify.test_parity import rewrite_manifest
from tests.standin.gpu import SimulatedGpu
from tests.standin.install import add_engine, simulated_gpu
from tests.standin.tensorrt import VERSIONS, PlanHeader, make_plan

BACKENDS: tuple[TensorrtBackend, ...] = ("tensorrt", "tensorrt-rtx")


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedGpu]:
    def build(source: Path, network: OnnxSource, chosen: BuildOptions) -> BuiltEngine:
        profile = chosen.profile
        header = PlanHeader(chosen.backend, (profile.min, profile.opt, profile.max))
        report = LayerReport(layers=(), io=(), nodes={})
        version = VERSIONS[chosen.backend]
        return BuiltEngine(make_plan(network.model, header), report, "", 0.0, version, 13)

    monkeypatch.setattr(layer_outputs, "build_network", build)
    with simulated_gpu(monkeypatch, tmp_path / "cache") as simulated:
        yield simulated


def with_engines(made: Bundle, root: Path, backend: TensorrtBackend) -> Bundle:
    """A copy with engines of the float16 cores, offline and streaming."""
    shutil.copytree(made.path, root)
    chunk = made.manifest.file("core_streaming", "onnx", "fp16")
    assert chunk is not None
    assert chunk.streaming is not None
    add(root, "core.fp16.onnx", backend, ((1, 1, 16), (1, 1, 1600), (8, 1, 160_000)))
    add(root, "core.streaming.fp16.onnx", backend, ((4, 1, chunk.streaming.chunk),) * 3)
    return open_bundle(root)


def add(
    root: Path,
    source: str,
    backend: TensorrtBackend,
    profile: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
    precision: Precision = "fp16",
) -> None:
    low, best, high = profile
    add_engine(root, backend, low=low, best=best, high=high, precision=precision, source=source)


@pytest.mark.parametrize("backend", BACKENDS)
def test_engines_are_compared_like_their_files(
    gpu: SimulatedGpu, small_wave_bundle: Bundle, tmp_path: Path, backend: TensorrtBackend
) -> None:
    bundle = with_engines(small_wave_bundle, tmp_path / "b", backend)
    reports = check_engine_layers(bundle, backend)
    for report, file in zip(reports, check_layers(bundle), strict=True):
        assert report.artifact.endswith(f".{backend}.engine on its backend")
        assert (report.reference, report.case) == (file.reference, file.case)
        found = [layer.layer.removeprefix("layers.") for layer in report.layers]
        assert found == [name.removeprefix("layers.") for name in NAMES]
        assert all(layer.snr_db > 50 for layer in report.layers)
        assert report.output.passed
        assert gpu.name in report.remark


def test_the_largest_drop_is_where_the_error_is(
    gpu: SimulatedGpu, small_wave_bundle: Bundle, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(small_wave_bundle.path, tmp_path / "b"))
    scale_weight(root / "core.fp16.onnx", "synthesis.weight", 1.1)
    add(root, "core.fp16.onnx", "tensorrt", ((1, 1, 16), (1, 1, 1600), (8, 1, 160_000)))
    (report,) = check_engine_layers(open_bundle(root), "tensorrt")
    assert report.worst is not None
    assert report.worst.layer == "synthesis"
    assert not report.output.passed


def test_what_cannot_be_compared(
    gpu: SimulatedGpu, small_wave_bundle: Bundle, tmp_path: Path
) -> None:
    bundle = with_engines(small_wave_bundle, tmp_path / "b", "tensorrt")
    with pytest.raises(UserError, match="no engine for tensorrt-rtx .* --backend tensorrt-rtx"):
        check_engine_layers(bundle, "tensorrt-rtx")
    with pytest.raises(UserError, match="no int8 engine .* --int8 --backend tensorrt "):
        check_engine_layers(bundle, "tensorrt", "int8")
    gpu.capability = (9, 0)
    with pytest.raises(BackendError, match=r"SM 8\.9.*SM 9\.0"):
        check_engine_layers(bundle, "tensorrt")
    gpu.capability = (8, 9)
    scale_weight(bundle.path / "core.fp16.onnx", "synthesis.weight", 1.1)
    rewrite_manifest(bundle.path)
    with pytest.raises(BundleError, match=r"no longer in .*; run: frcrn-export trt "):
        check_engine_layers(open_bundle(bundle.path), "tensorrt")


def test_a_real_builder_takes_the_further_outputs(tmp_path: Path) -> None:
    model = tiny_model()
    tensors = [node.output[0] for node in model.graph.node if node.op_type == "Conv"]
    content = with_float_outputs(model, [*tensors, tensors[0]]).SerializeToString()
    source = OnnxSource(content, "spec", {})
    built = build_network(tmp_path / "core.onnx", source, options())
    assert len(built.plan) > 1000
    named = {binding.name for binding in built.layers.io}
    assert {f"{name}:float32" for name in tensors} < named
    assert np.isfinite(built.seconds)
