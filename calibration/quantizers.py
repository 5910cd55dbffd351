"""The two quantizers: of layers for TensorRT, of signals for ONNX Runtime on processors."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import onnx

from frcrn_export.calibration.graph import qdq
from frcrn_export.calibration.graph.dtypes import QuantizedPrecision
from frcrn_export.calibration.graph.layers import Layer, quantizable
from frcrn_export.calibration.graph.quantization_parameters import signal_histogram, signal_range
from frcrn_export.calibration.graph.signals import Signal, find_signals
from frcrn_export.calibration.graph.uint8 import int8_layers_of, quantize_signals
from frcrn_export.calibration.histogram import value_range
from frcrn_export.calibration.ranges import Ranges
from frcrn_export.calibration.search import Candidate
from frcrn_export.runtime.bundle.manifest import CalibrationMethod, Target


@dataclass(frozen=True)
class Covered:
    """The quantization range of a tensor or signal, and its `seen` values."""

    name: str
    seen: tuple[float, float]
    chosen: tuple[float, float]


class Quantizer(Protocol):
    """Quantizes candidates, by name."""

    @property
    def candidates(self) -> Sequence[Candidate]: ...

    @property
    def observed(self) -> Sequence[str]:
        """The tensors whose ranges are needed."""

    def quantize(self, names: Collection[str], ranges: Ranges) -> onnx.ModelProto:
        """The graph with the candidates of these names in 8 bits."""

    def layers(self, names: Collection[str]) -> frozenset[str]:
        """The layers that then compute in 8 bits."""

    def covered(self, names: Collection[str], ranges: Ranges) -> list[Covered]:
        """The range of each tensor or signal that is then in 8 bits."""


def quantizer_for(
    model: onnx.ModelProto, target: Target, method: CalibrationMethod, precision: QuantizedPrecision
) -> Quantizer:
    """The quantizer of a target; `precision` is INT8 for processors."""
    if target == "cpu":
        return SignalQuantizer(model, tuple(find_signals(model)), method)
    return LayerQuantizer(model, tuple(quantizable(model, target)), method, precision)


@dataclass(frozen=True)
class LayerQuantizer:
    """For TensorRT, layer by layer; see qdq.py."""

    model: onnx.ModelProto
    candidates: tuple[Layer, ...]
    method: CalibrationMethod
    precision: QuantizedPrecision

    @property
    def observed(self) -> list[str]:
        return self._tensors([layer.name for layer in self.candidates])

    def quantize(self, names: Collection[str], ranges: Ranges) -> onnx.ModelProto:
        return qdq.quantize(self.model, names, ranges, self.method, self.precision)

    def layers(self, names: Collection[str]) -> frozenset[str]:
        return frozenset(names)

    def covered(self, names: Collection[str], ranges: Ranges) -> list[Covered]:
        found = []
        for name in self._tensors(names):
            seen = ranges[name]
            chosen = value_range(seen, self.method, symmetric=True)
            found.append(Covered(name, (seen.low, seen.high), chosen))
        return found

    def _tensors(self, names: Collection[str]) -> list[str]:
        return qdq.quantized_tensors(self.model, names)


@dataclass(frozen=True)
class SignalQuantizer:
    """For ONNX Runtime on processors, signal by signal; see uint8.py."""

    model: onnx.ModelProto
    candidates: tuple[Signal, ...]
    method: CalibrationMethod

    @property
    def observed(self) -> list[str]:
        return [name for signal in self.candidates for name in signal.observed]

    def quantize(self, names: Collection[str], ranges: Ranges) -> onnx.ModelProto:
        return quantize_signals(self.model, names, ranges, self.method, self.candidates)

    def layers(self, names: Collection[str]) -> frozenset[str]:
        return int8_layers_of(self.candidates, names)

    def covered(self, names: Collection[str], ranges: Ranges) -> list[Covered]:
        found = []
        for signal in self.candidates:
            if signal.name in names:
                seen = signal_histogram(signal, ranges)
                chosen = signal_range(signal, ranges, self.method)
                found.append(Covered(signal.name, (seen.low, seen.high), chosen))
        return found
