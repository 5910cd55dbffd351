"""The nodes and constants that a graph gets with uint8, each once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from frcrn_export.calibration.graph.quantization_parameters import Steps
from frcrn_export.calibration.graph.weights import Floats


@dataclass
class Nodes:
    """Makes nodes; `made` are the constants that they read, `done` what was made once for all."""

    made: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def first(self, name: str) -> bool:
        """Whether this is asked for the first time."""
        is_first = name not in self.done
        self.done.add(name)
        return is_first

    def quantized(
        self, stem: str, source: str, steps: Steps, result: str | None = None
    ) -> onnx.NodeProto:
        """`result`, or `STEM_quantized`, of a float tensor."""
        given = [source, *self._given(stem, steps)]
        return node("QuantizeLinear", given, result or f"{stem}_quantized")

    def dequantized(self, stem: str, source: str, result: str, steps: Steps) -> onnx.NodeProto:
        """A float tensor of one in uint8."""
        return node("DequantizeLinear", [source, *self._given(stem, steps)], result)

    def pair(self, stem: str, source: str, result: str, steps: Steps) -> Iterator[onnx.NodeProto]:
        """From `source` to `result`, through uint8."""
        yield self.quantized(stem, source, steps)
        yield self.dequantized(stem, f"{stem}_quantized", result, steps)

    def _given(self, stem: str, steps: Steps) -> tuple[str, str]:
        self.made[f"{stem}_scale"], self.made[f"{stem}_zero_point"] = steps.scale, steps.zero_point
        return parameters(stem)

    def constant(
        self, stem: str, values: npt.NDArray[Any], scale: Floats, axis: int
    ) -> onnx.NodeProto:
        """A tensor `STEM` of whole numbers in steps of `scale` [channels] along an axis."""
        self.made[f"{stem}_quantized"] = values
        self.made[f"{stem}_scale"] = scale
        self.made[f"{stem}_zero_point"] = np.zeros(scale.shape, values.dtype)
        given = [f"{stem}_quantized", *parameters(stem)]
        return node("DequantizeLinear", given, stem, axis=axis)


def parameters(stem: str) -> tuple[str, str]:
    """The names of a scale and a zero point."""
    return f"{stem}_scale", f"{stem}_zero_point"


def node(operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    """A node with one output, named for it."""
    return helper.make_node(operator, list(inputs), [output], f"{output}.{operator}", **attributes)
