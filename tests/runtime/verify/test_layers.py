import numpy as np
import pytest

from frcrn_export.runtime.bundle.manifest import ParityResult
from frcrn_export.runtime.errors import CheckFailed
from frcrn_export.runtime.verify.layers import (
    Difference,
    LayerReport,
    LayerSnr,
    drops,
    require_layers,
)


def test_the_snr_over_several_calls() -> None:
    difference = Difference()
    difference.add(np.array([3.0, 0.0]), np.array([3.0, 0.1]))
    difference.add(np.array([1.0]), np.array([1.0]))
    assert difference.snr_db == pytest.approx(10 * np.log10(10 / 0.01))


@pytest.mark.parametrize(
    ("expected", "output", "snr"),
    [(0.0, 0.0, 300), (1.0, 1.0, 300), (0.0, 1.0, -300), (1.0, np.inf, -300), (1.0, np.nan, -300)],
)
def test_extremes(expected: float, output: float, snr: float) -> None:
    difference = Difference()
    difference.add(np.array([expected]), np.array([output]))
    assert difference.snr_db == snr


def test_a_drop_is_below_the_worst_layer_that_is_read() -> None:
    snrs = [90.0, 60.0, 72.0, 50.0, 20.0]
    reads = [[], [0], [0], [1, 2], []]
    # No float16 layer is expected to have more than 70 dB.
    assert drops(snrs, reads, "fp16") == [0, 10, 0, 10, 50]


def report(snr_db: float, drop_db: float = 3.0) -> LayerReport:
    output = ParityResult(
        artifact="f", case="c", snr_db=snr_db, max_abs=0, floor_db=45, passed=snr_db >= 45
    )
    layers = [LayerSnr("a", "Conv", 60, 0), LayerSnr("b", "Conv", 57, drop_db)]
    return LayerReport("f", "core.onnx", "c", layers, output)


def test_a_miss_names_the_worst_file_and_layer() -> None:
    require_layers([report(45)])
    with pytest.raises(CheckFailed, match=r"1 of 2 files .* f, c: 44\.0 dB.* drop is in b"):
        require_layers([report(44), report(50)])
    assert report(44, 0).worst is None
    with pytest.raises(CheckFailed, match="45 dB needed$"):
        require_layers([report(44, 0)])
