"""FRCRN frame by frame on processors in float32; see streaming_cpu_layers.py for the layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn import network as frcrn
from frcrn_export.exporters.families.frcrn.gpu import PairedGains
from frcrn_export.exporters.families.frcrn.streaming_cpu_layers import (
    PartsDecoder,
    PartsFsmn,
    PartsGains,
    PartsLastDecoder,
    parts_encoder,
)
from frcrn_export.exporters.families.frcrn.streaming_layers import Clock, Stage, StreamingPart
from frcrn_export.exporters.streaming_core import States


class StreamingPartsUNet(StreamingPart):
    """[B, 2, P, F] to the same shape, `delay` frames behind. `ahead` as in StreamingPairedUNet."""

    def __init__(self, unet: frcrn.UNet, bins: int, ahead: Sequence[bool]) -> None:
        super().__init__()
        layer: Callable[[str], Any] = unet.get_submodule
        last = unet.depth - 1
        rows = [bins]  # that each encoder takes
        for i in range(unet.depth):
            taps = layer(f"encoder{i}").conv.conv_re.kernel_size[0]
            rows.append((rows[-1] - taps) // 2 + 1)

        def fsmn(name: str, index: int = 1) -> PartsFsmn:
            re, im = (layer(f"{name}.fsmn_{part}_L{index}") for part in ("re", "im"))
            return PartsFsmn(re, im)

        def gains(side: str, count: int) -> list[PairedGains]:
            return [PairedGains(layer(f"se_layer_{side}{i}")) for i in range(count)]

        self.ahead = tuple(ahead)
        self.delay = sum(self.ahead)
        self.first_encoder = parts_encoder(layer("encoder0"), bins)
        self.encoder_fsmns = nn.ModuleList(fsmn(f"fsmn_enc{i + 1}") for i in range(last))
        self.encoders = nn.ModuleList(
            parts_encoder(layer(f"encoder{i}"), rows[i]) for i in range(1, unet.depth)
        )
        self.bottleneck = nn.ModuleList(StreamingMemory(fsmn("fsmn", i)) for i in (1, 2))
        self.decoders = nn.ModuleList(
            PartsDecoder(layer(f"decoder{i}"), waits, rows[-1 - i])
            for i, waits in enumerate(self.ahead[:-1])
        )
        self.decoder_fsmns = nn.ModuleList(fsmn(f"fsmn_dec{i}") for i in range(last))
        self.last_decoder = PartsLastDecoder(layer(f"decoder{last}"), unet.linear, self.ahead[-1])
        self.skip_gains = PartsGains(gains("enc", last))
        self.decoder_gains = nn.ModuleList(PartsGains([g]) for g in gains("dec", last - 1))

    def step(self, spec: Tensor, clock: Clock, states: States, name: str) -> Tensor:
        depth, frames = len(self.ahead), spec.shape[2]
        late = [sum(self.ahead[: i + 1]) for i in range(depth)]
        # Level i, the input of encoder i and the output of the decoder for the same rows, has i
        # frames more than the utterance.
        coming = clock.stage([(0, level) for level in range(depth + 1)])
        going = clock.stages([(late[i], depth - 1 - i) for i in range(depth - 2)])

        def seen(of: str, x: Tensor, taps: int, by: int = 0) -> Tensor:
            return _seen(states, f"{name}.{of}", x, frames, taps, by)

        # The widest level is delayed as a spectrum, a hundredth of its size, and recomputed.
        inside = coming.inside.chunk(depth + 1, 1)
        spec = (spec * inside[0]).transpose(1, 2).reshape(-1, 1, 2, spec.shape[3])
        given = seen("encoder0", spec, late[-2] + 2)  # [N, late + 2, 2, F]
        x = self.first_encoder(given[:, late[-2] :])  # [N, C, 2, F']
        levels: list[Tensor] = []
        for i, encoder in enumerate(self.encoders):
            levels.append(x)
            x = self.encoder_fsmns[i](x) * inside[i + 1].reshape(-1, 1, 1, 1)
            x = encoder(seen(f"encoder{i + 1}", x, 2))
        for i, memory in enumerate(self.bottleneck):
            x = memory(x, coming.places(depth, depth + 1), states, f"{name}.fsmn{i}")
        gains = self.skip_gains(levels, coming.places(1, depth), states, f"{name}.skips")
        levels[0] = self.first_encoder(given[:, :2])
        gains[0] = seen("gain_late", gains[0], 1, late[-2])

        inputs = [seen("decoder0", _beside(self.decoders[0], x), 1 + self.ahead[0])]
        for i, decoder in enumerate(self.decoders):
            x = self.decoder_fsmns[i](decoder(torch.cat(inputs, dim=1)))
            if i < len(self.decoder_gains):
                gain: Any = self.decoder_gains[i]
                x = x * gain([x], going[i], states, f"{name}.gain{i}")[0]
            level = depth - 2 - i
            skip = levels[level] * gains[level]
            if level > 0:
                own, taps = self.decoders[i + 1], 1 + self.ahead[i + 1]
                inputs = [
                    seen(f"decoder{i + 1}", _beside(own, x), taps),
                    seen(f"late{level}", _beside(own, skip), taps, late[i]),
                ]
        products = self.last_decoder.products(torch.cat((x, skip), dim=1))  # [N, K, 1, F']
        if self.ahead[-1]:
            products = seen(f"decoder{depth - 1}", products, 2)
        y: Tensor = self.last_decoder(products)  # [N, 2, 1, F]
        return y if frames == 1 else y.view(-1, frames, 2, spec.shape[3]).transpose(1, 2)


def _beside(decoder: nn.Module, x: Tensor) -> Tensor:
    """With the zeros that a decoder wants: those that a convolution adds cost as much as rows."""
    assert isinstance(decoder, PartsDecoder)
    return F.pad(x, decoder.beside) if any(decoder.beside) else x


def _seen(states: States, name: str, x: Tensor, frames: int, taps: int, by: int) -> Tensor:
    """What a filter over `taps` frames sees, `by` frames late: [N, C, 2, F] to [N, taps C, 2, F].

    The frames lie side by side in the channels, the earliest first; `frames` of the N follow each
    other in a stream.
    """
    history = taps - 1 + by
    if history == 0:
        return x
    channels, *rows = x.shape[1:]
    before = states.value(name, (history * channels, *rows))
    own = x if frames == 1 else x.reshape(-1, frames * channels, *rows)
    joined = torch.cat((before, own), dim=1)
    states.keep(own if frames == history == 1 else joined[:, frames * channels :])
    if frames == 1:
        return joined[:, : taps * channels] if by else joined
    starts = (joined[:, tap * channels : (tap + frames) * channels] for tap in range(taps))
    return torch.cat([start.reshape(-1, channels, *rows) for start in starts], dim=1)


class StreamingMemory(nn.Module):
    """A complex FSMN layer over time at the bottleneck, [N, C, 2, 1]; its state are past inputs."""

    def __init__(self, layer: PartsFsmn) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, stage: Stage, states: States, name: str) -> Tensor:
        inside = stage.inside.transpose(2, 3)  # [B, 1, 1, P]
        frames = inside.shape[3]
        if frames > 1:
            x = x.view(-1, frames, *x.shape[1:3]).permute(0, 2, 3, 1)  # [B, C, 2, P]
        re, im = (
            states.past(f"{name}.{part}", p * inside, self.layer.past, axis=3)
            for part, p in zip(("re", "im"), self.layer.projected(x), strict=True)
        )
        y: Tensor = self.layer.of_projected(re, im, x)
        return y if frames == 1 else y.permute(0, 3, 1, 2).reshape(-1, *y.shape[1:3], 1)
