import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.runtime.audio.spectrogram import plot_before_after, spectrogram_dbfs
from frcrn_export.runtime.errors import UserError


def test_a_full_scale_sine_is_0_dbfs_at_its_frequency() -> None:
    tone = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000).astype(np.float32)
    level = spectrogram_dbfs(tone, 16_000)
    assert level.max() == pytest.approx(0.0, abs=0.1)
    peak = level.mean(axis=1).argmax()
    assert peak * 8_000 / (level.shape[0] - 1) == pytest.approx(1_000, abs=20)
    half = spectrogram_dbfs(0.5 * tone, 16_000)
    assert half.max() == pytest.approx(-6.02, abs=0.1)


@pytest.mark.parametrize("samples", [1, 511, 512, 5_000, 2_000_000])
def test_any_length_gives_a_bounded_picture(samples: int) -> None:
    level = spectrogram_dbfs(np.zeros(samples, np.float32), 16_000)
    assert 1 <= level.shape[1] <= 2_000
    assert np.isfinite(level).all()


@pytest.mark.parametrize(("rate", "frames"), [(16_000, 40_000), (48_000, 10), (8_000, 8_000 * 70)])
def test_a_picture_is_drawn(tmp_path: Path, rate: int, frames: int) -> None:
    from PIL import Image

    noise = np.random.default_rng(0).standard_normal((frames, 2))
    for name, gain in (("a.wav", 0.1), ("b.wav", 0.01)):
        soundfile.write(tmp_path / name, gain * noise, rate)
    picture = tmp_path / "new" / "a.png"
    plot_before_after(tmp_path / "a.wav", tmp_path / "b.wav", picture)
    pixels = np.asarray(Image.open(picture).convert("L"), dtype=float)
    height, width = pixels.shape
    assert (width, height) == (1650, 975)
    upper = pixels[height // 8 : height // 3, width // 4 : width * 3 // 4]
    lower = pixels[height * 5 // 8 : height * 5 // 6, width // 4 : width * 3 // 4]
    assert upper.mean() > lower.mean() + 10  # one colour scale: 20 dB less is darker
    assert [path.name for path in picture.parent.iterdir()] == ["a.png"]


def test_without_matplotlib_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r'pip install "frcrn-export\[plot\]"'):
        plot_before_after(tmp_path / "a.wav", tmp_path / "b.wav", tmp_path / "a.png")


def test_a_picture_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """As on a full disk: the system refuses what goes beyond 2 KB."""
    soundfile.write(tmp_path / "a.wav", np.zeros(1_000), 16_000)
    audio = tmp_path / "a.wav"
    with pytest.raises(UserError, match=r"a\.png: cannot be written \(Not a directory\)"):
        plot_before_after(audio, audio, audio / "a.png")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
    try:
        with pytest.raises(UserError, match="File too large.; leave out --plot, or make room"):
            plot_before_after(audio, audio, tmp_path / "out" / "a.png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "out").iterdir()) == []
