"""Pairs of noisy and clean speech for tests."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from frcrn_export.exporters.assets import ASSETS

RATE = 16_000
Signal = npt.NDArray[np.float32]


@pytest.fixture(scope="session")
def clean() -> Signal:
    """Two seconds of real speech."""
    return soundfile.read(ASSETS / "demo.clean.flac", dtype="float32")[0][RATE : 3 * RATE]


@pytest.fixture(scope="session")
def noisy() -> Signal:
    """The same with noise."""
    return soundfile.read(ASSETS / "demo.noisy.flac", dtype="float32")[0][RATE : 3 * RATE]


def write_pair(folder: Path, name: str, noisy: Signal, clean: Signal, rate: int = RATE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / f"{name}.noisy.wav", noisy, rate, subtype="FLOAT")
    soundfile.write(folder / f"{name}.clean.wav", clean, rate, subtype="FLOAT")


@pytest.fixture
def pairs_folder(tmp_path: Path, noisy: Signal, clean: Signal) -> Path:
    """mix_one, mix_two and vbd_one: the second with a third of the noise."""
    folder = tmp_path / "pairs"
    write_pair(folder, "mix_one", noisy, clean)
    write_pair(folder, "mix_two", clean + (noisy - clean) / 3, clean)
    write_pair(folder, "vbd_one", noisy[RATE:], clean[RATE:])
    return folder
