"""The forms of a quantized file, because its two consumers want opposite things."""

from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.manifest import Consumer

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
    """What a consumer wants to find in a quantized file. Weights are around 0 for both.

    `symmetric`: activations are around 0 as well; else uint8 with any zero point, which ONNX
    Runtime is much faster with. `whole`: a convolution's bias and output are quantized too, or the
    consumer does not compute it in INT8. `group_multiple`: what the channels of each group of a
    grouped convolution must be a multiple of. `depthwise`: depthwise convolutions gain too.
    """

    symmetric: bool
    whole: bool
    group_multiple: int
    depthwise: bool


FORMS: dict[Consumer, Form] = {
    # TensorRT refuses other zero points and int32 biases, and writes sums in floating point.
    "tensorrt": Form(symmetric=True, whole=False, group_multiple=4, depthwise=False),
    # ONNX Runtime on a processor with VNNI: only whole convolutions become QLinearConv. Depthwise
    # ones stand between others, so that what they read and write need not be float32.
    "cpu": Form(symmetric=False, whole=True, group_multiple=1, depthwise=True),
}
