import pytest
import torch
from torch.nn import functional as F

from frcrn_export.exporters.families.frcrn.layers import (
    AffineLeakyReLU,
    ComplexFsmn,
    ComplexSqueezeExcite,
    ThreeProductConv,
    complex_weights,
)
from frcrn_export.exporters.families.frcrn.network import (
    Encoder,
    FrequencyFsmn,
    Fsmn,
    SqueezeExcite,
)


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


def lowered(layer: FrequencyFsmn, over_time: bool) -> ComplexFsmn:
    fsmn_re, fsmn_im = layer.fsmn_re_L1, layer.fsmn_im_L1
    assert isinstance(fsmn_re, Fsmn)
    assert isinstance(fsmn_im, Fsmn)
    return ComplexFsmn(fsmn_re, fsmn_im, over_time)


@pytest.mark.parametrize("over_time", [False, True])
@torch.inference_mode()
def test_the_memory_equals_the_reference(over_time: bool) -> None:
    layer = FrequencyFsmn(channels=6, hidden=4, lorder=5).double()
    x = torch.randn(2, 6, 9, 8, 2, dtype=torch.float64)  # [B, C, F, T, 2]
    # Over time it is the same layer with the roles of the axes exchanged.
    expected = layer(x.transpose(2, 3)).transpose(2, 3) if over_time else layer(x)
    re, im = x.transpose(2, 3).unbind(-1)  # [B, C, T, F]
    real, imag = lowered(layer, over_time)((re, im))
    torch.testing.assert_close(torch.stack((real, imag), dim=-1).transpose(2, 3), expected)


@torch.inference_mode()
def test_the_gains_equal_the_reference() -> None:
    layer = SqueezeExcite(channels=8, reduction=2).double()
    x = torch.randn(2, 8, 5, 6, 2, dtype=torch.float64)
    real, imag = ComplexSqueezeExcite(layer)((x[..., 0], x[..., 1]))
    torch.testing.assert_close(torch.stack((real, imag), dim=-1), layer(x))
