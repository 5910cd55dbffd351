"""The report on an INT8 or FP8 file: JSON, a Markdown page and pictures, named after the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from frcrn_export.calibration.graph.dtypes import QuantizedPrecision
from frcrn_export.calibration.quality.scoring import Scores
from frcrn_export.calibration.quality_scores import METRICS, Quality
from frcrn_export.calibration.speed import Speed
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import QuantizationInfo, Weights


@dataclass(frozen=True)
class LayerRow:
    """A layer that can compute in INT8: whether it does, its share of the work, its sensitivity.

    `sensitivity_db`: the core's SNR with this layer alone in INT8. `reason`: why it was kept.
    """

    name: str
    int8: bool
    share: float
    sensitivity_db: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class TensorRange:
    """A quantized tensor: its extremes on the calibration recordings, and its quantization range.

    `sensitivity_db`: the core's SNR with it alone in 8 bits, where the search is over tensors.
    """

    tensor: str
    low: float
    high: float
    chosen_low: float
    chosen_high: float
    sensitivity_db: float | None = None


@dataclass(frozen=True)
class SearchPoint:
    """A candidate of the search: the share of the multiplications in INT8, and its quality.

    `passed`: whether it passed the gates of quality. `chosen`: whether it is the file.
    """

    share: float
    core_snr_db: float | None
    pesq_drop: float | None
    passed: bool
    chosen: bool = False


@dataclass(frozen=True)
class WorstClip:
    """The signals [N] in the picture of a clip, usually the one with the least core SNR."""

    name: str
    noisy: Float32Array
    float32: Float32Array
    int8: Float32Array
    sample_rate: int


@dataclass(frozen=True)
class Report:
    """Everything about one INT8 or FP8 file. `file` is its path in the bundle.

    `noisy`: the scores of the noisy recordings; `qualities`: by precision, "fp32" first and
    `precision` last. Attributes named int8 are of FP8 where that is the precision.
    """

    file: str
    model: str
    weights: Weights
    quantization: QuantizationInfo
    noisy: Sequence[Scores]
    qualities: Mapping[str, Quality]
    speed: Speed | None = None
    layers: Sequence[LayerRow] = ()
    ranges: Sequence[TensorRange] = ()
    search: Sequence[SearchPoint] = ()
    warnings: Sequence[str] = ()
    precision: QuantizedPrecision = "int8"

    @property
    def int8(self) -> Quality:
        """The quality of the file itself."""
        return self.qualities[self.precision]

    def scores(self, index: int) -> dict[str, Scores]:
        """The scores of one clip: of "noisy" and the precisions."""
        scored = {name: quality.clips[index].scores for name, quality in self.qualities.items()}
        return {"noisy": self.noisy[index], **scored}

    def core_snrs(self, index: int) -> dict[str, float | None]:
        """The core SNR of one clip by precision, against float32."""
        others = {name: each for name, each in self.qualities.items() if name != "fp32"}
        return {name: quality.clips[index].core_snr_db for name, quality in others.items()}

    def means(self) -> dict[str, dict[str, float | None]]:
        """Means over clips, of "noisy" and the precisions: each metric, and `core_snr_db`."""
        values = {m: [s.values[m] for s in self.noisy if m in s.values] for m in METRICS}
        found = {"noisy": {m: sum(v) / len(v) if v else None for m, v in values.items()}}
        for name, quality in self.qualities.items():
            found[name] = {metric: quality.mean(metric) for metric in METRICS}
            if name != "fp32":
                found[name]["core_snr_db"] = quality.mean_core_snr_db
        return found


def report_name(file: str, end: str = "quality.json") -> str:
    """The name of a file of the report; `QuantizationInfo.report` names the JSON."""
    return f"{file.removesuffix('.onnx')}.{end}"
