"""Real builds, with TensorRT-RTX, of networks with recurrent layers."""

from pathlib import Path

import onnx
import pytest
from torch import Tensor, nn

from frcrn_export.engines.build import build_plan
from frcrn_export.exporters.module_passes import compute_in_fp16
from frcrn_export.runtime.bundle.layer_report import census
from frcrn_export.runtime.bundle.manifest import Profile
from tests.engines.tiny import options
from tests.recurrent_networks import (
    BINS,
    MaskNetwork,
    mask_core,
    mask_network,
    offline_onnx,
    streaming_onnx,
)

KINDS = {"GRU": nn.GRU, "LSTM": nn.LSTM, "RNN": nn.RNN}


def fp16_network(kind: str) -> nn.Module:
    network = mask_network(KINDS[kind])
    compute_in_fp16([network.first, network.before, network.recurrent, network.behind])
    return network


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_frames(kind: str, fp16: bool, tmp_path: Path) -> None:
    network = fp16_network(kind) if fp16 else mask_network(KINDS[kind])
    onnx.save(offline_onnx(network), tmp_path / "core.onnx")
    profile = Profile(min=(1, 2, BINS, 1), opt=(1, 2, BINS, 100), max=(2, 2, BINS, 200))
    built = build_plan(tmp_path / "core.onnx", options(profile=profile))
    spec, enhanced = built.layers.io
    assert spec.dims == enhanced.dims == (-1, 2, BINS, -1)
    assert census(built.layers)["Conv"] == ({"Half": 3, "Float": 1} if fp16 else {"Float": 4})


@pytest.mark.parametrize("kind", KINDS)
def test_right_behind_a_cast_from_float16(kind: str, tmp_path: Path) -> None:
    """Which the builder does not take as it is."""

    class Bare(MaskNetwork):
        def forward(self, spec: Tensor) -> Tensor:
            x = self.before(self.first(spec.flatten(1, 2)))
            return self.masked(spec[..., 4:], self.recurrent(x.transpose(1, 2))[0])

    network = Bare(KINDS[kind])
    compute_in_fp16([network.first, network.before])
    onnx.save(offline_onnx(network), tmp_path / "core.onnx")
    profile = Profile(min=(1, 2, BINS, 8), opt=(1, 2, BINS, 100), max=(2, 2, BINS, 200))
    build_plan(tmp_path / "core.onnx", options(profile=profile))


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_at_a_time(kind: str, tmp_path: Path) -> None:
    core = mask_core(fp16_network(kind))
    onnx.save(streaming_onnx(core), tmp_path / "core.onnx")
    shape = (3, 2, BINS, 1)
    states = tuple(state.tensor(state.name) for state in core.states)
    profile = Profile(min=shape, opt=shape, max=shape)
    built = build_plan(tmp_path / "core.onnx", options(profile=profile, states=states))
    inputs = {tensor.name: tensor.dims for tensor in built.layers.io if tensor.mode == "input"}
    assert inputs == {"spec": shape} | {s.name: (3, *map(int, s.shape[1:])) for s in states}
