"""Generated stand-ins for speech (bursts of a gliding harmonic tone) and noise, at 16 kHz."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from frcrn_export.exporters.training.data import Recording

RATE = 16000


def tone(seed: int, seconds: float = 1.5) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * (rng.uniform(100, 250) * t + 10 * np.sin(2 * np.pi * t))
    voice = sum(np.sin(k * phase) / k for k in range(1, 8))
    return (0.1 * voice * (np.sin(2 * np.pi * rng.uniform(1, 3) * t) > 0)).astype(np.float32)


def hiss(seed: int, seconds: float = 1.5) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(1000 + seed)
    return (0.05 * rng.standard_normal(round(seconds * RATE))).astype(np.float32)


@pytest.fixture(scope="session")
def speech() -> list[npt.NDArray[np.float32]]:
    return [tone(seed) for seed in range(6)]


@pytest.fixture(scope="session")
def noise() -> list[npt.NDArray[np.float32]]:
    return [hiss(seed) for seed in range(4)]


@pytest.fixture(scope="session")
def voices(speech: list[npt.NDArray[np.float32]]) -> list[Recording]:
    return [Recording(clip, f"speaker {index}") for index, clip in enumerate(speech)]


@pytest.fixture(scope="session")
def noises(noise: list[npt.NDArray[np.float32]]) -> list[Recording]:
    return [Recording(clip, f"noise {index}") for index, clip in enumerate(noise)]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of speech and noise as files, some in subfolders and at other rates."""
    for kind, make in (("speech", tone), ("noise", hiss)):
        (tmp_path / kind / "more").mkdir(parents=True)
        for seed in range(3):
            soundfile.write(tmp_path / kind / f"{seed}.wav", make(seed), RATE)
        soundfile.write(tmp_path / kind / "more" / "3.flac", make(3), 22050)
    return tmp_path / "speech", tmp_path / "noise"
