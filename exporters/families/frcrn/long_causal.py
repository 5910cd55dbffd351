"""A U-Net of FRCRN with causal squeeze-and-excitation for long utterances, in bounded memory.

Nothing that it computes needs more of the future than a frame for each decoder. So it takes one
piece of the utterance after another, as one ONNX Scan, and hands on what later pieces need of the
earlier ones as states. Besides the spectra no tensor is longer than a piece.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn.layers import (
    ComplexFsmn,
    ComplexPair,
    ComplexSqueezeExcite,
    Memory,
)
from frcrn_export.exporters.families.frcrn.long import cut, without_time_padding
from frcrn_export.exporters.families.frcrn.lowered import LoweredUNet
from frcrn_export.exporters.families.frcrn.streaming_layers import Clock, Stage, running_means
from frcrn_export.exporters.streaming_core import States, StatesRecorder


class CausalLongUNet(nn.Module):
    """What a LoweredUNet makes of the next piece of ``piece`` frames: the body of the scan.

    Level i, the output of encoder i and of the decoder for the same rows, has T + i + 1 frames.
    Decoder i gives its frames i + 1 frames late.
    """

    def __init__(self, unet: LoweredUNet, piece: int, bins: int) -> None:
        super().__init__()
        self.unet = unet
        self.piece = piece
        self.bins = bins
        self.depth = len(unet.decoders) + 1
        self.first_encoder = without_time_padding(unet.first_encoder)
        self.encoders = without_time_padding(unet.encoders)
        # Where frames come and go: how late, and how many more of them than the utterance has.
        self.places = [(0, level) for level in range(self.depth + 1)]
        self.places += [(i + 1, self.depth - 1 - i) for i in range(self.depth - 2)]
        dtype = next(unet.parameters()).dtype
        recorder = StatesRecorder(1, dtype)
        stage = Stage(*[torch.ones(1, 1, 1, 1, dtype=dtype)] * 2)
        with torch.no_grad():
            frame = torch.zeros(1, 2, 1, bins, dtype=dtype)
            self.step(frame, [stage] * len(self.places), recorder)
        self.states = tuple(spec.row_shape for spec in recorder.specs)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """States, then what Pieces gives of one piece; the next states, then the output.

        The output [B, 2, P, F] is ``depth`` frames late.
        """
        *before, piece, inside, count = given
        insides, counts = (each.chunk(len(self.places)) for each in (inside, count))
        states = States(before)
        y = self.step(piece, list(map(Stage, insides, counts)), states)
        return (*states.next, y)

    def step(self, spec: Tensor, stages: Sequence[Stage], states: States) -> Tensor:
        """The next frames [B, 2, P, F] to as many, ``depth`` frames late."""
        unet, depth, frames = self.unet, self.depth, spec.shape[2]
        coming, going = stages[: depth + 1], stages[depth + 1 :]

        # The widest level waits as a spectrum, a fiftieth of its size, and is computed again.
        joined = states.past("spec", spec * coming[0].inside, depth)
        x: ComplexPair = self.first_encoder(joined[:, :, depth - 1 :])
        levels: list[ComplexPair] = []
        gains: list[ComplexPair] = []
        for i, encoder in enumerate(self.encoders):
            levels.append(x)
            gains.append(_gains(unet.skip_gains[i], x, coming[i + 1], states, f"skip{i}"))
            re, im = unet.encoder_fsmns[i](x)
            inside = coming[i + 1].inside
            x = encoder(_past(states, f"encoder{i + 1}", (re * inside, im * inside), 1))
        levels[0] = self.first_encoder(joined[:, :, : frames + 1])
        gains[0] = _late(states, "gains", gains[0], depth - 1)
        for i, layer in enumerate(unet.bottleneck):
            x = _remembered(layer, x, coming[depth], states, f"fsmn{i}")

        inputs = [x]
        for i, decoder in enumerate(unet.decoders):
            x = unet.decoder_fsmns[i](decoder(*_ahead(states, f"decoder{i}", inputs)))
            if i < len(unet.decoder_gains):
                x = _times(x, _gains(unet.decoder_gains[i], x, going[i], states, f"gain{i}"))
            level = depth - 2 - i
            skip = _times(levels[level], gains[level])
            inputs = [x, _late(states, f"level{level}", skip, i + 1) if level > 0 else skip]
        y: Tensor = unet.last_decoder(*_ahead(states, "last_decoder", inputs))
        return y


class Pieces(nn.Module):
    """[B, 2, T, F] to the pieces [n, B, 2, P, F] of it that a CausalLongUNet takes.

    With them, for every piece, the stages at each of its places: whether a frame is inside, and how
    many there were, [n, places, 1, P, 1] both.
    """

    def __init__(self, unet: CausalLongUNet) -> None:
        super().__init__()
        self.piece, self.depth, self.places = unet.piece, unet.depth, unet.places

    def forward(self, spec: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        frames, P, dtype = spec.shape[2], self.piece, spec.dtype
        n = (frames + self.depth + P - 1) // P
        index = (torch.arange(n)[:, None] * P + torch.arange(P)).to(dtype)[:, None, :, None]
        end = torch.zeros(1, 1, 1, 1, dtype=dtype) + frames
        stages = Clock(index, end, dtype).stages(self.places)  # [n, 1, P, 1] each
        inside = torch.stack([stage.inside for stage in stages], 1)
        return cut(spec, n, P), inside, torch.stack([stage.count for stage in stages], 1)


def _past(states: States, name: str, x: ComplexPair, frames: int) -> ComplexPair:
    """Both parts with the frames before them."""
    re, im = x
    return states.past(f"{name}.re", re, frames), states.past(f"{name}.im", im, frames)


def _late(states: States, name: str, x: ComplexPair, late: int) -> ComplexPair:
    """The frames of so many frames ago."""
    count = x[0].shape[2]
    re, im = _past(states, name, x, late)
    return re[:, :, :count], im[:, :, :count]


def _ahead(states: States, name: str, inputs: Sequence[ComplexPair]) -> list[ComplexPair]:
    """A decoder's inputs a frame late, with the frame ahead of them."""
    return [_past(states, f"{name}.{i}", x, 1) for i, x in enumerate(inputs)]


def _times(x: ComplexPair, gains: ComplexPair) -> ComplexPair:
    return x[0] * gains[0], x[1] * gains[1]


def _gains(
    layer: nn.Module, x: ComplexPair, stage: Stage, states: States, name: str
) -> ComplexPair:
    """The gains [B, C, P, 1] of squeeze-and-excitation for each frame."""
    assert isinstance(layer, ComplexSqueezeExcite)
    assert layer.pooling != "global"
    window = None if layer.pooling == "cumulative" else layer.pooling
    means = torch.cat([part.mean(3, keepdim=True) for part in x], dim=1)  # [B, 2C, P, 1]
    mean_re, mean_im = running_means(means, stage, window, states, name).chunk(2, dim=1)
    return layer.of_means(mean_re, mean_im)


def _remembered(
    layer: nn.Module, x: ComplexPair, stage: Stage, states: States, name: str
) -> ComplexPair:
    """A complex FSMN layer over time that goes on from the pieces before."""
    assert isinstance(layer, ComplexFsmn)

    def product(which: str, part: Tensor) -> Tensor:
        memory = layer.get_submodule(which)
        assert isinstance(memory, Memory)
        p = memory.project(F.relu(memory.linear(part))) * stage.inside
        past = memory.memory.kernel_size[0] - 1
        y: Tensor = memory.memory(states.past(f"{name}.{which}", p, past))
        return y

    return layer.joined(x, product)
