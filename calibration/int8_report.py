"""The report on an INT8 or FP8 file: JSON, a Markdown page and pictures, named for the file."""

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
    """A layer that INT8 can compute: whether it does, its share of the work, its sensitivity.

    `sensitivity_db`: the core's SNR with this layer alone in INT8. `reason`: why it was kept.
    """

    name: str
    int8: bool
    share: float
    sensitivity_db: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class TensorRange:
    """A quantized tensor's extremes on the calibration recordings, and the range of its 8 bits.

    `sensitivity_db`: the core's SNR with it alone in 8 bits, where tensors are what is searched.
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
    """What the picture of a clip shows, usually that with the least core SNR: [N] each."""

    name: str
    noisy: Float32Array
    float32: Float32Array
    int8: Float32Array
    sample_rate: int


@dataclass(frozen=True)
class Report:
    """Everything about one INT8 or FP8 file. `file` is its path in the bundle.

    `noisy`: the scores of the recordings as they are; `qualities`: by precision, "fp32" first and
    `precision` last. What is called int8 is FP8 where that is the number.
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
        """Of one clip, by what was scored: "noisy" and the precisions."""
        scored = {name: quality.clips[index].scores for name, quality in self.qualities.items()}
        return {"noisy": self.noisy[index], **scored}

    def core_snrs(self, index: int) -> dict[str, float | None]:
        """Of one clip, by precision; float32 is what the others are compared with."""
        others = {name: each for name, each in self.qualities.items() if name != "fp32"}
        return {name: quality.clips[index].core_snr_db for name, quality in others.items()}

    def means(self) -> dict[str, dict[str, float | None]]:
        """Over clips, of "noisy" and the precisions: each metric, and `core_snr_db`."""
        values = {m: [s.values[m] for s in self.noisy if m in s.values] for m in METRICS}
        found = {"noisy": {m: sum(v) / len(v) if v else None for m, v in values.items()}}
        for name, quality in self.qualities.items():
            found[name] = {metric: quality.mean(metric) for metric in METRICS}
            if name != "fp32":
                found[name]["core_snr_db"] = quality.mean_core_snr_db
        return found


def report_name(file: str, end: str = "quality.json") -> str:
    """What a file of the report is called; the JSON is what `QuantizationInfo.report` names."""
    return f"{file.removesuffix('.onnx')}.{end}"
