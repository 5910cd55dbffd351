import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from frcrn_export.exporters.checkpoint_configuration import Configuration, Said
from frcrn_export.exporters.families.wave_unet import FAMILY
from frcrn_export.exporters.families.wave_unet.config import config_of, shown_by_tensors
from frcrn_export.exporters.families.wave_unet.network import (
    WaveUNet,
    WaveUNetConfig,
)
from frcrn_export.exporters.resolved_settings import resolve
from tests.wave_unets import MASKING

SMALL = WaveUNetConfig(channels=(4, 6, 8), strides=(4, 2, 2), context_blocks=2, residual=True)
SMALL_NON_CAUSAL = WaveUNetConfig(
    channels=(4, 6, 8), strides=(4, 2, 2), causal=False, context_blocks=2
)
CONFIGS = (
    MASKING,
    WaveUNetConfig(),
    WaveUNetConfig(causal=False),
    SMALL,
    SMALL_NON_CAUSAL,
    WaveUNetConfig(channels=(4, 4), strides=(8, 1), kernel_size=15, causal=False),
    WaveUNetConfig(channels=(4,), strides=(2,), kernel_size=3),
)


def trained(config: WaveUNetConfig) -> WaveUNet:
    """A network whose batch norms have seen data, so that they are no identity."""
    torch.manual_seed(3)
    network = WaveUNet(config)
    for _ in range(20):
        network(torch.randn(4, 1, 32 * config.hop))
    return network.eval()


@torch.no_grad()
def impulse_responses(config: WaveUNetConfig, at: Tensor, length: int) -> Tensor:
    """What an impulse on a constant reaches, for each sample of `at`: bool [len(at), length].

    All weights are positive and all biases zero, so that no path is hidden by a ReLU or cancelled,
    and small, so that no mask is saturated.
    """
    network = WaveUNet(config).double().eval()
    for name, parameter in network.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 0.1)
    constant = torch.ones(len(at), 1, length, dtype=torch.float64)
    impulses = constant.clone()
    impulses[torch.arange(len(at)), 0, at] = 2.0
    return network(impulses)[:, 0] != network(constant)[:, 0]


@pytest.mark.parametrize("config", CONFIGS)
def test_receptive_field_is_exact(config: WaveUNetConfig) -> None:
    left, right = config.receptive_field
    hops = 2 + left // config.hop + right // config.hop
    length = (2 * hops + 1) * config.hop
    at = torch.arange(hops * config.hop, (hops + 1) * config.hop)
    reached = impulse_responses(config, at, length).int()
    first = reached.argmax(1)
    last = length - 1 - reached.flip(1).argmax(1)
    assert int((last - at).max()) == left
    assert int((at - first).max()) == right


def test_causal_looks_no_further_than_its_hop() -> None:
    assert SMALL.receptive_field[1] == SMALL.hop - 1
    assert WaveUNetConfig().receptive_field == (525, 63)


