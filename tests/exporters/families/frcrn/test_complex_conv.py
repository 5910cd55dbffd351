import torch
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn.layers import (
    AffineLeakyReLU,
    ThreeProductConv,
    complex_weights,
)
from frcrn_export.exporters.families.frcrn.network import Encoder


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_three_products_make_a_complex_convolution() -> None:
    inputs = [(random(2, 4, 6, 9), random(2, 4, 6, 9)) for _ in range(2)]
    weights = [(random(3, 4, 2, 5), random(3, 4, 2, 5)) for _ in range(2)]
    conv = ThreeProductConv([re for re, _ in weights], [im for _, im in weights], (1, 2), (1, 0))
    real, imag = conv(*inputs)

    x = torch.cat([torch.complex(*pair) for pair in inputs], dim=1)
    weight = torch.cat([torch.complex(*pair) for pair in weights], dim=1)
    expected = F.conv2d(x, weight, stride=(1, 2), padding=(1, 0))
    torch.testing.assert_close(torch.complex(real, imag), expected)


@torch.inference_mode()
def test_affine_is_the_batch_norm_with_the_biases() -> None:
    encoder = Encoder(4, 3, (5, 2)).double().eval()
    for bn in (encoder.bn.bn_re, encoder.bn.bn_im):
        for tensor in (bn.weight, bn.bias, bn.running_mean):
            tensor.copy_(random(3))
    x = random(2, 4, 9, 6, 2)  # [B, C, F, T, 2]
    weights = complex_weights(encoder.conv.conv_re, encoder.conv.conv_im, encoder.bn)
    biases = torch.stack(
        (
            encoder.conv.conv_re.bias - encoder.conv.conv_im.bias,
            encoder.conv.conv_re.bias + encoder.conv.conv_im.bias,
        ),
        dim=-1,
    )
    without_bias = encoder.conv(x) - biases[:, None, None]
    real, imag = AffineLeakyReLU(weights)((without_bias[..., 0], without_bias[..., 1]))
    torch.testing.assert_close(torch.stack((real, imag), dim=-1), encoder(x))
