"""Which layers of a float16 file stay in float32, so that it holds its floor with some to spare."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from frcrn_export.exporters.bisection import fewest
from frcrn_export.exporters.float16.graph import Float16Graph, exact_constants, float16_graph
from frcrn_export.exporters.float16.keep import keep_in_float32
from frcrn_export.exporters.float16.rounding import SWITCHES, with_switches
from frcrn_export.exporters.layer_runs import Call, Runs, core_output, session_call
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.verify.parity import Case

Progress = Callable[[str], None]

_LOST_DB = -100.0  # a layer that makes the output infinite


@dataclass(frozen=True)
class Sensitivity:
    """A layer, and the SNR of the output in dB where it alone is in float16."""

    index: int
    name: str
    snr_db: float

    @property
    def noise(self) -> float:
        """The power of the noise that it adds, relative to the output."""
        return float(10.0 ** (-max(self.snr_db, _LOST_DB) / 10.0))


@dataclass(frozen=True)
class Found:
    """The result of a search.

    `kept` are the names of the layers in float32, the most sensitive first; `model` is the graph
    with them, None where no number of them passes.
    """

    kept: Sequence[str]
    model: onnx.ModelProto | None
    sensitivities: Sequence[Sensitivity]


def find_kept(
    half: onnx.ModelProto,
    float32: onnx.ModelProto,
    entry: FileEntry,
    case: Case,
    target_db: float,
    passes: Callable[[onnx.ModelProto], bool],
    progress: Progress = lambda step: None,
) -> Found:
    """Keep the least number of layers in float32 with which a float16 graph passes.

    Args:
        half: The float16 graph.
        float32: The same form of the network in float32.
        entry: Describes both.
        case: The input on which the sensitivity of each layer is measured, one row.
        target_db: The SNR to reach: says how many layers are tried first.
        passes: Whether a graph passes; takes long.
        progress: Called with what is done next.
    """
    graph = float16_graph(half)
    exact = exact_constants(graph.constants, float32)
    order = sorted(
        measure_sensitivities(graph, exact, entry, case, progress), key=lambda each: each.snr_db
    )
    made: dict[int, onnx.ModelProto] = {}

    def passes_with(count: int) -> bool:
        progress(f"{entry.path}: {count} of {len(order)} layers in float32")
        made[count] = keep_in_float32(graph, exact, [each.index for each in order[:count]])
        return passes(made[count])

    if not order:
        return Found((), None, ())
    count = fewest(0, len(order) + 1, passes_with, _estimate(order, target_db))
    names = [each.name for each in order[:count]]
    return Found(names, made.get(count), order)


def measure_sensitivities(
    graph: Float16Graph,
    exact: Mapping[str, Float32Array],
    entry: FileEntry,
    case: Case,
    progress: Progress = lambda step: None,
) -> list[Sensitivity]:
    """The SNR of the core's output with each layer alone in float16, on one input."""
    call = session_call(with_switches(graph, exact))
    found = []
    for index, layer in enumerate(graph.layers):
        progress(f"{entry.path}: {layer.name} alone in float16 ({index + 1}/{len(graph.layers)})")
        on = np.arange(len(graph.layers)) == index
        runs = Runs(entry, _switched(call, on))
        with np.errstate(invalid="ignore", over="ignore"):
            output = core_output(runs, case.input)
            snr = snr_db(case.output, output) if np.isfinite(output).all() else _LOST_DB
        found.append(Sensitivity(index, layer.name, snr))
    return found


def _switched(call: Call, on: npt.NDArray[np.bool_]) -> Call:
    return lambda inputs, names: call({**inputs, SWITCHES: on}, names)


def _estimate(order: Sequence[Sensitivity], target_db: float) -> int:
    """How many layers to keep so that the noise of the others, added up, allows the target."""
    allowed = 10.0 ** (-target_db / 10.0)
    rest = sum(each.noise for each in order)
    for count, each in enumerate(order):
        if rest <= allowed:
            return max(1, count)
        rest -= each.noise
    return len(order)


def sensitivity_case(cases: Sequence[Case], stage: str) -> Case:
    """One row of the cases of a stage, of middle length: each layer takes a run of it."""
    found = sorted(
        (Case(c.stage, c.name, c.input[:1], c.output[:1]) for c in cases if c.stage == stage),
        key=lambda case: case.input.size,
    )
    return found[(len(found) - 1) // 2]