@pytest.mark.parametrize("config", [SMALL, SMALL_NON_CAUSAL])
def test_windows_with_their_context_equal_the_whole(config: WaveUNetConfig) -> None:
    network = trained(config).double()
    hop = config.hop
    left, right = (-(-side // hop) * hop for side in config.receptive_field)
    wave = torch.randn(1, 1, 200 * hop, dtype=torch.float64)
    with torch.no_grad():
        whole = network(wave)
        for start in range(left, 150 * hop, 20 * hop):
            stop = start + 20 * hop
            window = network(wave[:, :, start - left : stop + right])[:, :, left : left + 20 * hop]
            torch.testing.assert_close(window, whole[:, :, start:stop], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("hops", [1, 2, 9])
def test_length_in_is_length_out(config: WaveUNetConfig, hops: int) -> None:
    wave = torch.randn(2, 1, hops * config.hop)
    assert WaveUNet(config).eval()(wave).shape == wave.shape


def test_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="100 is not a multiple of 64"):
        WaveUNet()(torch.zeros(1, 1, 100))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": (8, 8), "strides": (4,)}, "one length"),
        ({"kernel_size": 14}, "odd"),
        ({"strides": (4, 9, 4)}, "between 1 and 8"),
        ({"channels": (0, 8, 8)}, "1 or more"),
        ({"context_blocks": -1}, "not be negative"),
        ({"context_cycle": 0}, "context_cycle must be 1 or more"),
        ({"bands": 7}, "bands must be even"),
        ({"bands": 8, "band_length": 64, "band_stride": 64}, "band_stride 64 must lie"),
        ({"bands": 8, "residual": True}, "causal and not residual"),
        ({"bands": 8, "causal": False}, "causal and not residual"),
    ],
)
def test_impossible_configurations(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WaveUNetConfig(**wrong)  # type: ignore[arg-type]


def test_described_shapes_and_names() -> None:
    network = WaveUNet(WaveUNetConfig(causal=False))
    x = torch.randn(2, 1, 16000)
    for encode in network.encoder:
        x = encode(x)
    assert x.shape == (2, 128, 250)
    # Padding 7 on both sides, as described, gives the same frames.
    published = nn.functional.conv1d(
        torch.ones(1, 1, 64), network.encoder[0][0].weight, stride=4, padding=7
    )
    ours = nn.functional.conv1d(
        nn.functional.pad(torch.ones(1, 1, 64), network.config.padding(4)),
        network.encoder[0][0].weight,
        stride=4,
    )
    assert torch.equal(published, ours)
    names = set(network.state_dict())
    assert {"encoder.2.0.weight", "encoder.2.1.running_var", "decoder.1.0.bias"} <= names
    assert {name.split(".")[0] for name in names} == {"encoder", "decoder", "out"}


def config_from(state: dict[str, Tensor], metadata: dict[str, str] | None = None) -> WaveUNetConfig:
    """The configuration that a checkpoint of these tensors and this metadata gives."""
    said = (
        Said(name, value, f"`{name}` in its metadata") for name, value in (metadata or {}).items()
    )
    settings, _ = resolve(
        FAMILY,
        FAMILY.models[0],
        shown_by_tensors(state),
        {},
        Configuration(tuple(said)),
        known=True,
    )
    return config_of(settings)


@pytest.mark.parametrize("config", CONFIGS)
def test_config_survives_a_checkpoint(config: WaveUNetConfig) -> None:
    metadata = {**config.to_metadata(), "level": "peak"}
    assert config_from(WaveUNet(config).state_dict(), metadata) == config


def test_config_from_tensors_alone() -> None:
    config = WaveUNetConfig(channels=(6, 8), strides=(4, 4), kernel_size=9, context_blocks=1)
    assert config_from(WaveUNet(config).state_dict()) == config


def test_config_of_something_else() -> None:
    with pytest.raises(ValueError, match="not a wave-unet-16k"):
        config_from({"weight": torch.zeros(3)})
    state = WaveUNet(SMALL).state_dict()
    with pytest.raises(ValueError, match="metadata says channels 1,2,3, the tensors"):
        config_from(state, {"channels": "1,2,3"})
    with pytest.raises(ValueError, match="is maybe: takes true or false"):
        config_from(state, {"causal": "maybe"})


@pytest.mark.parametrize("config", [SMALL, SMALL_NON_CAUSAL])
def test_scripts(config: WaveUNetConfig) -> None:
    network = trained(config)
    scripted = torch.jit.script(network)
    wave = torch.randn(3, 1, 7 * config.hop)
    torch.testing.assert_close(scripted(wave), network(wave))
    with pytest.raises(torch.jit.Error, match="not a multiple"):
        scripted(wave[:, :, 1:])


@pytest.mark.slow
def test_exports_to_onnx_with_dynamic_batch_and_length() -> None:
    network = trained(SMALL)
    length = SMALL.hop * torch.export.Dim("hops", min=1)
    program = torch.onnx.export(
        network,
        (torch.randn(2, 1, 8 * SMALL.hop),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch"), 2: length},),
        input_names=["wave"],
        verbose=False,
    )
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    for batch, hops in ((1, 1), (3, 21)):
        wave = torch.randn(batch, 1, hops * SMALL.hop)
        (enhanced,) = session.run(None, {"wave": wave.numpy()})
        torch.testing.assert_close(torch.from_numpy(enhanced), network(wave), rtol=1e-4, atol=1e-5)


def test_dilations_start_again_after_a_cycle() -> None:
    assert MASKING.context_dilations == [1, 2, 1]
    assert WaveUNetConfig(context_blocks=4).context_dilations == [1, 2, 4, 8]


def test_masking_of_silence_is_silence_to_the_last_bit() -> None:
    assert not trained(MASKING)(torch.zeros(1, 1, 64 * MASKING.hop)).any()
