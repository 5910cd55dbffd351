"""The two forms of an INT8 file, because its two consumers want opposite things."""

from dataclasses import dataclass

from frcrn_export.runtime.manifest import Consumer


@dataclass(frozen=True)
class Form:
    """What a consumer wants to find in an INT8 file. Weights are int8 around 0 for both.

    `symmetric`: activations are int8 around 0; else uint8 with any zero point, which ONNX Runtime
    is much faster with. `whole`: a convolution's bias and output are quantized as well, or the
    consumer does not compute it in INT8. `group_multiple`: what the channels of each group of a
    grouped convolution must be a multiple of.
    """

    symmetric: bool
    whole: bool
    group_multiple: int


FORMS: dict[Consumer, Form] = {
    # TensorRT refuses other zero points and int32 biases, and writes the sums in half precision.
    "tensorrt": Form(symmetric=True, whole=False, group_multiple=4),
    # ONNX Runtime on a processor with VNNI: only whole convolutions become QLinearConv.
    "cpu": Form(symmetric=False, whole=True, group_multiple=1),
}
