"""Recordings to calibrate on, and a pair to judge by."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from frcrn_export.calibration.int8 import calibrate, pictures
from tests.calibration.conftest import ASSETS, RATE, Signal, write_pair
from tests.calibration.int8.bundles import speed, write_masking_bundle


def write_clips(folder: Path, gain: float = 1.0, rate: int = RATE, channels: int = 1) -> Path:
    """Two recordings of 1.2 s, one much louder than the other; all channels alike."""
    speech: Signal = soundfile.read(ASSETS / "speech.flac", dtype="float32")[0]
    folder.mkdir(parents=True)
    length = RATE * 6 // 5
    for index, start in enumerate((0, len(speech) - length)):
        part = speech[start : start + length] * np.float32(gain / 8**index)
        part = np.tile(part[:, None], (1, channels))
        soundfile.write(folder / f"{index}.wav", part, rate, subtype="FLOAT")
    return folder


@pytest.fixture(scope="session")
def clips_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("recordings") / "clips")


@pytest.fixture(scope="session")
def held_out(tmp_path_factory: pytest.TempPathFactory, noisy: Signal, clean: Signal) -> Path:
    """A folder with one pair."""
    folder = tmp_path_factory.mktemp("recordings") / "pairs"
    write_pair(folder, "one", noisy[: 3 * RATE // 2], clean[: 3 * RATE // 2])
    return folder


@pytest.fixture
def masking_bundle(tmp_path: Path) -> Path:
    """With core.onnx and core.fp16.onnx."""
    return write_masking_bundle(tmp_path / "bundles" / "masking", half=True)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than all else and are checked in test_pictures.py."""
    monkeypatch.setattr(pictures, "draw", lambda report, worst: [("worst", b"a picture")])


@pytest.fixture
def twice_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine does meanwhile."""
    monkeypatch.setattr(calibrate, "measure_speed", lambda *args, **options: speed(2.0))
