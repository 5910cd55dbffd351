"""The numbers that quantized files compute with, and what their two consumers can compute."""

from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.bundle.manifest import Consumer

# What is computed with: whole numbers of 8 bits, or floating-point ones (4 of exponent, 3 of
# mantissa), which TensorRT alone takes, from SM 8.9 on.
Number = Literal["int8", "fp8"]


@dataclass(frozen=True)
class Grid:
    """The numbers that values are rounded to, from -`largest` to `largest`."""

    dtype: npt.DTypeLike
    largest: float

    def nearest(self, values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[Any]:
        """The values on the grid; those beyond its ends become its ends."""
        if self.dtype == np.int8:
            values = np.round(values)
        clipped = np.clip(values, -self.largest, self.largest).astype(np.float32)
        nearest: npt.NDArray[Any] = clipped.astype(self.dtype)
        return nearest


GRIDS: dict[Number, Grid] = {
    "int8": Grid(np.int8, 127),
    "fp8": Grid(ml_dtypes.float8_e4m3fn, 448),
}


@dataclass(frozen=True)
class Form:
    """What a consumer can compute in 8 bits, and what it gains from.

    `group_multiple`: what the channels of each group of a grouped convolution must be a multiple
    of. `depthwise`: depthwise convolutions gain too.
    """

    group_multiple: int
    depthwise: bool


FORMS: dict[Consumer, Form] = {
    "tensorrt": Form(group_multiple=4, depthwise=False),
    # Depthwise ones stand between others, so that what they read and write need not be float32.
    "cpu": Form(group_multiple=1, depthwise=True),
}
