import sys
from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime.bundle.manifest import Flavor
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions.choose import choose_engine, engine_entries
from frcrn_export.runtime.sessions.registry import open_session
from frcrn_export.runtime.sessions.tensorrt_backends import FLAVORS
from tests.bundles import write_bundle
from tests.standin.gpu import SimulatedGpu
from tests.standin.install import add_engine


def bundle_with(path: Path, *engines: tuple[Flavor, str, int], **changes: object) -> Bundle:
    """A bundle with engines of these flavours, precisions and SMs."""
    root = write_bundle(path)
    for flavor, precision, sm in engines:
        shapes = {"low": (1, 1, 1), "best": (1, 1, 10), "high": (1, 1, 1000)}
        add_engine(root, flavor, precision=precision, sm=sm, **{**shapes, **changes})
    return open_bundle(root)


def chosen(bundle: Bundle, flavor: Flavor = "tensorrt") -> str | None:
    entry = choose_engine(bundle, flavor)
    return entry and entry.path


def test_half_precision_for_this_gpu_is_chosen(gpu: SimulatedGpu, tmp_path: Path) -> None:
    bundle = bundle_with(
        tmp_path / "bundle",
        ("tensorrt", "fp16", 120),
        ("tensorrt-rtx", "fp16", 89),
        ("tensorrt", "int8", 89),
        ("tensorrt", "fp32", 89),
        ("tensorrt", "fp16", 89),
    )
    assert chosen(bundle) == "core.fp16.sm89.tensorrt.engine"
    assert chosen(bundle, "tensorrt-rtx") == "core.fp16.sm89.tensorrt-rtx.engine"
    gpu.capability = (12, 0)
    assert chosen(bundle) == "core.fp16.sm120.tensorrt.engine"


def test_an_engine_for_this_gpu_comes_before_a_compatible_one(
    gpu: SimulatedGpu, tmp_path: Path
) -> None:
    root = bundle_with(tmp_path / "bundle", ("tensorrt", "fp16", 80), hardware_compatible=True).path
    assert chosen(open_bundle(root)) == "core.fp16.sm80.tensorrt.engine"
    add_engine(root, "tensorrt", low=(1, 1, 1), best=(1, 1, 10), high=(1, 1, 1000))
    assert chosen(open_bundle(root)) == "core.fp16.sm89.tensorrt.engine"


def test_int8_is_never_chosen(gpu: SimulatedGpu, tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path / "bundle", ("tensorrt", "int8", 89))
    assert chosen(bundle) is None
    with pytest.raises(BackendError) as caught:
        open_session(bundle, "tensorrt")
    assert str(caught.value) == (
        f"{bundle.path}: no engine file in this bundle for tensorrt; "
        f"run: frcrn-export trt {bundle.path} --fp16 --flavor tensorrt"
    )


def test_engines_of_other_gpus_are_listed_only_if_none_fits(
    gpu: SimulatedGpu, tmp_path: Path
) -> None:
    bundle = bundle_with(tmp_path / "bundle", ("tensorrt", "fp16", 89), ("tensorrt", "fp16", 120))
    for capability, sms in [((8, 9), [89]), ((12, 0), [120]), ((7, 5), [89, 120])]:
        gpu.capability = capability
        entries = engine_entries(bundle, "tensorrt")
        assert [entry.engine.sm for entry in entries if entry.engine] == sms


@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_bundle_without_an_engine_says_how_to_add_one(
    gpu: SimulatedGpu, tmp_path: Path, flavor: Flavor
) -> None:
    bundle = bundle_with(tmp_path / "bundle")
    with pytest.raises(BackendError) as caught:
        open_session(bundle, flavor)
    assert str(caught.value).endswith(
        f"run: frcrn-export trt {bundle.path} --fp16 --flavor {flavor}"
    )


def test_auto_prefers_classic_then_rtx_then_the_processor(
    gpu: SimulatedGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundle_with(
        tmp_path / "bundle", ("tensorrt-rtx", "fp16", 89), ("tensorrt", "fp16", 89)
    )
    assert open_session(bundle).backend == "tensorrt"
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert open_session(bundle).backend == "tensorrt-rtx"
    gpu.capability = (12, 0)
    assert open_session(bundle).backend == "onnxruntime"
    gpu.capability = (8, 9)
    gpu.driver_cuda = 12080
    assert open_session(bundle).backend == "onnxruntime"


def test_auto_without_engines_does_not_look_for_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    assert open_session(bundle_with(tmp_path / "bundle")).backend == "onnxruntime"


def test_auto_without_a_gpu_goes_on_to_the_processor(tmp_path: Path) -> None:
    """With the real packages, as far as they are here."""
    bundle = bundle_with(
        tmp_path / "bundle", ("tensorrt-rtx", "fp16", 89), ("tensorrt", "fp16", 89)
    )
    session = open_session(bundle)
    assert session.backend == "onnxruntime"
    np.testing.assert_array_equal(session.run(np.ones((1, 1, 8), np.float32)), 1)
