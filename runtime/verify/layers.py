"""Layer by layer: where along the network a file leaves the float32 reference."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log10

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.bundle.manifest import ParityResult, Precision
from frcrn_export.runtime.errors import CheckFailed

_IDENTICAL_DB = 300.0  # as in parity.py
# About the SNR of a value that is rounded once: what the first layer of a network can have.
_ROUNDED_ONCE_DB: dict[Precision, float] = {"fp32": 140.0, "fp16": 70.0, "int8": 40.0, "fp8": 30.0}


@dataclass
class Difference:
    """The power of a tensor and of its error, summed over calls."""

    signal: float = 0.0
    noise: float = 0.0

    def add(self, expected: npt.NDArray[np.floating], output: npt.NDArray[np.floating]) -> None:
        """Add a call. What is not finite counts as an infinite error."""
        exact = expected.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            error = np.square(exact - output).sum()
        self.signal += float(np.square(exact).sum())
        self.noise += float(error) if np.isfinite(error) else float("inf")

    @property
    def snr_db(self) -> float:
        """The SNR in dB, within 300 dB of 0."""
        if self.noise == 0:
            return _IDENTICAL_DB
        if self.signal == 0 or self.noise == float("inf"):
            return -_IDENTICAL_DB
        return float(np.clip(10 * log10(self.signal / self.noise), -_IDENTICAL_DB, _IDENTICAL_DB))


@dataclass(frozen=True)
class LayerSnr:
    """One layer: the SNR of its output, and by how much that is below the layers that it reads."""

    layer: str
    operator: str
    snr_db: float
    drop_db: float


@dataclass(frozen=True)
class LayerReport:
    """One file against the float32 network, layer by layer in the network's order.

    Attributes:
        artifact: The file, with its backend where that is not ONNX Runtime on the processor.
        reference: What it is compared with.
        case: The input, as in `parity.npz`.
        layers: The layers that both have.
        output: The comparison of the file's output, with its floor.
        unmatched: Layers of the reference that the file does not have as such.
        further: Layers of the file that the reference does not have as such.
        remark: How the file was run, where that is not obvious.
    """

    artifact: str
    reference: str
    case: str
    layers: Sequence[LayerSnr]
    output: ParityResult
    unmatched: Sequence[str] = field(default=())
    further: Sequence[str] = field(default=())
    remark: str = ""

    @property
    def worst(self) -> LayerSnr | None:
        """The layer with the largest drop; None where no layer is below those that it reads."""
        worst = max(self.layers, key=lambda layer: layer.drop_db, default=None)
        return worst if worst is not None and worst.drop_db > 0 else None


def drops(
    snrs: Sequence[float], reads: Sequence[Sequence[int]], precision: Precision
) -> list[float]:
    """By how many dB each layer's SNR is below the lowest one among the layers that it reads.

    `reads` has their indices, all lower than the layer's own. No layer is expected to be better
    than a value that is rounded once in this precision.
    """
    once = _ROUNDED_ONCE_DB[precision]
    least = (min((once, *(snrs[i] for i in indices))) for indices in reads)
    return [max(0.0, before - snr) for before, snr in zip(least, snrs, strict=True)]


def require_layers(reports: Sequence[LayerReport]) -> None:
    """Raise CheckFailed that names the file furthest below its floor, and its worst layer."""
    missed = [report for report in reports if not report.output.passed]
    if not missed:
        return
    report = min(missed, key=lambda each: each.output.snr_db - each.output.floor_db)
    layer = "" if report.worst is None else f"; the largest drop is in {report.worst.layer}"
    raise CheckFailed(
        f"{len(missed)} of {len(reports)} files missed their floor; the worst is "
        f"{report.artifact}, {report.case}: {report.output.snr_db:.1f} dB, at least "
        f"{report.output.floor_db:.0f} dB needed{layer}"
    )
