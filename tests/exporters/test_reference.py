from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.exporters.families.frcrn.network import FRCRN
from frcrn_export.exporters.reference import ReferencePipeline, level_gain, padding_samples
from frcrn_export.exporters.registry import models
from frcrn_export.runtime.audio import framing
from frcrn_export.runtime.bundle.manifest import Padding, Segments
from tests.golden_weights import frcrn_golden_state

FRCRN_PADDING = Padding(rule="windows", size=16_000, stride=12_000)
ALL_GOLDEN = Path(__file__).parents[3] / "shared/golden/frcrn/golden.npz"


def frcrn_pipeline(above: int) -> ReferencePipeline:
    network = FRCRN()
    network.load_state_dict(frcrn_golden_state())
    return ReferencePipeline(
        network,
        stft=models()["frcrn-16k"].stft,
        level="active_rms",
        padding=FRCRN_PADDING,
        segments=Segments(length=16_000, left=2_000, right=2_000, above=above),
    )


@pytest.mark.slow
@pytest.mark.skipif(
    not ALL_GOLDEN.exists(), reason="needs ../shared: the published pipelines' outputs"
)
@pytest.mark.parametrize(
    ("given", "expected", "restore", "above"),
    [
        ("pipe_in_a", "modelscope_a", False, 1_920_000),
        ("pipe_in_b", "modelscope_b", False, 1_920_000),
        ("pipe_in_a", "clearvoice_a", True, 1_920_000),
        ("pipe_in_b", "clearvoice_b", True, 1_920_000),
        ("segmented_in", "modelscope_segmented", False, 80_000),
    ],
)
def test_published_pipelines(given: str, expected: str, restore: bool, above: int) -> None:
    with np.load(ALL_GOLDEN) as golden:
        wave, published = torch.from_numpy(golden[given]), golden[expected]
    output = frcrn_pipeline(above)(wave, restore_level=restore).numpy()
    assert np.abs(output - published).max() < 1e-4 * np.abs(published).max()


class Gain(torch.nn.Module):
    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        return 0.5 * wave


@given(st.integers(1, 3_000), st.integers(0, 40), st.integers(0, 40), st.integers(0, 500))
def test_segments_cover_every_sample_once(samples: int, left: int, right: int, above: int) -> None:
    pipeline = ReferencePipeline(
        Gain(),
        stft=None,
        level="peak",
        padding=Padding(rule="multiple", size=7),
        segments=Segments(length=left + right + 64, left=left, right=right, above=above),
    )
    wave = torch.linspace(-0.3, 0.9, samples)
    torch.testing.assert_close(pipeline(wave), 0.5 * wave)


@pytest.mark.parametrize(
    ("samples", "total"),
    [
        (1, 16_000),
        (15_999, 16_000),
        (16_000, 28_000),
        (27_999, 28_000),
        (28_000, 28_000),
        (28_001, 44_002),
        (38_363, 64_726),
        (40_000, 40_000),
    ],
)
def test_published_padding(samples: int, total: int) -> None:
    assert samples + padding_samples(samples, FRCRN_PADDING) == total


@given(st.integers(1, 3_000), st.integers(1, 900), st.integers(1, 400))
def test_padding_is_that_of_the_runtime(samples: int, size: int, stride: int) -> None:
    for rule in ("multiple", "hops", "windows"):
        padding = Padding(rule=rule, size=size, stride=stride)
        assert padding_samples(samples, padding) == framing.padding_samples(samples, padding)


def test_level_of_the_active_samples_becomes_minus_25_db() -> None:
    wave = torch.cat([torch.zeros(5_000), 0.3 * torch.sin(torch.arange(5_000.0))])
    levelled = wave * level_gain(wave, "active_rms", 0.0)
    power = levelled.square()
    active = power[power > power.mean()]
    assert 10 * torch.log10(active.mean()) == pytest.approx(-25, abs=1e-4)


@pytest.mark.parametrize("level", ["active_rms", "peak", "none"])
def test_silence_keeps_its_level(level: str) -> None:
    assert level_gain(torch.zeros(100), level, 1e-6) == 1.0  # type: ignore[arg-type]


def test_peak_level() -> None:
    assert level_gain(torch.tensor([0.1, -0.25]), "peak", 0.0) == pytest.approx(4.0)
