"""One waveform-to-waveform ONNX file: the published level and padding rules around the network.

The rules are traced from `reference.py`, in float32, and joined to the exported network: the file
maps raw audio of any length to audio of the same length and level.
"""

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.onnx_export import onnx_from_module
from frcrn_export.exporters.reference import EPS_RESTORED, level_gains, padding_samples
from frcrn_export.runtime.bundle.manifest import Level, Padding, TensorSpec

_EXAMPLE = (2, 5_003)  # [B, N]


class _Prepare(nn.Module):
    """wave [B, N] -> the network's input [B, N'], and the gain of every sample [B, N]."""

    def __init__(self, level: Level, padding: Padding) -> None:
        super().__init__()
        self._level: Level = level
        self._padding = padding

    def forward(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        gains = level_gains(wave, self._level, EPS_RESTORED)
        missing = padding_samples(wave.shape[1], self._padding)
        return F.pad(wave * gains, (0, missing)), gains.expand_as(wave)


class _Finish(nn.Module):
    """The network's output [B, N''] and the gains [B, N] -> enhanced [B, N].

    A shorter output is filled with zeros, as published, so that lengths stay equal.
    """

    def forward(self, raw: Tensor, gains: Tensor) -> Tensor:
        samples = gains.shape[1]
        return F.pad(raw, (0, samples))[:, :samples] / gains


def inline_model(network: onnx.ModelProto, level: Level, padding: Padding) -> onnx.ModelProto:
    """Join the rules to a network `wave` [batch, samples] -> `enhanced` [batch, samples'].

    The result has the same input and output names; its output is as long as its input.
    """
    wave, raw = torch.randn(_EXAMPLE), torch.randn(_EXAMPLE[0], _EXAMPLE[1] + 1)
    prepare = onnx_from_module(
        _Prepare(level, padding),
        (wave,),
        (_tensor("wave", "samples"),),
        (_tensor("prepared", "padded"), _tensor("gains", "samples")),
        "prepare",
        {},
    )
    finish = onnx_from_module(
        _Finish(),
        (raw, torch.ones(_EXAMPLE)),
        (_tensor("raw", "padded"), _tensor("gains", "samples")),
        (_tensor("enhanced", "samples"),),
        "finish",
        {},
    )
    inner = onnx.compose.add_prefix(network, "network.")
    front = onnx.compose.merge_models(prepare, inner, io_map=[("prepared", "network.wave")])
    model = onnx.compose.merge_models(
        front,
        onnx.compose.add_prefix(finish, "finish."),
        io_map=[("network.enhanced", "finish.raw"), ("gains", "finish.gains")],
    )
    return _rename_output(model, "enhanced")


def _tensor(name: str, size: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=("batch", size))


def _rename_output(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    (output,) = model.graph.output
    for node in model.graph.node:
        for index, own in enumerate(node.output):
            if own == output.name:
                node.output[index] = name
    output.name = name
    return model
