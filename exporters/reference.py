"""The published pipelines around the networks, in torch: what every artifact is compared with.

Written apart from `frcrn_export.runtime`, which does the same in NumPy over blocks of a file, so
that comparing the two means something.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.stft_ops import StftAnalysis, StftSynthesis
from frcrn_export.runtime.bundle.manifest import Level, Padding, Segments, StftSpec

# -25 dB, the level of the rule `active_rms`.
_TARGET_RMS = 10 ** (-25 / 20)
# The publications of this rule differ in what they add to the rms.
_EPS_LEVELLED = float(torch.finfo(torch.float64).eps)
_EPS_RESTORED = 1e-6


class WaveformNetwork(nn.Module):
    """A spectral network between its STFT and inverse STFT: wave [B, N] -> wave [B, N']."""

    def __init__(self, network: nn.Module, stft: StftSpec) -> None:
        super().__init__()
        self.analysis = StftAnalysis(stft)
        self.network = network
        self.synthesis = StftSynthesis(stft)

    def forward(self, wave: Tensor) -> Tensor:
        enhanced: Tensor = self.synthesis(self.network(self.analysis(wave)))
        return enhanced


class ReferencePipeline:
    """Level rule, padding rule, segments and network as published, for one utterance at a time."""

    def __init__(
        self,
        network: nn.Module,
        *,
        stft: StftSpec | None,
        level: Level,
        padding: Padding,
        segments: Segments,
    ) -> None:
        self._network = network.eval() if stft is None else WaveformNetwork(network, stft).eval()
        self._takes_channel = stft is None
        self._level = level
        self._padding = padding
        self._segments = segments

    @torch.inference_mode()
    def __call__(self, wave: Tensor, *, restore_level: bool = True) -> Tensor:
        """Denoise one utterance, [N] float32 -> [N] float32 at the network's sample rate."""
        gain = level_gain(wave, self._level, _EPS_RESTORED if restore_level else _EPS_LEVELLED)
        padded = F.pad(wave * gain, (0, padding_samples(len(wave), self._padding)))
        if len(wave) > self._segments.above:
            enhanced = self._in_segments(padded)
        else:
            enhanced = self._run(padded)
        enhanced = F.pad(enhanced, (0, max(0, len(wave) - len(enhanced))))[: len(wave)]
        return enhanced / gain if restore_level else enhanced

    def _run(self, wave: Tensor) -> Tensor:
        batch = wave[None, None] if self._takes_channel else wave[None]
        out: Tensor = self._network(batch)
        return out.reshape(-1)

    def _in_segments(self, wave: Tensor) -> Tensor:
        cut = self._segments
        wave = F.pad(wave, (0, max(0, cut.length - len(wave))))
        windows = math.ceil((len(wave) - cut.length) / cut.stride) + 1
        total = cut.length + cut.stride * (windows - 1)
        wave = F.pad(wave, (0, total - len(wave)))
        enhanced = torch.zeros(total)
        for start in range(0, total - cut.length + 1, cut.stride):
            left = cut.left if start > 0 else 0
            window = self._run(wave[start : start + cut.length])
            end = min(cut.length, len(window))
            enhanced[start + left : start + end] = window[left:end]
        return enhanced


def level_gain(wave: Tensor, level: Level, eps: float) -> float:
    """The factor that brings a waveform [N] to the level its network was trained at.

    `active_rms`: to -25 dB rms, then again by the rms of the samples whose power is above the mean
    power. `peak`: to a peak of 1. Silence is left as it is.
    """
    samples = wave.double()
    if level == "none" or not bool(samples.any()):
        return 1.0
    if level == "peak":
        return float(1.0 / samples.abs().max())
    first = _TARGET_RMS / (float(samples.square().mean().sqrt()) + eps)
    power = (samples * first).square()
    active = power[power > power.mean()]
    second = _TARGET_RMS / (float(active.mean().sqrt()) + eps) if len(active) else 1.0
    return first * second


def padding_samples(samples: int, padding: Padding) -> int:
    """How many zeros the padding rule appends to an utterance of `samples` samples."""
    size, stride = padding.size, padding.stride
    if padding.rule == "multiple":
        return -samples % size
    if samples < size:
        return size - samples
    if padding.rule == "hops":
        return (size - samples) % stride
    if samples < size + stride:
        return size + stride - samples
    whole, rest = divmod(samples - size, stride)
    return samples - whole * stride if rest else 0
