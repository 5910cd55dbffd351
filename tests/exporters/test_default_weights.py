"""The weights that ship with the package: what they promise on the demo recording."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
from safetensors import safe_open

from frcrn_export.exporters.lowering.wave_unet import lower_wave_unet
from frcrn_export.exporters.networks.wave_unet import WaveUNet, config_from_state_dict
from frcrn_export.runtime.signals import si_sdr_db

ASSETS = Path(__file__).parents[2] / "exporters" / "assets"
WEIGHTS = ASSETS / "wave-unet-16k.safetensors"


@pytest.fixture(scope="module")
def network() -> WaveUNet:
    with safe_open(WEIGHTS, framework="pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        network = WaveUNet(config_from_state_dict(state, file.metadata()))
    network.load_state_dict(state)
    return network.eval()


@torch.inference_mode()
def enhance(network: WaveUNet, noisy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """[N] to [N] with the pipeline's peak normalisation."""
    peak = np.abs(noisy).max()
    padded = np.pad(noisy / peak, (0, -len(noisy) % network.hop))
    enhanced: npt.NDArray[np.float32] = network(torch.from_numpy(padded)[None, None]).numpy()
    return enhanced[0, 0, : len(noisy)] * peak


def test_small_and_causal(network: WaveUNet) -> None:
    assert WEIGHTS.stat().st_size < 6e6
    assert network.config.causal
    with safe_open(WEIGHTS, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["level"] == "peak"
    assert metadata["sample_rate"] == "16000"


def test_demo_recording_gets_better(network: WaveUNet) -> None:
    noisy, clean = (
        soundfile.read(ASSETS / f"demo.{kind}.flac", dtype="float32")[0]
        for kind in ("noisy", "clean")
    )
    improvement = si_sdr_db(clean, enhance(network, noisy)) - si_sdr_db(clean, noisy)
    assert improvement > 3.0  # dB; 3.34 was measured


@torch.inference_mode()
def test_silence_stays_silent(network: WaveUNet) -> None:
    enhanced = network(torch.zeros(1, 1, 2 * 16000 // network.hop * network.hop))
    # The zeros before the start are no silence to the hidden layers: a transient, then nothing.
    assert float(enhanced.abs().max()) < 10 ** (-45 / 20)
    assert float(enhanced[:, :, 20000:].abs().max()) < 10 ** (-70 / 20)


@torch.inference_mode()
def test_lowered_form_is_equal(network: WaveUNet) -> None:
    noisy, _ = soundfile.read(ASSETS / "demo.noisy.flac", dtype="float32")
    wave = torch.from_numpy(noisy[: 200 * network.hop])[None, None]
    reference = network(wave)
    difference = (lower_wave_unet(network)(wave) - reference).abs().max()
    assert float(difference) < 1e-4 * float(reference.abs().max())
