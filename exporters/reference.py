"""The published pipelines around the networks, in torch: the reference of every comparison.

Independent of `frcrn_export.runtime`, which does the same in NumPy on blocks of a file, so that a
comparison of the two is meaningful.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.stft_ops import StftAnalysis, StftSynthesis
from frcrn_export.runtime.bundle.manifest import Level, Padding, Segments, StftSpec

# -25 dB, the level of the rule `active_rms`.
_TARGET_RMS = 10 ** (-25 / 20)
# The published versions of this rule add different constants to the rms.
_EPS_LEVELLED = float(torch.finfo(torch.float64).eps)
EPS_RESTORED = 1e-6


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
        gain = level_gain(wave, self._level, EPS_RESTORED if restore_level else _EPS_LEVELLED)
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
    """The factor that brings a waveform [N] to the level its network was trained at."""
    return float(level_gains(wave.double()[None], level, eps))


def level_gains(waves: Tensor, level: Level, eps: float) -> Tensor:
    """The factors [B, 1] that bring waveforms [B, N] to the level of the network, in their dtype.

    `active_rms`: to -25 dB rms, then again by the rms of the samples whose power is above the mean
    power. `peak`: to a peak of 1. Silence is unchanged. Traceable.
    """
    if level == "none":
        return torch.ones_like(waves[:, :1])
    if level == "peak":
        peak = waves.abs().amax(dim=1, keepdim=True)
        return 1.0 / torch.where(peak >= torch.finfo(torch.float32).tiny, peak, 1.0)
    power = waves.square()
    mean_power = power.mean(dim=1, keepdim=True)
    first = _TARGET_RMS / (mean_power.sqrt() + eps)
    active = (power > mean_power).to(power.dtype)
    count = active.sum(dim=1, keepdim=True)
    active_power = (power * active).sum(dim=1, keepdim=True) / count.clamp(min=1.0)
    second = _TARGET_RMS / (first * active_power.sqrt() + eps)
    # A constant magnitude has no sample above its mean.
    second = torch.where(count > 0, second, 1.0)
    return torch.where(mean_power > 0, first * second, 1.0)


# Of numbers or traced sizes, for which torch has no types.
_either: Callable[[bool, int, int], int] = torch.sym_ite
_larger: Callable[[int, int], int] = torch.sym_max


def padding_samples(samples: int, padding: Padding) -> int:
    """How many zeros the padding rule appends to an utterance of `samples` samples.

    Without branches, so that a trace holds for every length, and without floor division of negative
    numbers, which ONNX rounds differently.
    """
    size, stride = padding.size, padding.stride
    if padding.rule == "multiple":
        return -samples % size
    if padding.rule == "hops":
        beyond = _larger(samples - size, 0)
        return size + beyond + -beyond % stride - samples
    rest = (samples - size) % stride
    windows = _either(rest == 0, rest, size + rest)
    two = _either(samples < size + stride, size + stride - samples, windows)
    return _either(samples < size, size - samples, two)
