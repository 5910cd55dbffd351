"""The weights that ship with the package: what they promise on the demo recording."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
from safetensors import safe_open

from frcrn_export.exporters.families.wave_unet.lowered import lower_wave_unet
from frcrn_export.exporters.families.wave_unet.network import WaveUNet
from frcrn_export.exporters.loading import load_model
from frcrn_export.runtime.audio.measures import si_sdr_db
from frcrn_export.runtime.audio.pairs import find_pairs, read_pair

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "exporters" / "assets"
PAIRS = ROOT.parent / "shared" / "audio" / "pairs"
WEIGHTS = ASSETS / "wave-unet-16k.safetensors"

# A little under what was measured: see benchmarks/results/default_model.json.
DEMO_FLOOR_DB = 2.3
CLEAN_FLOOR_DB = 15.8
SI_SDR_GAIN_FLOORS_DB = {"mix": 4.5, "vbd": 8.1}


@pytest.fixture(scope="module")
def network() -> WaveUNet:
    network = load_model("wave-unet-16k").network
    assert isinstance(network, WaveUNet)
    return network


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
    assert improvement > DEMO_FLOOR_DB


@torch.inference_mode()
def test_silence_stays_silent_to_the_last_bit(network: WaveUNet) -> None:
    assert not network(torch.zeros(1, 1, 2 * 16000 // network.hop * network.hop)).any()


def test_clean_speech_and_its_level_stay(network: WaveUNet) -> None:
    clean, _ = soundfile.read(ASSETS / "demo.clean.flac", dtype="float32")
    enhanced = enhance(network, clean)
    assert si_sdr_db(clean, enhanced) > CLEAN_FLOOR_DB
    gain_db = 20 * np.log10(float(enhanced @ clean / (clean @ clean)))
    assert abs(gain_db) < 0.5


@pytest.mark.slow
@pytest.mark.skipif(not PAIRS.is_dir(), reason="needs ../shared: the pairs")
def test_quality_is_that_of_the_card(network: WaveUNet) -> None:
    """The figures in benchmarks/results/default_model.json, again, in PyTorch."""
    written = json.loads((ROOT / "benchmarks/results/default_model.json").read_text())
    groups = written["evaluation"]["bundles"][0]["groups"]
    gains: dict[str, list[float]] = {"mix": [], "vbd": []}
    for pair in find_pairs(PAIRS):
        if pair.group in gains:
            clip = read_pair(pair, 16000)
            before = si_sdr_db(clip.clean, clip.noisy)
            gains[pair.group].append(si_sdr_db(clip.clean, enhance(network, clip.noisy)) - before)
    for group, floor in SI_SDR_GAIN_FLOORS_DB.items():
        assert np.mean(gains[group]) == pytest.approx(
            groups[group]["si_sdr"]["gain"]["mean"], abs=0.02
        )
        assert np.mean(gains[group]) > floor


@torch.inference_mode()
def test_lowered_form_is_equal(network: WaveUNet) -> None:
    noisy, _ = soundfile.read(ASSETS / "demo.noisy.flac", dtype="float32")
    wave = torch.from_numpy(noisy[: 200 * network.hop])[None, None]
    reference = network(wave)
    difference = (lower_wave_unet(network)(wave) - reference).abs().max()
    assert float(difference) < 1e-4 * float(reference.abs().max())
