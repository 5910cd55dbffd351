"""The NumPy pipeline against the published ones, and against the torch one of the exporters."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frcrn_export.exporters.families.frcrn.network import FRCRN
from frcrn_export.exporters.reference import ReferencePipeline
from frcrn_export.runtime.bundle.manifest import Padding, Segments
from frcrn_export.runtime.denoiser import Denoiser
from tests.bundles import STFT, GainSession, core_entry, frcrn_segments, manifest
from tests.golden_wave_unet import golden_network
from tests.golden_weights import DATA, frcrn_golden_state

SHARED = Path(__file__).parents[3] / "shared/golden"
needs_shared = pytest.mark.skipif(
    not SHARED.exists(), reason="needs ../shared: the published pipelines' outputs"
)


class TorchSession(GainSession):
    """The reference network in place of an exported core."""

    network: torch.nn.Module

    def run(self, inputs: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self.network(torch.from_numpy(inputs)).numpy()


def torch_denoiser(network: torch.nn.Module, above: int = 1_920_000) -> Denoiser:
    session = TorchSession(core_entry(STFT))
    session.network = network
    described = manifest(stft=STFT, level="active_rms", segments=frcrn_segments(above))
    return Denoiser(described, session)


@pytest.fixture(scope="module")
def frcrn() -> torch.nn.Module:
    network = FRCRN()
    network.load_state_dict(frcrn_golden_state())
    return network.eval()


def assert_close(result: np.ndarray, published: np.ndarray) -> None:
    assert result.shape == published.shape
    assert np.abs(result - published).max() < 1e-4 * np.abs(published).max()


def test_half_a_second_through_the_published_pipeline(frcrn: torch.nn.Module) -> None:
    with np.load(DATA / "frcrn" / "pipeline.npz") as golden:
        wave, published = golden["pipe_in"], golden["modelscope"]
    denoiser = torch_denoiser(frcrn)
    assert_close(denoiser(wave, restore_level=False), published)
    # ClearerVoice's result differs by the level alone, its 1e-6 apart.
    restored = denoiser(wave)
    gain = np.dot(published, restored) / np.dot(restored, restored)
    assert_close(gain * restored, published)


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize(
    ("given", "expected", "above"),
    [
        ("pipe_in_a", "modelscope_a", 1_920_000),
        ("pipe_in_a", "clearvoice_a", 1_920_000),
        ("segmented_in", "modelscope_segmented", 80_000),
    ],
)
def test_whole_recordings_through_the_published_pipelines(
    frcrn: torch.nn.Module, given: str, expected: str, above: int
) -> None:
    with np.load(SHARED / "frcrn" / "golden.npz") as golden:
        wave, published = golden[given], golden[expected]
    denoiser = torch_denoiser(frcrn, above)
    assert_close(denoiser(wave, restore_level=expected.startswith("clearvoice")), published)


@pytest.mark.slow
@needs_shared
def test_the_published_wave_unet_pipeline() -> None:
    with np.load(SHARED / "wave_unet" / "golden.npz") as golden:
        wave, published = golden["pipe_in"], golden["pipe_out"]
    session = TorchSession(core_entry(samples=16_384))
    session.network = golden_network()
    described = manifest(
        padding=Padding(rule="multiple", size=16_384),
        segments=Segments(length=16_384, left=0, right=0, above=16_384),
    )
    assert_close(Denoiser(described, session)(wave), published)


class Reversing(torch.nn.Module):
    """Depends on where a window begins and ends, so that a wrong one shows."""

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        return wave.flip(-1)


@given(
    samples=st.integers(1, 400),
    edges=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    stride=st.integers(1, 50),
    rule=st.sampled_from(["multiple", "windows"]),
    size=st.integers(1, 40),
    above=st.integers(0, 400),
    level=st.sampled_from(["none", "peak", "active_rms"]),
    restore_level=st.booleans(),
)
@settings(deadline=None)
def test_windows_and_levels_are_those_of_the_reference(
    samples: int,
    edges: tuple[int, int],
    stride: int,
    rule: str,
    size: int,
    above: int,
    level: str,
    restore_level: bool,
) -> None:
    left, right = edges
    segments = Segments(length=left + stride + right, left=left, right=right, above=above)
    if rule == "windows":
        size = segments.length
    padding = Padding(rule=rule, size=size, stride=stride)
    session = TorchSession(core_entry())
    session.network = Reversing()
    described = manifest(level=level, padding=padding, segments=segments)
    reference = ReferencePipeline(
        Reversing(), stft=None, level=level, padding=padding, segments=segments
    )
    wave = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    result = Denoiser(described, session)(wave, restore_level=restore_level)
    expected = reference(torch.from_numpy(wave), restore_level=restore_level).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-7)
