import pytest
import torch

from frcrn_export.exporters.families.frcrn import network as frcrn_layers
from frcrn_export.exporters.families.frcrn.lowered import Decoder, LastDecoder, interleave


@pytest.mark.parametrize("even", [3, 4])
def test_interleave_alternates_the_last_axis(even: int) -> None:
    rows = torch.arange(float(even + 3)).expand(2, 2, 2, -1)
    assert torch.equal(interleave(rows[..., 0::2], rows[..., 1::2]), rows)


@pytest.mark.parametrize("kernel", [2, 3, 5, 6])
@torch.inference_mode()
def test_decoder_equals_the_transposed_convolution(kernel: int) -> None:
    decoder = frcrn_layers.Decoder(8, 3, (kernel, 2)).double().eval()
    x, skip = torch.randn(2, 2, 4, 7, 5, 2, dtype=torch.float64)  # each [B, C, F, T, 2]
    pairs = [part.transpose(2, 3).unbind(-1) for part in (x, skip)]
    real, imag = Decoder(decoder, inputs=2)(*pairs)
    expected = decoder(torch.cat((x, skip), dim=1))
    torch.testing.assert_close(torch.stack((real, imag), dim=-1).transpose(2, 3), expected)


@torch.inference_mode()
def test_last_decoder_equals_the_transposed_convolution() -> None:
    decoder = frcrn_layers.Decoder(8, 1, (5, 2)).double().eval()
    linear = frcrn_layers.ComplexConv2d(1, 1, (1, 1)).double()
    x, skip = torch.randn(2, 2, 4, 7, 5, 2, dtype=torch.float64)
    pairs = [part.transpose(2, 3).unbind(-1) for part in (x, skip)]
    spec = LastDecoder(decoder, linear)(*pairs)  # [B, 2, T, F]
    expected = linear(decoder(torch.cat((x, skip), dim=1)))[:, 0]  # [B, F, T, 2]
    torch.testing.assert_close(spec.permute(0, 3, 2, 1), expected)
