import numpy as np
import pytest

from frcrn_export.runtime.audio.band import BandAbove
from frcrn_export.runtime.audio.source import ArraySource

SECONDS = np.arange(3 * 48_000) / 48_000


def lost(audio: np.ndarray, rate: int = 48_000, cutoff_hz: float = 8_000) -> str:
    source = ArraySource(np.atleast_2d(audio).astype(np.float32), rate)
    band = BandAbove(source, cutoff_hz)
    for _ in range(2):  # measured once
        read = np.concatenate(list(band.blocks()), axis=1)
        np.testing.assert_array_equal(read, source.samples)
    assert (band.name, band.frames, band.channels) == (source.name, source.frames, source.channels)
    return band.loss()


@pytest.mark.parametrize("level_db", [-13.0, -40.0, -61.0])
def test_what_lies_above_is_measured(level_db: float) -> None:
    low = 0.3 * np.sin(2 * np.pi * 440 * SECONDS)
    high = 10 ** (level_db / 20) * 0.3 * np.sin(2 * np.pi * 12_000 * SECONDS)
    said = lost(np.stack([low + high, low + high]))
    assert said.startswith("the band above 8 kHz is gone, ")
    share = 10 * np.log10(10 ** (level_db / 10) / (1 + 10 ** (level_db / 10)))
    assert float(said.split(", ")[1].split()[0]) == pytest.approx(share, abs=0.15)


def test_nothing_is_said_where_nothing_is_lost() -> None:
    low = 0.05 * np.sin(2 * np.pi * 440 * SECONDS)
    assert lost(low) == ""
    assert lost(np.rint(low * 32_768) / 32_768) == ""  # the noise of 16 bits
    assert lost(np.zeros(48_000)) == ""
    assert lost(np.random.default_rng(0).standard_normal(48_000), rate=16_000) == ""
    assert lost(np.zeros(1)) == ""
