"""What `inspect` says that the exported models cost, in floating-point operations a second."""

from pathlib import Path

import onnx
import pytest

from frcrn_export.exporters.artifacts import INLINE
from frcrn_export.exporters.graphs import core_graph, fp16_graph
from frcrn_export.exporters.loading import load_model
from frcrn_export.exporters.onnx_export import onnx_from_graph
from frcrn_export.exporters.streaming_export import StreamingForms
from frcrn_export.runtime.bundle.graph_cost import cost_of, graph_cost

SECOND = {"batch": 1, "frames": 49, "samples": 16_384}  # 16000 samples


def flop(model: onnx.ModelProto) -> int:
    found = cost_of(model, SECOND).flop
    assert found is not None
    return found


def test_one_file_costs_what_its_core_does(wave_unet_bundle: Path, tmp_path: Path) -> None:
    """The levels and lengths around a time-domain core have no layers."""
    content, entry = INLINE.make(StreamingForms(load_model("wave-unet-16k", seed=1)))
    (tmp_path / entry.path).write_bytes(content)
    core = graph_cost(wave_unet_bundle / "core.onnx", SECOND).flop
    assert core
    assert graph_cost(tmp_path / "denoiser.onnx", SECOND).flop == core


@pytest.mark.slow
def test_the_cores_of_frcrn() -> None:
    """The core has three real products for each complex one, the form for GPUs four."""
    model = load_model("frcrn-16k", seed=1)
    core = flop(onnx_from_graph(core_graph(model), "core", {}))
    assert core / 1e9 == pytest.approx(63.6, rel=0.002)
    fp16 = flop(onnx_from_graph(fp16_graph(model), "fp16", {}))
    assert fp16 / core == pytest.approx(4 / 3, rel=0.02)
