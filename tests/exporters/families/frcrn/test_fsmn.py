import pytest
import torch

from frcrn_export.exporters.families.frcrn.layers import ComplexFsmn
from frcrn_export.exporters.families.frcrn.network import FrequencyFsmn, Fsmn


def lowered(layer: FrequencyFsmn, over_time: bool) -> ComplexFsmn:
    fsmn_re, fsmn_im = layer.fsmn_re_L1, layer.fsmn_im_L1
    assert isinstance(fsmn_re, Fsmn)
    assert isinstance(fsmn_im, Fsmn)
    return ComplexFsmn(fsmn_re, fsmn_im, over_time)


@pytest.mark.parametrize("over_time", [False, True])
@torch.inference_mode()
def test_equals_the_reference_layer(over_time: bool) -> None:
    layer = FrequencyFsmn(channels=6, hidden=4, lorder=5).double()
    x = torch.randn(2, 6, 9, 8, 2, dtype=torch.float64)  # [B, C, F, T, 2]
    # Over time it is the same layer with the roles of the axes exchanged.
    expected = layer(x.transpose(2, 3)).transpose(2, 3) if over_time else layer(x)
    re, im = x.transpose(2, 3).unbind(-1)  # [B, C, T, F]
    real, imag = lowered(layer, over_time)((re, im))
    torch.testing.assert_close(torch.stack((real, imag), dim=-1).transpose(2, 3), expected)
