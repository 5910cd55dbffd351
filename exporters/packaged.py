"""Files that ship with the package: the default weights and recordings."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

_FOLDER = Path(__file__).parent / "assets"

SPEECH = _FOLDER / "speech.flac"  # 2.4 s of noisy speech: the input of the parity vectors
DEMO_NOISY = _FOLDER / "demo.noisy.flac"
DEMO_CLEAN = _FOLDER / "demo.clean.flac"


def packaged_weights(name: str) -> Path:
    """The checkpoint of this name that ships with the package."""
    return _FOLDER / name


def read_speech() -> npt.NDArray[np.float32]:
    """The parity clip, [N] float32 at 16 kHz."""
    import soundfile

    samples: npt.NDArray[np.float32] = soundfile.read(SPEECH, dtype="float32")[0]
    return samples
