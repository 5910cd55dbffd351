"""Vectors of whole streams: audio in uneven blocks, what comes out of each call, and the gains.

The output is that of the reference network over the whole utterance, multiplied by the causal
gains, which divide the output: no code of the runtime takes part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from frcrn_export.exporters.reference import padding_samples
from frcrn_export.exporters.reference_level import causal_gains
from frcrn_export.exporters.stft_ops import StftAnalysis, StftSynthesis
from frcrn_export.exporters.streaming_core import StreamingCore
from frcrn_export.exporters.streaming_export import StreamingForms
from frcrn_export.runtime.arrays import Float32Array

_SECONDS = 2.5
# The speech has a pause of digital silence, and later is suddenly four times as loud.
_PAUSE_SECONDS, _JUMP_SECONDS, _BEFORE_JUMP = (0.9, 1.2), 1.8, 0.25
_PEAK = 0.9
_WHOLE_CALLS = 3


@dataclass(frozen=True)
class _Calls:
    """The samples of a stream that the calls of its network take and give.

    The first call takes `first` samples and each later one `step`. `late` samples of the output
    are dropped. The gain is set anew after `first_interval` samples, then after each `interval`.
    """

    first: int
    step: int
    late: int
    first_interval: int
    interval: int

    def returned(self, blocks: Sequence[int]) -> list[int]:
        """How many samples come out with each block, and at the end."""
        given = np.cumsum(blocks)
        calls = np.where(given >= self.first, 1 + (given - self.first) // self.step, 0)
        out = np.maximum(0, calls * self.step - self.late)
        return [int(count) for count in np.diff([0, *out, given[-1]])]


def stream_vectors(forms: StreamingForms, speech: Float32Array) -> dict[str, Float32Array]:
    """The arrays of every case by `case.array`, see docs/bundle.md."""
    core, model = forms.core(), forms.model
    calls = _calls(forms, core)
    vectors: dict[str, Float32Array] = {}
    for case, wave, blocks in _streams(calls, speech, model.sample_rate):
        level, rate = model.processing.level, model.sample_rate
        gains = causal_gains(wave, level, rate, calls.first_interval, calls.interval)
        vectors[f"{case}.input"] = wave
        vectors[f"{case}.output"] = _reference(forms, core, wave, gains)
        vectors[f"{case}.blocks"] = np.array(blocks, np.float32)
        vectors[f"{case}.returned"] = np.array(calls.returned(blocks), np.float32)
        vectors[f"{case}.gains"] = gains
    return vectors


def _calls(forms: StreamingForms, core: StreamingCore) -> _Calls:
    stft, size = forms.model.spec.stft, forms.model.processing.padding.size
    if stft is None:
        interval = core.chunk if core.chunk % size else size
        return _Calls(core.chunk, core.chunk, core.lookahead, interval, interval)
    hop = stft.hop_length
    window = stft.window_length - stft.margin + int(stft.mirrors)  # what the first frame waits for
    first = window + (core.chunk - 1) * hop
    first_interval = first - (max(1, first // hop) - 1) * hop
    late = core.lookahead * hop + stft.margin
    return _Calls(first, core.chunk * hop, late, first_interval, hop)


def _streams(
    calls: _Calls, speech: Float32Array, sample_rate: int
) -> Iterator[tuple[str, Float32Array, list[int]]]:
    """The name, the wave [N] and the lengths of the blocks of each case."""
    wave = np.resize(speech, int(_SECONDS * sample_rate))
    wave *= np.float32(_PEAK) / np.abs(wave).max()
    wave[: int(_JUMP_SECONDS * sample_rate)] *= np.float32(_BEFORE_JUMP)
    start, stop = (int(second * sample_rate) for second in _PAUSE_SECONDS)
    wave[start:stop] = 0
    yield "speech", wave, _uneven(len(wave), calls.interval)
    short = max(1, (calls.first + calls.late) // 2)  # over before anything comes out
    yield "short", speech[:short], [short // 3, 0, short - short // 3]
    whole = calls.first + (_WHOLE_CALLS - 1) * calls.step
    yield "whole-calls", np.resize(speech, whole), [calls.first, whole - calls.first]


def _uneven(samples: int, interval: int) -> list[int]:
    """Lengths that add up: none, one, a little less and more than an interval, several."""
    blocks: list[int] = []
    for length in cycle((441, 0, 1, 5 * interval + 3, interval - 1, interval, 64, interval + 1)):
        blocks.append(min(length, samples - sum(blocks)))
        if sum(blocks) == samples:
            return blocks
    raise AssertionError


def _reference(
    forms: StreamingForms, core: StreamingCore, wave: Float32Array, gains: Float32Array
) -> Float32Array:
    """The enhanced stream [N] as the offline network gives it at these gains."""
    stft, padding = forms.model.spec.stft, forms.model.processing.padding
    padded = F.pad(torch.from_numpy(wave * gains), (0, padding_samples(len(wave), padding)))
    if stft is None:
        enhanced = forms.reference(core, padded[None, None]).reshape(-1)
    else:
        spec: Tensor = StftAnalysis(stft)(padded[None])
        enhanced = StftSynthesis(stft)(forms.reference(core, spec))[0]
    enhanced = F.pad(enhanced, (0, max(0, len(wave) - len(enhanced))))[: len(wave)]
    return (enhanced / torch.from_numpy(gains)).numpy()
