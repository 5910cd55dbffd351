"""The report on an INT8 or FP8 file for machines: `CORE.quality.json` of `CORE.onnx`.

null: not measured, or without a value. The fields:

- `frcrn_export`: the version; `file`; `model`; `weights` and `quantization` (with its gates) as in
  the manifest; `warnings`: texts
- `speed`: null, or `ratio` (float32's time over INT8's) with its quartiles `low` and `high`, the
  times `float32_ms` and `int8_ms` for `seconds` of audio, `threads` (null: all), `repetitions`
- `means`: over the clips, for `noisy`, `fp32`, `fp16` (where the bundle has it) and `int8` or
  `fp8`: `si_sdr` (dB), `pesq`, `stoi`; for the last two also `core_snr_db`, against `fp32`
- `clips`: for each held-out clip `name`, `seconds`, the values as in `means`, and `missing`: for
  each of them that lacks one, metric -> why
- `layers`: for each layer that can be in 8 bits `name`, `int8` (whether it is, in INT8 or FP8),
  `share` (of all multiplications), `sensitivity_db` (for TensorRT: the core's SNR with it alone in
  8 bits) and `reason` (why it was kept)
- `ranges`: for each quantized `tensor`, or for processors the first of those that share its scale,
  its extremes `low` and `high` on the calibration recordings, the range of its 8 bits,
  `chosen_low` to `chosen_high`, and for processors `sensitivity_db` (as above)
- `search`: for each candidate, in the search's order, `share`, `core_snr_db`, `pesq_drop`,
  `passed`, `chosen`
"""

import json
from dataclasses import asdict
from importlib.metadata import version
from math import isfinite
from typing import Any

import msgspec
import numpy as np

from frcrn_export.calibration.int8_report import Report
from frcrn_export.calibration.quality_scores import METRICS

_DIGITS = 6  # that mean something


def quality_json(report: Report) -> bytes:
    """The whole report."""
    content = {
        "frcrn_export": version("frcrn-export"),
        "file": report.file,
        "model": report.model,
        "weights": msgspec.to_builtins(report.weights),
        "quantization": msgspec.to_builtins(report.quantization),
        "warnings": list(report.warnings),
        "speed": asdict(report.speed) if report.speed else None,
        "means": report.means(),
        "clips": [_clip(report, index) for index in range(len(report.int8.clips))],
        "layers": [asdict(layer) for layer in report.layers],
        "ranges": [asdict(tensor) for tensor in report.ranges],
        "search": [asdict(point) for point in report.search],
    }
    return json.dumps(_plain(content), indent=2, allow_nan=False).encode() + b"\n"


def _clip(report: Report, index: int) -> dict[str, Any]:
    clip, scores = report.int8.clips[index], report.scores(index)
    values = {
        kind: {metric: each.values.get(metric) for metric in METRICS}
        for kind, each in scores.items()
    }
    for name, snr in report.core_snrs(index).items():
        values[name]["core_snr_db"] = snr
    missing = {kind: each.missing for kind, each in scores.items() if each.missing}
    return {"name": clip.name, "seconds": clip.seconds, **values, "missing": missing}


def _plain(value: Any) -> Any:
    """The value in types that JSON has."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if isfinite(value) else None
    return value
