"""A small report, of two clips, to be written and drawn."""

from __future__ import annotations

import numpy as np

from frcrn_export.calibration.int8_report import (
    LayerRow,
    Report,
    SearchPoint,
    TensorRange,
    WorstClip,
)
from frcrn_export.calibration.quality.scoring import Scores
from frcrn_export.calibration.quality_scores import ClipQuality, Quality
from frcrn_export.calibration.speed import Speed
from frcrn_export.runtime.bundle.manifest import Weights
from tests.int8_standins import quantization

FILE = "core.int8.cpu.onnx"


def quality(pesq: float, snr: float | None) -> Quality:
    full = Scores({"si_sdr": 10.0 + pesq, "pesq": pesq, "stoi": 0.9})
    half = Scores({"si_sdr": 5.0, "stoi": 0.8}, {"pesq": "silent"})
    return Quality(
        (ClipQuality("first", 2.0, full, snr), ClipQuality("a|b", 1.5, half, snr and snr / 2))
    )


def report(**changes: object) -> Report:
    made: dict[str, object] = {
        "file": FILE,
        "model": "gain",
        "weights": Weights(source="checkpoint", name="best.pt", sha256="0" * 64),
        "quantization": quantization(),
        "noisy": [Scores({"si_sdr": 1.0, "pesq": 1.5, "stoi": 0.7}), Scores({"si_sdr": 3.0})],
        "qualities": {
            "fp32": quality(2.5, None),
            "fp16": quality(2.49, 60.0),
            "int8": quality(2.4, 30.0),
        },
        "speed": Speed(2.0, 1.9, 2.1, 10.0, 5.0, 4.0, 2, 15),
        "layers": [LayerRow("conv1", True, 0.6, 35.5), LayerRow("mask", False, 0.01, 9.0, "last")],
        "ranges": [TensorRange("x", -3.0, 5.0, -2.0, 2.0), TensorRange("y", 0.0, 90.0, 0.0, 40.0)],
        "search": [
            SearchPoint(0.9, 15.0, 0.2, passed=False),
            SearchPoint(0.7, 22.0, None, passed=True, chosen=True),
        ],
        "warnings": ["12 recordings; 64 are better"],
    }
    return Report(**{**made, **changes})  # type: ignore[arg-type]


def worst() -> WorstClip:
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) / 10
    return WorstClip("a|b", noise, noise / 2, noise / 2.1, 16_000)
