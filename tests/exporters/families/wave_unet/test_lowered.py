import pytest
import torch
from torch import nn

from frcrn_export.exporters.families.wave_unet.lowered import lower_wave_unet
from frcrn_export.exporters.families.wave_unet.network import WaveUNet, WaveUNetConfig
from tests.wave_unets import MASKING

CONFIGS = (
    WaveUNetConfig(),
    WaveUNetConfig(channels=(8, 12, 16), strides=(4, 2, 2), context_blocks=3, residual=True),
    WaveUNetConfig(channels=(8, 12), strides=(4, 8), causal=False, context_blocks=1),
    MASKING,
)


@pytest.fixture(params=CONFIGS, ids=["described", "context", "non-causal", "masking"])
def network(request: pytest.FixtureRequest) -> WaveUNet:
    torch.manual_seed(5)
    network = WaveUNet(request.param)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)
    for _ in range(20):
        network(torch.randn(4, 1, 32 * request.param.hop))
    return network.eval()


@torch.no_grad()
def relative_error(network: WaveUNet, dtype: torch.dtype, batch: int, hops: int) -> float:
    network = network.to(dtype)
    wave = torch.randn(batch, 1, hops * network.hop, dtype=dtype)
    reference = network(wave)
    lowered = lower_wave_unet(network)(wave)
    assert lowered.dtype == dtype
    return float((lowered - reference).abs().max() / reference.abs().max())


@pytest.mark.parametrize(("batch", "hops"), [(1, 1), (1, 250), (3, 17)])
def test_equals_the_reference(network: WaveUNet, batch: int, hops: int) -> None:
    assert relative_error(network, torch.float32, batch, hops) < 1e-4
    assert relative_error(network, torch.float64, batch, hops) < 1e-9


def test_nothing_of_training_is_left(network: WaveUNet) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    lowered = lower_wave_unet(network)
    assert not lowered.training
    assert not list(lowered.buffers())
    assert not any(parameter.requires_grad for parameter in lowered.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])  # the reference is left as it was


def test_scripts_and_traces_at_any_length(network: WaveUNet) -> None:
    lowered = lower_wave_unet(network)
    traced = torch.jit.trace(lowered, torch.randn(2, 1, 4 * network.hop), check_trace=False)
    wave = torch.randn(1, 1, 9 * network.hop)
    torch.testing.assert_close(torch.jit.script(lowered)(wave), lowered(wave))
    torch.testing.assert_close(traced(wave), lowered(wave))
