"""`wave-unet-16k`: a Wave-U-Net of strided convolutions, waveform to waveform.

Each encoder divides the rate by its stride (Conv1d, BatchNorm1d, ReLU); each decoder is a
transposed convolution back up, concatenated with the encoder's output of the same rate; `out`, the
last one, gives the waveform. Only convolutions look at more than one frame, so the network runs on
any length, window by window, or as a stream whose state is the past samples of each convolution.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONTEXT_KERNEL = 3  # frames


@dataclass(frozen=True)
class WaveUNetConfig:
    """Shape of the network; raises ValueError where no network has it.

    channels, strides: one value for each encoder, from the waveform down.
    kernel_size: odd, of every encoder and decoder.
    causal: no output sample depends on input later than the end of its own hop.
    context_blocks: residual convolutions at the lowest rate with dilations 1, 2, 4, ...; six of
        them let the network hear 1 s of past where it hears 0.1 s. The described form has none.
    residual: `out` gives what to add to the noisy waveform (so clean speech passes unharmed) and
        not, as in the described form, the clean waveform itself.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    strides: tuple[int, ...] = (4, 4, 4)
    kernel_size: int = 15
    causal: bool = True
    context_blocks: int = 0
    residual: bool = False

    def __post_init__(self) -> None:
        if not self.channels or len(self.channels) != len(self.strides):
            raise ValueError(
                f"channels {self.channels} and strides {self.strides} must be of one length"
            )
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, not {self.kernel_size}")
        if min(self.channels) < 2:
            raise ValueError(f"channels must be 2 or more, not {min(self.channels)}")
        most = (self.kernel_size + 1) // 2
        if min(self.strides) < 1 or max(self.strides) > most:
            raise ValueError(f"strides {self.strides} must lie between 1 and {most}")
        if self.context_blocks < 0:
            raise ValueError(f"context_blocks must not be negative, not {self.context_blocks}")

    @property
    def hop(self) -> int:
        """Samples of one frame at the lowest rate; the core takes multiples of it."""
        return prod(self.strides)

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
        for sample in range(self.hop):
            first, last = self._input_range(sample)
            left, right = max(left, sample - first), max(right, last - sample)
        return left, right

    def _input_range(self, sample: int) -> tuple[int, int]:
        """First and last input sample that one output sample depends on."""
        first = last = sample
        low = high = sample  # what is needed of the decoded signal, level by level
        for level, stride in enumerate(self.strides):
            trim, _ = self.trim(stride)
            low = -((self.kernel_size - 1 - trim - low) // stride)
            high = (high + trim) // stride
            if level == len(self.strides) - 1:
                for index in range(self.context_blocks):
                    before, after = self.context_padding(2**index)
                    low, high = low - before, high + after
            start, end = self._encoder_range(level, low, high)
            first, last = min(first, start), max(last, end)
        return first, last

    def _encoder_range(self, level: int, low: int, high: int) -> tuple[int, int]:
        """First and last input sample that the frames low..high of encoder `level` depend on."""
        for stride in reversed(self.strides[: level + 1]):
            left, _ = self.padding(stride)
            low = low * stride - left
            high = high * stride - left + self.kernel_size - 1
        return low, high

    def to_metadata(self) -> dict[str, str]:
        """As the strings a safetensors file holds."""
        return {
            "channels": ",".join(map(str, self.channels)),
            "strides": ",".join(map(str, self.strides)),
            "kernel_size": str(self.kernel_size),
            "causal": str(self.causal).lower(),
            "context_blocks": str(self.context_blocks),
            "residual": str(self.residual).lower(),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "WaveUNetConfig":
        """From what `to_metadata` gave; other entries are ignored, absent ones have the defaults.

        Raises ValueError for values that cannot be read.
        """
        default = cls().to_metadata()
        text = {key: metadata.get(key, default[key]) for key in default}
        for key in ("causal", "residual"):
            if text[key] not in ("true", "false"):
                raise ValueError(f"{key} must be true or false, not {text[key]!r}")
        return cls(
            channels=tuple(int(part) for part in text["channels"].split(",")),
            strides=tuple(int(part) for part in text["strides"].split(",")),
            kernel_size=int(text["kernel_size"]),
            causal=text["causal"] == "true",
            context_blocks=int(text["context_blocks"]),
            residual=text["residual"] == "true",
        )


def config_from_state_dict(
    state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> WaveUNetConfig:
    """The configuration a state dict of a WaveUNet was made with.

    Channels, kernel size and context blocks come from the shapes. The rest leaves no trace there:
    it comes from `metadata` when given, else is strides of 4, causal and not residual.
    Raises ValueError when the keys are not those of a WaveUNet, or the metadata contradicts them.
    """
    encoders = [state[key] for key in _numbered(state, "encoder.{}.0.weight")]
    if not encoders or any(weight.dim() != 3 for weight in encoders):
        raise ValueError("no encoder.0.0.weight of three dimensions: not a wave-unet-16k")
    from_shapes = {
        "channels": ",".join(str(weight.shape[0]) for weight in encoders),
        "kernel_size": str(encoders[0].shape[2]),
        "context_blocks": str(len(_numbered(state, "context.{}.0.weight"))),
    }
    given = dict(metadata or {})
    for key, value in from_shapes.items():
        if given.get(key, value) != value:
            raise ValueError(f"metadata says {key} {given[key]}, the tensors {value}")
    strides = given.get("strides", ",".join("4" for _ in encoders))
    return WaveUNetConfig.from_metadata({**given, **from_shapes, "strides": strides})


def _numbered(state: Mapping[str, Tensor], pattern: str) -> list[str]:
    """The keys pattern.format(0), pattern.format(1), ... as far as `state` has them."""
    keys: list[str] = []
    while pattern.format(len(keys)) in state:
        keys.append(pattern.format(len(keys)))
    return keys


class PaddedConv1d(nn.Conv1d):
    """Conv1d over an input with `pad` = (left, right) zeros."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        pad: tuple[int, int],
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, dilation=dilation)
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(F.pad(x, self.pad), self.weight, self.bias, self.stride, 0, self.dilation)


class TrimmedConvTranspose1d(nn.ConvTranspose1d):
    """Transposed convolution [B, C, N] -> [B, C', N * stride], cut by `trim` = (left, right)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        trim: tuple[int, int],
        stride: int,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride)
        self.start = trim[0]
        self.end: int | None = -trim[1] if trim[1] else None

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        y = F.conv_transpose1d(x, self.weight, self.bias, self.stride)
        return y[:, :, self.start : self.end]


def block(conv: PaddedConv1d | TrimmedConvTranspose1d) -> nn.Sequential:
    """A convolution with batch norm and ReLU."""
    return nn.Sequential(conv, nn.BatchNorm1d(conv.out_channels), nn.ReLU())


class WaveUNet(nn.Module):
    """Noisy waveform [B, 1, N] float32 to clean waveform [B, 1, N], N a multiple of `config.hop`.

    Trained for a peak of 1 and below: the pipeline around it divides by the peak and multiplies
    back. Raises ValueError for another length.
    """

    def __init__(self, config: WaveUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or WaveUNetConfig()
        self.hop = config.hop
        self.residual = config.residual
        kernel = config.kernel_size
        widths = (1, *config.channels)
        encoders, decoders = [], []
        for level, stride in enumerate(config.strides):
            above, below = widths[level], widths[level + 1]
            encoders.append(
                block(PaddedConv1d(above, below, kernel, config.padding(stride), stride))
            )
            # From below comes what the level under it decoded with its skip, if there is one.
            into = below if level == len(config.strides) - 1 else 2 * below
            decoders.append(
                TrimmedConvTranspose1d(into, above, kernel, config.trim(stride), stride)
            )
        lowest = config.channels[-1]
        contexts = []
        for index in range(config.context_blocks):
            dilation = 2**index
            pad = config.context_padding(dilation)
            contexts.append(
                block(PaddedConv1d(lowest, lowest, CONTEXT_KERNEL, pad, dilation=dilation))
            )
        self.encoder = nn.ModuleList(encoders)
        self.context = nn.ModuleList(contexts)
        self.decoder = nn.ModuleList(block(conv) for conv in reversed(decoders[1:]))
        self.out = decoders[0]

    def forward(self, wave: Tensor) -> Tensor:
        if wave.shape[2] % self.hop != 0:
            raise ValueError(f"a length of {wave.shape[2]} is not a multiple of {self.hop} samples")
        x = wave  # [B, 1, N]
        skips: list[Tensor] = []
        for encode in self.encoder:
            x = encode(x)  # [B, C, N / stride]
            skips.append(x)
        skips.pop()
        for look_back in self.context:
            x = x + look_back(x)  # [B, C, N / hop]
        for decode in self.decoder:
            x = torch.cat([decode(x), skips.pop()], dim=1)  # [B, 2C, N / stride]
        output: Tensor = self.out(x)  # [B, 1, N]
        return wave + output if self.residual else output
