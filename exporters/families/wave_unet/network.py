"""`wave-unet-16k`: a Wave-U-Net of strided convolutions, waveform to waveform.

Each encoder divides the rate by its stride (Conv1d, BatchNorm1d, ReLU); each decoder is a
transposed convolution back up, concatenated with the encoder's output of the same rate; `out`, the
last one, gives the waveform. The masking form has one more level around it: `analysis`, a strided
convolution without a bias, whose bands skip the U-Net and are multiplied by what comes out of it,
and `synthesis`, a transposed convolution that makes a waveform of them. Only convolutions look at
more than one frame, so the network runs on any length, window by window, or as a stream whose state
is the past samples of each convolution.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.wave_unet.config import (
    CONTEXT_KERNEL,
    WaveUNetConfig,
)

__all__ = [
    "PaddedConv1d",
    "TrimmedConvTranspose1d",
    "WaveUNet",
    "WaveUNetConfig",
    "log_magnitude",
]


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
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, dilation=dilation, bias=bias
        )
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
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, bias=bias)
        self.start = trim[0]
        self.end: int | None = -trim[1] if trim[1] else None

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        y = F.conv_transpose1d(x, self.weight, self.bias, self.stride)
        return y[:, :, self.start : self.end]


def block(conv: PaddedConv1d | TrimmedConvTranspose1d) -> nn.Sequential:
    """A convolution with batch norm and ReLU."""
    return nn.Sequential(conv, nn.BatchNorm1d(conv.out_channels), nn.ReLU())


def log_magnitude(bands: Tensor) -> Tensor:
    """The input of the masking form's U-Net, of the bands' shape; 0 for silence."""
    return torch.log(100.0 * bands.abs() + 1.0)  # below 1/100 nearly linear


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
        self.analysis: PaddedConv1d | None = None
        self.synthesis: TrimmedConvTranspose1d | None = None
        if config.bands:
            bands, stride, pad = config.bands, config.band_stride, config.band_padding
            self.analysis = PaddedConv1d(1, bands, config.band_length, pad, stride, bias=False)
            self.synthesis = TrimmedConvTranspose1d(bands, 1, stride, (0, 0), stride, bias=False)
        widths = (config.bands or 1, *config.channels)
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
        for dilation in config.context_dilations:
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
        if self.analysis is not None and self.synthesis is not None:
            bands = self.analysis(wave)  # [B, C, N / stride]
            masked: Tensor = self.synthesis(bands * torch.sigmoid(self.unet(log_magnitude(bands))))
            return masked
        output = self.unet(wave)
        return wave + output if self.residual else output

    def unet(self, x: Tensor) -> Tensor:
        """The encoders, the context and the decoders, [B, C, N] -> [B, C, N]."""
        skips: list[Tensor] = []
        for encode in self.encoder:
            x = encode(x)  # [B, C', N / stride]
            skips.append(x)
        skips.pop()
        for look_back in self.context:
            x = x + look_back(x)  # [B, C', N / hop]
        for decode in self.decoder:
            x = torch.cat([decode(x), skips.pop()], dim=1)  # [B, 2C', N / stride]
        output: Tensor = self.out(x)
        return output
