import torch

from frcrn_export.exporters.families.frcrn.layers import ComplexSqueezeExcite
from frcrn_export.exporters.families.frcrn.network import SqueezeExcite


@torch.inference_mode()
def test_equals_the_reference_layer() -> None:
    layer = SqueezeExcite(channels=8, reduction=2).double()
    x = torch.randn(2, 8, 5, 6, 2, dtype=torch.float64)
    real, imag = ComplexSqueezeExcite(layer)((x[..., 0], x[..., 1]))
    torch.testing.assert_close(torch.stack((real, imag), dim=-1), layer(x))
