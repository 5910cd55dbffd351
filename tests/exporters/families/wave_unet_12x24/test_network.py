import numpy as np
import pytest
import torch

from frcrn_export.exporters.families.wave_unet_12x24 import FAMILY as family
from frcrn_export.exporters.families.wave_unet_12x24.network import (
    WaveUNet12x24,
    WaveUNet12x24Config,
    config_from_state_dict,
)
from frcrn_export.exporters.reference import ReferencePipeline
from tests.golden_wave_unet import golden_network, golden_state, golden_vectors

SMALL = WaveUNet12x24Config(layers=3, channels_interval=4)


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


@pytest.fixture(scope="module")
def network() -> WaveUNet12x24:
    return golden_network()


@pytest.fixture(scope="module")
def vectors() -> dict[str, np.ndarray]:
    return golden_vectors()


@pytest.mark.parametrize("case", ["4096", "16384", "32768", "batch"])
def test_gives_the_published_output(network, vectors, case):
    if f"in_{case}" not in vectors:
        pytest.skip("needs ../shared: all golden vectors")
    with torch.inference_mode():
        out = network(torch.from_numpy(vectors[f"in_{case}"])).numpy()
    assert out.shape == vectors[f"out_{case}"].shape
    assert relative_error(out, vectors[f"out_{case}"]) < 1e-4


def test_gives_the_published_output_of_the_whole_pipeline(network, vectors):
    if "pipe_in" not in vectors:
        pytest.skip("needs ../shared: all golden vectors")
    processing = family.processing(family.models[0], network, {})
    pipeline = ReferencePipeline(
        network,
        stft=None,
        level=processing.level,
        padding=processing.padding,
        segments=processing.segments,
    )
    out = pipeline(torch.from_numpy(vectors["pipe_in"])).numpy()
    assert out.shape == vectors["pipe_out"].shape
    assert relative_error(out, vectors["pipe_out"]) < 1e-4


def test_another_weight_gives_another_output(vectors):
    state = golden_state()
    state["decoder.11.main.0.weight"] *= 1.01
    network = WaveUNet12x24()
    network.load_state_dict(state, strict=False)
    with torch.inference_mode():
        out = network.eval()(torch.from_numpy(vectors["in_4096"])).numpy()
    assert relative_error(out, vectors["out_4096"]) > 1e-4


def test_published_size():
    network = WaveUNet12x24()
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(10.13e6, rel=1e-3)
    assert network.config.length_multiple == 4096


@pytest.mark.parametrize("samples", [0, 1, 12, 16001])
def test_other_lengths_are_refused(samples):
    with pytest.raises(ValueError, match=rf"^{samples} samples is not a multiple of 8:"):
        WaveUNet12x24(SMALL)(torch.zeros(1, 1, samples))


@pytest.mark.parametrize("config", [SMALL, WaveUNet12x24Config(9, 6), WaveUNet12x24Config()])
def test_the_size_is_read_off_the_tensors(config):
    with torch.device("meta"):
        state = WaveUNet12x24(config).state_dict()
    assert config_from_state_dict(state) == config


def test_foreign_tensors_have_no_size():
    with pytest.raises(ValueError, match="not wave-unet-12x24 weights"):
        config_from_state_dict({"unet.encoder0.conv.conv_re.weight": torch.zeros(1)})
