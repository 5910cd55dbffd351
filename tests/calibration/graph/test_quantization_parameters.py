"""The steps of uint8, and what they cover."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.calibration.graph.quantization_parameters import (
    MASK_PARAMETERS,
    QuantizationParameters,
    parameters_for,
)

edges = st.floats(0, 1e6, width=32)


def value(qparams: QuantizationParameters, byte: int) -> float:
    return float(qparams.scale) * (byte - int(qparams.zero_point))


@given(below=edges, above=edges, margin=st.sampled_from([0, 8]))
def test_a_range_is_covered_between_margins_of_steps(
    below: float, above: float, margin: int
) -> None:
    qparams = parameters_for(-below, above, margin)
    assert value(qparams, int(qparams.zero_point)) == 0.0
    half = float(qparams.scale) / 2  # the zero point is a whole step
    assert value(qparams, margin) == pytest.approx(-below, abs=1.01 * half)
    if below + above > 1e-30:
        assert value(qparams, 255 - margin) == pytest.approx(above, abs=1.01 * half)


def test_a_mask_lets_pass_all_or_nothing() -> None:
    assert value(MASK_PARAMETERS, 0) == 0.0
    assert np.float32(value(MASK_PARAMETERS, 255)) == 1.0
