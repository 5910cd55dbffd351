"""The configuration of a `wave-unet-16k`, and its receptive field."""

from dataclasses import asdict, dataclass, fields
from math import prod
from typing import Any

from frcrn_export.exporters.family import Setting, Settings, State, setting_text

CONTEXT_KERNEL = 3  # frames


@dataclass(frozen=True)
class WaveUNetConfig:
    """The shape of the network; raises ValueError for an impossible shape.

    channels, strides: one value for each encoder, from the waveform down.
    kernel_size: odd, of every encoder and decoder.
    causal: no output sample depends on input later than the end of its own hop.
    context_blocks: residual convolutions at the lowest rate with dilations 1, 2, 4, ...; six of
        them make a receptive field of 1 s out of 0.1 s. The described form has none.
    context_cycle: after so many context blocks the dilations start again from 1.
    residual: `out` gives what to add to the noisy waveform (so clean speech passes unharmed) and
        not, as in the described form, the clean waveform itself.
    bands: 0, or the masking form: so many filters of `band_length` samples, a frame of them every
        `band_stride` samples, go around the U-Net. Its input is their log magnitude, its output
        what to multiply them by. For causal networks that are not residual.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    strides: tuple[int, ...] = (4, 4, 4)
    kernel_size: int = 15
    causal: bool = True
    context_blocks: int = 0
    residual: bool = False
    context_cycle: int = 6
    bands: int = 0
    band_length: int = 512
    band_stride: int = 128

    def __post_init__(self) -> None:
        if not self.channels or len(self.channels) != len(self.strides):
            raise ValueError(
                f"channels {self.channels} and strides {self.strides} must be of one length"
            )
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, not {self.kernel_size}")
        if min(self.channels) < 1:
            raise ValueError(f"channels must be 1 or more, not {min(self.channels)}")
        most = (self.kernel_size + 1) // 2
        if min(self.strides) < 1 or max(self.strides) > most:
            raise ValueError(f"strides {setting_text(self.strides)} must lie between 1 and {most}")
        if self.context_blocks < 0:
            raise ValueError(f"context_blocks must not be negative, not {self.context_blocks}")
        if self.context_cycle < 1:
            raise ValueError(f"context_cycle must be 1 or more, not {self.context_cycle}")
        if self.bands < 0 or self.bands % 2:
            raise ValueError(f"bands must be even and not negative, not {self.bands}")
        if not 1 <= self.band_stride < self.band_length:
            raise ValueError(
                f"band_stride {self.band_stride} must lie between 1 and band_length "
                f"{self.band_length}"
            )
        if self.bands and (self.residual or not self.causal):
            raise ValueError(f"{self.bands} bands need a network that is causal and not residual")

    @property
    def hop(self) -> int:
        """Samples of one frame at the lowest rate; the core takes multiples of it."""
        return prod(self.strides) * (self.band_stride if self.bands else 1)

    @property
    def context_dilations(self) -> list[int]:
        """Of each context block, in frames at the lowest rate."""
        return [2 ** (index % self.context_cycle) for index in range(self.context_blocks)]

    @property
    def band_padding(self) -> tuple[int, int]:
        """Zeros (left, right) before the filters, so that they divide lengths exactly."""
        return self.band_length - self.band_stride, 0

    def padding(self, stride: int) -> tuple[int, int]:
        """Zeros (left, right) before an encoder, so that it divides lengths exactly."""
        left = self.kernel_size - stride if self.causal else (self.kernel_size - 1) // 2
        return left, self.kernel_size - stride - left

    def trim(self, stride: int) -> tuple[int, int]:
        """Samples (left, right) cut after a decoder, so that it multiplies lengths exactly."""
        left = 0 if self.causal else (self.kernel_size - 1) // 2
        return left, self.kernel_size - stride - left

    def context_padding(self, dilation: int) -> tuple[int, int]:
        """Zeros (left, right) before a context block, so that it keeps lengths."""
        total = (CONTEXT_KERNEL - 1) * dilation
        return (total, 0) if self.causal else (total // 2, total // 2)

    @property
    def receptive_field(self) -> tuple[int, int]:
        """Samples of input before and after an output sample that it can depend on, at most.

        Exact: the largest over the positions in a hop. A window that starts and ends on a hop and
        has this much true input around a sample gives that sample as the whole file would.
        """
        left = right = 0
        stride = self.band_stride if self.bands else 1
        for sample in range(self.hop):
            frame = sample // stride  # at the input of the U-Net
            first, last = self._input_range(frame)
            if self.bands:
                first, last = first * stride - self.band_padding[0], (last + 1) * stride - 1
            left, right = max(left, sample - first), max(right, last - sample)
        return left, right

    def _input_range(self, frame: int) -> tuple[int, int]:
        """First and last frame at the U-Net's input that one at its output depends on."""
        first = last = frame
        low = high = frame  # what is needed of the decoded signal, level by level
        for level, stride in enumerate(self.strides):
            trim, _ = self.trim(stride)
            low = -((self.kernel_size - 1 - trim - low) // stride)
            high = (high + trim) // stride
            if level == len(self.strides) - 1:
                for dilation in self.context_dilations:
                    before, after = self.context_padding(dilation)
                    low, high = low - before, high + after
            start, end = self._encoder_range(level, low, high)
            first, last = min(first, start), max(last, end)
        return first, last

    def _encoder_range(self, level: int, low: int, high: int) -> tuple[int, int]:
        """First and last frame at the input that the frames low..high of encoder `level` need."""
        for stride in reversed(self.strides[: level + 1]):
            left, _ = self.padding(stride)
            low = low * stride - left
            high = high * stride - left + self.kernel_size - 1
        return low, high

    def to_metadata(self) -> dict[str, str]:
        """As the strings a safetensors file holds."""
        return {name: setting_text(value) for name, value in asdict(self).items()}


def config_of(settings: Settings) -> WaveUNetConfig:
    """The configuration in settings; what they do not name has its default.

    Raises ValueError where no network has it.
    """
    names = {field.name for field in fields(WaveUNetConfig)}
    given: dict[str, Any] = {name: value for name, value in settings.items() if name in names}
    return WaveUNetConfig(**given)


def shown_by_tensors(state: State) -> dict[str, Setting]:
    """Channels, kernel size, context blocks and bands of a state dict, by its shapes.

    Raises ValueError when the keys are not those of a WaveUNet.
    """
    encoders = [state[key] for key in _numbered(state, "encoder.{}.0.weight")]
    if not encoders or any(weight.dim() != 3 for weight in encoders):
        raise ValueError("no encoder.0.0.weight of three dimensions: not a wave-unet-16k")
    facts: dict[str, Setting] = {
        "channels": tuple(weight.shape[0] for weight in encoders),
        "kernel_size": encoders[0].shape[2],
        "context_blocks": len(_numbered(state, "context.{}.0.weight")),
        "bands": 0,
    }
    if "analysis.weight" in state and "synthesis.weight" in state:
        bands, _, band_length = state["analysis.weight"].shape
        _, _, band_stride = state["synthesis.weight"].shape
        facts |= {"bands": bands, "band_length": band_length, "band_stride": band_stride}
    return facts


def _numbered(state: State, pattern: str) -> list[str]:
    """The keys pattern.format(0), pattern.format(1), ... as far as `state` has them."""
    keys: list[str] = []
    while pattern.format(len(keys)) in state:
        keys.append(pattern.format(len(keys)))
    return keys
