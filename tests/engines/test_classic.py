"""The path of classic TensorRT, on a stand-in that has its signatures."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorrt_rtx as rtx

from frcrn_export.engines import options as options_module
from frcrn_export.engines.build import build_plan
from frcrn_export.engines.gpus import TargetGpu, find_gpu
from frcrn_export.runtime.bundle.layer_report import census, read_layer_report
from frcrn_export.runtime.errors import BackendError, UserError
from tests.engines import classic
from tests.engines.classic import ClassicTensorRT, TimingCache
from tests.engines.tiny import options, tiny_core

SIGNATURES = Path(__file__).parents[3] / "shared" / "typing" / "tensorrt" / "__init__.pyi"

# As TensorRT 10 prints an engine: type and layout in one field, no I/O tensors.
LAYERS_OF_10 = """\
Layers:
Name: reformat, LayerType: Reformat, Inputs: [ { Name: spec, Location: Device, Dimensions: \
[1,2,65,10], Format/Datatype: Row major linear FP32 }], Outputs: [ { Name: spec_fp16, Location: \
Device, Dimensions: [1,2,65,10], Format/Datatype: Channel major FP16 format where channel % 8 == 0 \
}], ParameterType: Reformat, Origin: CAST, TacticValue: 0x0, StreamId: 0, Metadata: \
[ONNX Layer: to_fp16]
Name: node_conv2d + node_leaky_relu, LayerType: CaskConvolution, Inputs: [ { Name: spec_fp16, \
Location: Device, Dimensions: [1,2,65,10], Format/Datatype: Channel major FP16 format where \
channel % 8 == 0 }], Outputs: [ { Name: relu, Location: Device, Dimensions: [1,8,65,10], \
Format/Datatype: Channel major FP16 format where channel % 8 == 0 }], ParameterType: Convolution, \
Kernel: [5,1], TacticName: sm80_xmma_fprop_implicit_gemm_f16f16, StreamId: 0, Metadata: \
[ONNX Layer: node_conv2d]\x1e[ONNX Layer: node_leaky_relu]

Bindings:
spec
enhanced
"""

Install = Callable[..., ClassicTensorRT]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put the stand-in and a GPU in the machine."""

    def put(gpu: TargetGpu | None = None, **how: str) -> ClassicTensorRT:
        module = ClassicTensorRT(**how)
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        monkeypatch.setattr(options_module, "present_gpu", lambda: gpu or find_gpu("rtx4090"))
        monkeypatch.setattr("frcrn_export.engines.versions.driver_cuda", lambda: 12)
        return module

    return put


@pytest.fixture
def core(tmp_path: Path) -> Path:
    return tiny_core(tmp_path / "core.fp16.onnx")


@pytest.mark.parametrize("version", ["10.3.0.26", "10.13.3.9", "11.4.0.1"])
def test_builds_with_10_and_11(install: Install, core: Path, version: str) -> None:
    install(version=version)
    built = build_plan(core, options("tensorrt"))
    assert (built.version, built.cuda) == (version, 12)
    assert census(built.layers)["Conv"] == {"Half": 2}


def test_asks_the_engine_for_its_layers_where_the_builder_did_not_log_them(
    install: Install, core: Path
) -> None:
    install(version="10.3.0", layers=LAYERS_OF_10)
    counts = census(build_plan(core, options("tensorrt")).layers)
    assert counts["Conv"] == {"Half": 1, "unlisted": 1}
    assert counts["LeakyRelu"] == {"Half": 1}


def test_options_reach_the_builder(install: Install, core: Path) -> None:
    module = install()
    build_plan(
        core, options("tensorrt", workspace_bytes=1 << 28, hardware_compatible=True, tf32=False)
    )
    (config,) = module.configs
    assert config.real.get_memory_pool_limit(rtx.MemoryPoolType.WORKSPACE) == 1 << 28
    assert config.hardware_compatibility_level == rtx.HardwareCompatibilityLevel.AMPERE_PLUS
    assert not config.real.get_flag(rtx.BuilderFlag.TF32)
    assert config.real.profiling_verbosity == rtx.ProfilingVerbosity.DETAILED


