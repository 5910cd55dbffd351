"""The modes of squeeze-and-excitation as users name them: global, cumulative, window:SECONDS."""

import re

from frcrn_export.exporters.families.frcrn.network import CONFIGS, FRCRN, Pooling
from frcrn_export.exporters.family import ModelSpec

GLOBAL = "global"


def parse_pooling(text: str, frames_per_second: float) -> Pooling:
    """The pooling that a text names; a window in frames. Raises ValueError for anything else."""
    if text == "global":
        return "global"
    if text == "cumulative":
        return "cumulative"
    match = re.fullmatch(r"window:([0-9]{1,4}(?:\.[0-9]{1,3})?)", text)
    frames = round(float(match[1]) * frames_per_second) if match else 0
    if frames < 1:
        raise ValueError(
            f"--squeeze-excite {text}: takes global, cumulative or window:SECONDS, as in window:3"
        )
    return frames


def build_frcrn(spec: ModelSpec, squeeze_excite: str) -> FRCRN:
    """A reference network with the squeeze-and-excitation mode of a text."""
    assert spec.stft is not None
    network = FRCRN(CONFIGS[spec.name])
    if squeeze_excite != GLOBAL:
        frames_per_second = spec.sample_rate / spec.stft.hop_length
        network.set_pooling(parse_pooling(squeeze_excite, frames_per_second), squeeze_excite)
    return network
