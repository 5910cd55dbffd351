"""A U-Net of FRCRN for long utterances: the same numbers in far less memory, chunk by chunk.

All that it computes is local in time but for the means of squeeze-and-excitation and the small
bottleneck. So the U-Net is a row of stages, between which the means become known; a stage is
applied to one piece of the utterance after another, as an ONNX Scan. Only what passes from stage to
stage exists in full.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from frcrn_export.exporters.families.frcrn.layers import ComplexPair, ComplexSqueezeExcite
from frcrn_export.exporters.families.frcrn.lowered import LoweredUNet

PIECE_FRAMES = 32

M = TypeVar("M", bound=nn.Module)


class LongUNet(nn.Module):
    """[B, 2, T, F] to the same shape, equal to a LoweredUNet, in pieces of ``piece`` frames.

    A tensor in pieces is [n, B, C, P, F]. Level i, the output of encoder i and of the decoder for
    the same rows, has T + i + 1 frames; the pieces go on beyond, with padding frames (ignored).
    """

    def __init__(self, unet: LoweredUNet, piece: int) -> None:
        super().__init__()
        self.unet = unet
        self.piece = piece
        self.first_encoder = without_time_padding(unet.first_encoder)
        self.encoders = without_time_padding(unet.encoders)

    def forward(self, spec: Tensor) -> Tensor:
        unet, frames, depth, P = self.unet, spec.shape[2], len(self.encoders) + 1, self.piece
        n = (frames + depth + P - 1) // P
        pieces = cut(spec, n, P)
        # 1 where a frame belongs to level i, else 0: [n, i, depth + P, 1], from depth frames before
        time = (torch.arange(n)[:, None] * P + torch.arange(-depth, P))[:, None, :, None]
        ends = (frames + torch.arange(1, depth + 1))[:, None, None]
        inside = ((time >= 0) & (time < ends)).to(spec.dtype)

        past = torch.cat((last_frames(pieces, depth), pieces), dim=3)
        levels, sums = over_pieces(self._encode, past, inside)
        skip_gains = [
            _gains(layer, sums[i], frames + i + 1) for i, layer in enumerate(unet.skip_gains)
        ]
        re, im = (join(part)[:, :, : frames + depth] for part in levels.pop())
        re, im = unet.decoder_fsmns[0](unet.decoders[0](unet.bottleneck((re, im))))
        x = (cut(re, n, P), cut(im, n, P))
        sums = (re.mean(3, True).sum(2, True)[None], im.mean(3, True).sum(2, True)[None])

        for i, layer in enumerate(unet.decoder_gains, start=1):
            level = depth - 1 - i
            gains = (_gains(layer, sums, frames + level + 1), skip_gains[level])
            inputs = (x, levels.pop())
            if level > 1:
                ahead = _ahead(inputs, 1)
                decode = partial(self._decode, i, gains)
                x, sums = over_pieces(decode, inputs, ahead, inside[:, level - 1, depth:])
        around = torch.cat((last_frames(pieces, 1), pieces, first_frames(pieces, 1)), dim=3)
        finish = partial(self._finish, gains, skip_gains[0])
        y: Tensor = over_pieces(finish, inputs, _ahead(inputs, 2), around)
        return join(y)[:, :, :frames]

    def _encode(self, spec: Tensor, inside: Tensor) -> Any:
        """The levels above 0, and the sums of all but the last, of a piece.

        ``spec`` [B, 2, depth + P, F], ``inside`` [depth, depth + P, 1]: each encoder takes a frame.
        """
        levels, sums = [], []
        x = self.first_encoder(spec)
        layers = zip(self.unet.encoder_fsmns, self.encoders, strict=True)
        for i, (fsmn, encoder) in enumerate(layers):
            mask = inside[i, i + 1 :]
            past = len(self.encoders) - i
            own = tuple(part[:, :, past:] for part in x)
            sums.append(_sums(own, mask[past:]))
            if i > 0:
                levels.append(own)
            re, im = fsmn(x)
            x = encoder((re * mask, im * mask))  # encoders see zeros outside the utterance
        return [*levels, x], sums

    def _decode(self, i: int, gains: Any, inputs: Any, ahead: Any, inside: Tensor) -> Any:
        x = self.unet.decoder_fsmns[i](self.unet.decoders[i](*_scaled(inputs, ahead, gains)))
        return x, _sums(x, inside)

    def _finish(
        self, gains: Any, first_gains: ComplexPair, inputs: Any, ahead: Any, spec: Tensor
    ) -> Tensor:
        """The last two decoders. Level 0 is large, and quickly computed again."""
        x = self.unet.decoders[-1](*_scaled(inputs, ahead, gains))
        x = self.unet.decoder_fsmns[-1](x)
        re, im = self.first_encoder(spec)
        y: Tensor = self.unet.last_decoder(x, (re * first_gains[0], im * first_gains[1]))
        return y


def over_pieces(stage: Callable[..., Any], *inputs: Any) -> Any:
    """The results of ``stage`` for the pieces of the inputs, stacked like them."""

    def step(carry: Tensor, pieces: Any) -> tuple[Tensor, Any]:
        return carry.clone(), stage(*pieces)

    inputs = tree_map(lambda x: x.clone(memory_format=torch.contiguous_format), inputs)
    return scan(step, torch.zeros(1), inputs)[1]


def cut(x: Tensor, count: int, piece: int) -> Tensor:
    """[B, C, T, F] to pieces [n, B, C, P, F], with zeros after T."""
    B, C, T, rows = x.shape
    padded = F.pad(x, (0, 0, 0, count * piece - T))
    return padded.reshape(B, C, count, piece, rows).permute(2, 0, 1, 3, 4)


def join(pieces: Tensor) -> Tensor:
    """Pieces [n, B, C, P, F] to [B, C, n P, F]."""
    count, B, C, piece, rows = pieces.shape
    return pieces.permute(1, 2, 0, 3, 4).reshape(B, C, count * piece, rows)


def last_frames(pieces: Tensor, count: int) -> Tensor:
    """For each piece the last frames of the one before, or zeros: [n, B, C, count, F]."""
    return F.pad(pieces[:, :, :, -count:], (0,) * 8 + (1, 0))[:-1]


def first_frames(pieces: Tensor, count: int) -> Tensor:
    """For each piece the first frames of the one after, or zeros: [n, B, C, count, F]."""
    return F.pad(pieces[:, :, :, :count], (0,) * 8 + (0, 1))[1:]


def _ahead(inputs: Any, count: int) -> Any:
    return tuple((first_frames(re, count), first_frames(im, count)) for re, im in inputs)


def _scaled(inputs: Any, ahead: Any, gains: Any) -> list[ComplexPair]:
    """Complex inputs with the frames ahead of them, times their gains."""

    def scale(part: Tensor, ahead: Tensor, gain: Tensor) -> Tensor:
        return torch.cat((part, ahead), dim=2) * gain

    return [
        (scale(x[0], a[0], g[0]), scale(x[1], a[1], g[1]))
        for x, a, g in zip(inputs, ahead, gains, strict=True)
    ]


def _sums(x: ComplexPair, inside: Tensor) -> ComplexPair:
    """Sums over the frames that ``inside`` [P, 1] marks, of the means over rows: [B, C, 1, 1]."""
    re, im = (part.mean(3, keepdim=True) * inside for part in x)
    return re.sum(2, keepdim=True), im.sum(2, keepdim=True)


def _gains(layer: nn.Module, sums: ComplexPair, frames: int) -> ComplexPair:
    """The gains of squeeze-and-excitation, from the sums of every piece [n, B, C, 1, 1]."""
    assert isinstance(layer, ComplexSqueezeExcite)
    re, im = sums[0].sum(0) / frames, sums[1].sum(0) / frames
    gain_re: Tensor = layer.gains_re(re) - layer.gains_im(im)
    gain_im: Tensor = layer.gains_re(im) + layer.gains_im(re)
    return gain_re, gain_im


def without_time_padding(module: M) -> M:
    """A copy, with the same weights, that computes only frames which it sees in full."""
    memo = {id(parameter): parameter for parameter in module.parameters()}
    narrow = copy.deepcopy(module, memo)
    for conv in narrow.modules():
        if isinstance(conv, nn.Conv2d):
            conv.padding = (0, 0)
    return narrow
