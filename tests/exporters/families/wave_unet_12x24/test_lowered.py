from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from frcrn_export.exporters.families.wave_unet_12x24.lowered import (
    lower_wave_unet_12x24,
    upsample_linear_x2,
)
from frcrn_export.exporters.families.wave_unet_12x24.network import (
    WaveUNet12x24,
    WaveUNet12x24Config,
)
from tests.golden_wave_unet import golden_network, golden_vectors

MULTIPLE = 8  # of the small network's length


@pytest.fixture(scope="module")
def small() -> WaveUNet12x24:
    torch.manual_seed(0)
    network = WaveUNet12x24(WaveUNet12x24Config(layers=3, channels_interval=4))
    network.train()(torch.randn(4, 1, 512))  # statistics other than 0 and 1
    return network.eval()


@pytest.mark.parametrize("n", [1, 2, 3, 8, 1000, 8192])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_interpolation_in_closed_form(n, dtype, tolerance):
    x = torch.randn(2, 3, n, dtype=dtype, generator=torch.Generator().manual_seed(n))
    expected = F.interpolate(x, scale_factor=2, mode="linear", align_corners=True)
    torch.testing.assert_close(upsample_linear_x2(x), expected, rtol=0, atol=tolerance)


def test_interpolation_keeps_the_ends():
    x = torch.tensor([[[1.0, 5.0, -3.0]]])
    y = upsample_linear_x2(x)
    assert y[0, 0, 0] == 1.0
    assert y[0, 0, -1] == -3.0


@pytest.mark.parametrize("samples", [MULTIPLE, 17 * MULTIPLE])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_equals_the_reference(small, samples, dtype, tolerance):
    network = WaveUNet12x24(small.config).to(dtype).eval()
    network.load_state_dict(small.state_dict())
    wave = torch.randn(3, 1, samples, dtype=dtype, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = network(wave)
        actual = lower_wave_unet_12x24(network)(wave)
    assert actual.dtype == dtype
    assert (actual - expected).abs().max() < tolerance * expected.abs().max()


@pytest.mark.parametrize("case", ["4096", "16384", "32768", "batch"])
def test_equals_the_published_network(case):
    vectors = golden_vectors()
    if f"in_{case}" not in vectors:
        pytest.skip("needs ../shared: all golden vectors")
    with torch.inference_mode():
        out = lower_wave_unet_12x24(golden_network())(torch.from_numpy(vectors[f"in_{case}"]))
    expected = vectors[f"out_{case}"]
    assert np.abs(out.numpy() - expected).max() < 1e-4 * np.abs(expected).max()


def test_lowering_leaves_no_batch_norm_and_the_reference_untouched(small):
    before = {key: value.clone() for key, value in small.state_dict().items()}
    lowered = lower_wave_unet_12x24(small)
    lowered.middle.weight.data.zero_()
    assert not any(isinstance(m, torch.nn.BatchNorm1d) for m in lowered.modules())
    assert all(torch.equal(value, before[key]) for key, value in small.state_dict().items())


def export(network: torch.nn.Module, path: Path, samples: int, dynamic: dict[int, object]) -> None:
    program = torch.onnx.export(
        network,
        (torch.randn(2, 1, samples),),
        dynamo=True,
        dynamic_shapes=(dynamic,),
        input_names=["wave"],
        output_names=["enhanced"],
        verbose=False,
    )
    program.save(path)


@pytest.mark.parametrize("fixed_length", [False, True])
def test_exports(small, tmp_path, fixed_length):
    path = tmp_path / "core.onnx"
    dynamic: dict[int, object] = {0: torch.export.Dim("batch")}
    if not fixed_length:
        dynamic[2] = MULTIPLE * torch.export.Dim("blocks")
    export(lower_wave_unet_12x24(small), path, 16 * MULTIPLE, dynamic)
    onnx.checker.check_model(path, full_check=True)
    operators = Counter(node.op_type for node in onnx.load(path).graph.node)
    assert not operators.keys() & {"GatherND", "GatherElements", "Resize", "Upsample"}
    assert operators["BatchNormalization"] == 0

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch, samples in [(1, 16), (3, 16)] if fixed_length else [(1, 1), (1, 40), (3, 16)]:
        wave = torch.randn(batch, 1, samples * MULTIPLE)
        with torch.inference_mode():
            expected = small(wave).numpy()
        (actual,) = session.run(None, {"wave": wave.numpy()})
        assert actual.shape == expected.shape
        assert np.abs(actual - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.slow
def test_full_size_export_of_one_segment(tmp_path):
    network = golden_network()
    path = tmp_path / "core.onnx"
    export(lower_wave_unet_12x24(network), path, 16384, {0: torch.export.Dim("batch")})
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wave = 0.1 * torch.randn(2, 1, 16384, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = network(wave).numpy()
    (actual,) = session.run(None, {"wave": wave.numpy()})
    assert np.abs(actual - expected).max() < 1e-4 * np.abs(expected).max()
