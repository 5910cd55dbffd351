"""The states of streams, as arrays."""

from typing import Any

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.bundle.manifest import StateSpec

StateArray = npt.NDArray[Any]  # of the dtype that the manifest says


def initial_state(spec: StateSpec) -> StateArray:
    """The state [1, ...] that a stream begins with."""
    return np.full((1, *spec.row_shape), spec.initial, spec.dtype)
