"""A fake-quant graph with per-tensor enable flags: each call chooses the signals to round.

One session measures the sensitivity of every signal, without a file for each.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from frcrn_export.calibration.feeds import Feed, Outputs, calls
from frcrn_export.calibration.graph.quantization_parameters import signal_parameters
from frcrn_export.calibration.graph.signals import Signal
from frcrn_export.calibration.histogram import Histogram
from frcrn_export.calibration.ranges import open_session
from frcrn_export.exporters.graph_edits import copy_of, replace_nodes
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.bundle.manifest import CalibrationMethod, FileEntry, Manifest

# No tensor of a network begins with a dot.
SWITCHES = ".switches"
_AXIS = ".switches.axis"


def with_switches(
    model: onnx.ModelProto,
    signals: Sequence[Signal],
    ranges: Mapping[str, Histogram],
    method: CalibrationMethod,
) -> onnx.ModelProto:
    """A copy with one more input `SWITCHES`, bool [len(signals)]: which signals are rounded."""
    switched = copy_of(model)
    graph = switched.graph
    constants: dict[str, npt.NDArray[Any]] = {_AXIS: np.array([0], np.int64)}
    rounded: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    first: list[onnx.NodeProto] = []
    renamed: dict[str, str] = {}
    given = {value.name for value in graph.input}
    for index, signal in enumerate(signals):
        qparams = signal_parameters(signal, ranges, method)
        stem = f".switch.{index}"
        constants[f"{stem}.scale"], constants[f"{stem}.zero_point"] = (
            qparams.scale,
            qparams.zero_point,
        )
        constants[f"{stem}.start"] = np.array([index], np.int64)
        constants[f"{stem}.end"] = np.array([index + 1], np.int64)
        slices = [SWITCHES, f"{stem}.start", f"{stem}.end", _AXIS]
        first.append(helper.make_node("Slice", slices, [f"{stem}.on"]))
        for tensor in signal.observed:
            if tensor in given:
                renamed[tensor] = f"{tensor}.switched"
                nodes = _switch(stem, tensor, tensor, renamed[tensor])
            else:
                nodes = _switch(stem, tensor, f"{tensor}.exact", tensor)
            rounded[tensor].extend(nodes)
    nodes = [*first, *(new for name in renamed for new in rounded[name])]
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
        made = [name for name in node.output if name in rounded]
        for index, name in enumerate(node.output):
            if name in rounded:
                node.output[index] = f"{name}.exact"
        nodes.append(node)
        nodes.extend(new for name in made for new in rounded[name])
    replace_nodes(graph, nodes, constants)
    graph.input.append(helper.make_tensor_value_info(SWITCHES, TensorProto.BOOL, [len(signals)]))
    return switched


def _switch(stem: str, tensor: str, source: str, result: str) -> list[onnx.NodeProto]:
    steps = [f"{stem}.scale", f"{stem}.zero_point"]
    return [
        helper.make_node("QuantizeLinear", [source, *steps], [f"{tensor}.uint8"]),
        helper.make_node("DequantizeLinear", [f"{tensor}.uint8", *steps], [f"{tensor}.rounded"]),
        helper.make_node("Where", [f"{stem}.on", f"{tensor}.rounded", source], [result]),
    ]


class SwitchedCore:
    """A core with fake-quant signals; called with names, it measures their sensitivity."""

    # Of the recording; padding rules of windows turn a second or more into 1.75 s.
    SECONDS = 0.99

    def __init__(
        self,
        model: onnx.ModelProto,
        signals: Sequence[Signal],
        ranges: Mapping[str, Histogram],
        method: CalibrationMethod,
        *,
        manifest: Manifest,
        entry: FileEntry,
        noisy: Float32Array,
        threads: int | None = None,
    ) -> None:
        """`model` has the I/O signature of `entry`, and runs on the loudest part of `noisy` [N].

        Raises BackendError for a model that cannot run.
        """
        self._signals = signals
        self._manifest, self._entry, self._noisy = manifest, entry, noisy
        self._session = open_session(with_switches(model, signals, ranges, method), threads)
        self._names = [output.name for output in self._session.get_outputs()]
        self._exact = self._output(())

    def __call__(self, names: Collection[str]) -> float:
        """The SNR in dB of the core's output with the signals of these names rounded."""
        return snr_db(self._exact, self._output(names))

    def _output(self, names: Collection[str]) -> Float32Array:
        on = np.array([signal.name in names for signal in self._signals])

        def run(feed: Feed) -> Outputs:
            given: dict[str, npt.NDArray[np.generic]] = {**feed, SWITCHES: on}
            return dict(zip(self._names, self._session.run(self._names, given), strict=True))

        found = calls(self._manifest, self._entry, self._noisy, run, self.SECONDS)
        output = self._entry.outputs[0].name
        return np.concatenate([outputs[output] for _, outputs in found], axis=-1)
