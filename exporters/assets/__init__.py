"""What ships with the package: the default weights, and the clips of parity and of the demo."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from frcrn_export.runtime.arrays import Float32Array

ASSETS = Path(__file__).parent

SPEECH = ASSETS / "speech.flac"  # 2.4 s of noisy speech: the input of the parity vectors
SPEECH_RATE = 16_000  # Hz
DEMO_NOISY = ASSETS / "demo.noisy.flac"
DEMO_CLEAN = ASSETS / "demo.clean.flac"


def read_speech(sample_rate: int = SPEECH_RATE) -> "Float32Array":
    """The parity clip, [N] float32 at a sample rate in Hz."""
    import soundfile

    samples: Float32Array = soundfile.read(SPEECH, dtype="float32")[0]
    if sample_rate == SPEECH_RATE:
        return samples
    import soxr

    resampled: Float32Array = soxr.resample(samples, SPEECH_RATE, sample_rate)
    return resampled
