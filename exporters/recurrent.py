"""Recurrent layers in ONNX: nn.GRU, nn.LSTM and nn.RNN as operators of any batch and length.

Tracing unrolls a PyTorch layer over the frames of the example. The ONNX operator takes any number
of frames, so exports replace the layers by operators.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn

from frcrn_export.runtime.errors import UserError

_OPERATOR_VERSION = 14  # of all three, from opset 14 to 21
# Of the blocks of rows in a weight, PyTorch's in the order of ONNX: GRU r, z, n to z, r, h and LSTM
# i, f, g, o to i, o, f, c.
_GATES = {"GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2), "RNN_TANH": (0,), "RNN_RELU": (0,)}
_ACTIVATIONS = {"RNN_TANH": "Tanh", "RNN_RELU": "Relu"}

State = Tensor | tuple[Tensor, Tensor]  # of a GRU or RNN, or hidden and cell state of an LSTM


class OnnxRecurrent(nn.RNNBase):
    """A recurrent layer as ONNX operators, one for each of its layers, called as nn.GRU is.

    Runs in ONNX only. `recurrent_to_onnx` makes it from a layer and keeps settings and hooks.
    `amid_float16`: other layers of its network compute in float16.
    """

    amid_float16: bool

    def forward(self, x: Tensor, hx: State | None = None) -> tuple[Tensor, State]:
        """[B, T, C] (T first without batch_first) and the state before, zeros where there is none.

        Each state is [layers * directions, B, H].
        """
        if not isinstance(x, Tensor) or x.dim() != 3:
            raise UserError(
                f"nn.{_name(self)}: takes padded batches of 3 axes in ONNX; "
                "leave out pack_padded_sequence, and unsqueeze what has no batch axis"
            )
        y = x.transpose(0, 1) if self.batch_first else x
        if self.amid_float16:
            # TensorRT-RTX 1.7 does not build a GRU or LSTM directly after a cast from float16. This
            # operation, which it cannot remove, changes no value.
            y = y.clamp(min=torch.finfo(y.dtype).min)
        states = () if hx is None else (hx,) if isinstance(hx, Tensor) else hx
        count = self.num_layers
        before = [s.chunk(count) if count > 1 else (s,) for s in states]  # [D, B, H] each
        after: list[Sequence[Tensor]] = []
        for layer in range(count):
            y, *last = self._operator(layer, y, [parts[layer] for parts in before])
            after.append(last)
        last_states = [torch.cat(parts) for parts in zip(*after, strict=True)]
        y = y.transpose(0, 1) if self.batch_first else y
        return y, last_states[0] if len(last_states) == 1 else (last_states[0], last_states[1])

    def _operator(self, layer: int, x: Tensor, before: Sequence[Tensor]) -> list[Tensor]:
        """Output [T, B, D * H] and last states [D, B, H] of one layer, from x [T, B, C]."""
        directions, (T, B) = 2 if self.bidirectional else 1, x.shape[:2]
        weights = [getattr(self, f"{name}{layer}", None) for name in ("W", "R", "B")]
        attributes: dict[str, Any] = {"hidden_size": self.hidden_size}
        if self.bidirectional:
            attributes["direction"] = "bidirectional"
        if self.mode == "GRU":
            attributes["linear_before_reset"] = 1  # PyTorch's form
        if self.mode in _ACTIVATIONS:
            attributes["activations"] = [_ACTIVATIONS[self.mode]] * directions
        state = (directions, B, self.hidden_size)
        shapes = [(T, *state), *[state] * (2 if self.mode == "LSTM" else 1)]
        y, *after = torch.onnx.ops.symbolic_multi_out(
            _name(self),
            (x, *weights, None, *before),
            attributes,
            dtypes=[x.dtype] * len(shapes),
            shapes=shapes,
            version=_OPERATOR_VERSION,
        )
        return [y.transpose(1, 2).flatten(2) if self.bidirectional else y.squeeze(1), *after]


def _name(layer: nn.RNNBase) -> str:
    """The kind of a layer in PyTorch and ONNX: GRU, LSTM or RNN."""
    return layer.mode.partition("_")[0]


def recurrent_layers(module: nn.Module) -> dict[str, nn.RNNBase]:
    """The recurrent layers of a module tree by name; `module` itself has the name ""."""
    named = module.named_modules()
    return {name: layer for name, layer in named if isinstance(layer, nn.RNNBase)}


def recurrent_to_onnx(module: nn.Module) -> nn.Module:
    """A copy, sharing its weights, with every recurrent layer as ONNX operators.

    Gives `module` itself if it has none. Raises UserError for a layer that ONNX cannot express.
    """
    for name, layer in recurrent_layers(module).items():
        if layer.proj_size:
            raise UserError(
                f"{name or 'module'}: nn.LSTM with proj_size={layer.proj_size} has no ONNX form; "
                "use an nn.LSTM without it and an nn.Linear behind it"
            )
    if not recurrent_layers(module):
        return module
    shared = {id(tensor): tensor for tensor in chain(module.parameters(), module.buffers())}
    copied = copy.deepcopy(module, shared)
    amid_float16 = any(weight.dtype == torch.float16 for weight in module.parameters())
    for layer in recurrent_layers(copied).values():
        _become_operator(layer, amid_float16)
    return copied


@torch.no_grad()
def _become_operator(layer: nn.RNNBase, amid_float16: bool) -> None:
    """Replace a layer's weights by the operator's; hooks and settings stay."""
    packed: dict[str, Tensor] = {}
    for index in range(layer.num_layers):
        ends = [f"_l{index}", f"_l{index}_reverse"][: 2 if layer.bidirectional else 1]

        def stacked(kind: str, ends: Sequence[str] = tuple(ends)) -> Tensor:
            return torch.stack([_in_onnx_order(layer, f"{kind}{end}") for end in ends])

        packed[f"W{index}"] = stacked("weight_ih")  # [D, gates * H, C]
        packed[f"R{index}"] = stacked("weight_hh")  # [D, gates * H, H]
        if layer.bias:
            both = (stacked("bias_ih"), stacked("bias_hh"))
            packed[f"B{index}"] = torch.cat(both, dim=1)  # [D, 2 * gates * H]
    layer.__class__ = OnnxRecurrent
    layer.amid_float16 = amid_float16
    layer._flat_weights = []
    layer._parameters.clear()
    for name, tensor in packed.items():
        layer.register_buffer(name, tensor)


def _in_onnx_order(layer: nn.RNNBase, name: str) -> Tensor:
    blocks = cast(Tensor, getattr(layer, name)).chunk(len(_GATES[layer.mode]))
    return torch.cat([blocks[gate] for gate in _GATES[layer.mode]])


def require_causal(module: nn.Module) -> None:
    """Raise UserError for a module tree with a recurrent layer that goes backwards in time."""
    for name, layer in recurrent_layers(module).items():
        if layer.bidirectional:
            raise UserError(
                f"{name or 'module'}: a bidirectional nn.{_name(layer)} cannot stream; "
                "train the network with bidirectional=False, or export without --streaming"
            )
