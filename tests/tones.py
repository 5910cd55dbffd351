"""Small audio files."""

from pathlib import Path

import numpy as np
import soundfile


def write_tone(path: Path, frames: int = 100, rate: int = 16_000, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.5 * np.sin(np.arange(frames) * 0.1)
    soundfile.write(path, tone, rate, subtype=None if path.suffix == ".ogg" else subtype)
    return path
