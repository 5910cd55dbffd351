"""The states of streams, as arrays."""

from typing import Any

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.manifest import StateSpec

StateArray = npt.NDArray[Any]  # of the dtype that the manifest says


def row_shape(spec: StateSpec) -> tuple[int, ...]:
    """The shape of a state without its batch."""
    return tuple(map(int, spec.shape[1:]))


def initial_state(spec: StateSpec) -> StateArray:
    """The state [1, ...] that a stream begins with."""
    return np.full((1, *row_shape(spec)), spec.initial, spec.dtype)