def test_refit_and_tf32_are_flags(
    install: Install, core: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags: list[rtx.BuilderFlag] = []
    monkeypatch.setattr(classic.Config, "set_flag", lambda self, flag: flags.append(flag))
    install()
    build_plan(core, options("tensorrt", refittable=True, tf32=True))
    assert flags == [rtx.BuilderFlag.TF32, rtx.BuilderFlag.REFIT]
    flags.clear()
    build_plan(core, options("tensorrt", refittable=True, strip_weights=True))
    assert flags[1:] == [rtx.BuilderFlag.REFIT, rtx.BuilderFlag.STRIP_PLAN]


def test_the_report_maps_the_weights_that_can_be_refitted(install: Install, core: Path) -> None:
    module = install()
    module.weights = ["kernel", "kernel_1_transposed", "made by the builder"]
    built = build_plan(core, options("tensorrt", refittable=True))
    assert built.layers.weights == {"kernel": "kernel", "kernel_1_transposed": "kernel_1"}
    assert read_layer_report(built.layers.to_json(), "x") == built.layers
    assert build_plan(core, options("tensorrt")).layers.weights == {}


def test_timing_cache_is_made_then_used(install: Install, core: Path, tmp_path: Path) -> None:
    cache = tmp_path / "new" / "timings.cache"
    install()
    build_plan(core, options("tensorrt", timing_cache=cache))
    assert cache.read_bytes() == TimingCache.HEADER + b"+1"
    build_plan(core, options("tensorrt", timing_cache=cache))
    assert cache.read_bytes() == TimingCache.HEADER + b"+1+1"
    assert [path.name for path in cache.parent.iterdir()] == ["timings.cache"]


def test_a_timing_cache_of_another_gpu_is_refused_and_kept(
    install: Install, core: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "timings.cache"
    cache.write_bytes(b"timings of SM 7.5")
    install()
    with pytest.raises(UserError, match="not a timing cache of this GPU and this TensorRT; remove"):
        build_plan(core, options("tensorrt", timing_cache=cache))
    assert cache.read_bytes() == b"timings of SM 7.5"


def test_builds_only_on_the_kind_of_gpu_it_builds_for(install: Install, core: Path) -> None:
    install(find_gpu("rtx3090"))
    with pytest.raises(UserError, match=r"RTX 4090 D \(SM 8\.9\) is wanted.*has RTX 3090, SM 8\.6"):
        build_plan(core, options("tensorrt"))


def test_a_release_that_is_too_old_is_named(install: Install, core: Path) -> None:
    install(version="8.6.1")
    with pytest.raises(BackendError, match=r"tensorrt 8\.6\.1 is too old, 10\.3 .*--upgrade"):
        build_plan(core, options("tensorrt"))


def test_without_tensorrt_says_how_to_install_it(
    install: Install, core: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendError, match=r'pip install "frcrn-export\[trt\]"'):
        build_plan(core, options("tensorrt"))


@pytest.mark.skipif(
    not SIGNATURES.exists(), reason="needs ../shared: the signatures of TensorRT 11.4"
)
def test_the_stand_in_has_nothing_that_tensorrt_lacks() -> None:
    """Each method of the stand-in is in TensorRT 11.4, with the same parameter names."""
    tree = ast.parse(SIGNATURES.read_text())
    real = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    assert set(classic._SAME) <= set(real)
    stands_for = {
        "Builder": ["Builder"],
        "Config": ["IBuilderConfig"],
        "TimingCache": ["ITimingCache"],
        "Runtime": ["Runtime"],
        "Engine": ["ICudaEngine", "EngineInspector"],
        "Refitter": ["Refitter"],
    }
    for name, originals in stands_for.items():
        methods: dict[str, list[list[str]]] = {}  # with all their overloads
        for original in originals:
            for node in real[original].body:
                if isinstance(node, ast.FunctionDef):
                    parameters = [argument.arg for argument in node.args.args]
                    methods.setdefault(node.name, []).append(parameters)
        attributes = {
            node.target.id
            for original in originals
            for node in real[original].body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }
        for attribute, value in vars(getattr(classic, name)).items():
            if attribute.startswith("_") or attribute in ("cache", "flags", "real", "HEADER"):
                continue
            if inspect.isfunction(value):
                assert list(inspect.signature(value).parameters) in methods[attribute], attribute
            else:
                assert attribute in attributes, attribute
