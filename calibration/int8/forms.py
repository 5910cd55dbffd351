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
    `one_scale_db`: a weight gets one scale where that leaves every output channel this much SNR,
    else each its own; None: always the latter.
    """

    symmetric: bool
    whole: bool
    group_multiple: int
    depthwise: bool
    one_scale_db: float | None


FORMS: dict[Consumer, Form] = {
    # TensorRT refuses other zero points and int32 biases. With a scale for each channel, RTX writes
    # sums in float32 and leaves scaling, bias and ReLU to another kernel; with one for all it fuses
    # them and writes float16. (wave-unet-16k gives 1.5 of 49 dB for that.)
    "tensorrt": Form(
        symmetric=True, whole=False, group_multiple=4, depthwise=False, one_scale_db=12.0
    ),
    # ONNX Runtime on a processor with VNNI: only whole convolutions become QLinearConv. Depthwise
    # ones stand between others, so that what they read and write need not be float32.
    "cpu": Form(symmetric=False, whole=True, group_multiple=1, depthwise=True, one_scale_db=None),
}
