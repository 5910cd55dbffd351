import pytest
import torch
from torch import Tensor, nn

from frcrn_export.exporters.module_passes import compute_in_fp16, fold_batch_norm


def trained_norm(norm: nn.Module, affine: bool = True) -> nn.Module:
    """A batch norm with statistics and an affine part far from their initial values."""
    torch.manual_seed(1)
    norm.double().eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.1, 3.0)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_convolution(bias: bool, affine: bool) -> None:
    conv = nn.Conv1d(3, 5, 7, stride=2, bias=bias).double()
    norm = trained_norm(nn.BatchNorm1d(5, affine=affine), affine)
    x = torch.randn(2, 3, 40, dtype=torch.float64)
    weight, shift = fold_batch_norm(conv.weight, conv.bias, norm)
    folded = nn.functional.conv1d(x, weight, shift, stride=2)
    torch.testing.assert_close(folded, norm(conv(x)), rtol=1e-12, atol=1e-12)
    assert not weight.requires_grad


def test_transposed_convolution() -> None:
    conv = nn.ConvTranspose1d(3, 5, 7, stride=2).double()
    norm = trained_norm(nn.BatchNorm1d(5))
    x = torch.randn(2, 3, 40, dtype=torch.float64)
    weight, shift = fold_batch_norm(conv.weight, conv.bias, norm, out_dim=1)
    folded = nn.functional.conv_transpose1d(x, weight, shift, stride=2)
    torch.testing.assert_close(folded, norm(conv(x)), rtol=1e-12, atol=1e-12)


def test_two_dimensional_float32_keeps_its_dtype() -> None:
    conv = nn.Conv2d(3, 5, (5, 2))
    norm = trained_norm(nn.BatchNorm2d(5)).float()
    x = torch.randn(1, 3, 12, 9)
    weight, shift = fold_batch_norm(conv.weight, conv.bias, norm)
    assert weight.dtype == shift.dtype == torch.float32
    torch.testing.assert_close(
        nn.functional.conv2d(x, weight, shift), norm(conv(x)), rtol=1e-4, atol=1e-5
    )


def test_refuses_what_cannot_be_folded() -> None:
    conv = nn.Conv1d(3, 5, 7)
    with pytest.raises(ValueError, match="running statistics"):
        fold_batch_norm(conv.weight, conv.bias, nn.BatchNorm1d(5, track_running_stats=False))
    with pytest.raises(ValueError, match="over 4 channels"):
        fold_batch_norm(conv.weight, conv.bias, nn.BatchNorm1d(4))


class Recording(nn.Module):
    """Adds one, and remembers in which dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen: list[torch.dtype] = []

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.weight
        self.seen.append(y.dtype)
        return y


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.kept = Recording(), Recording()
        self.body = nn.Sequential(self.inner, self.kept)
        self.outer = Recording()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.outer(self.body(x))
        return y


def test_each_part_computes_in_its_own_dtype_and_float32_comes_out() -> None:
    network = Network()
    compute_in_fp16([network.body], keep=[network.kept])
    y = network(torch.zeros(3))
    assert network.inner.seen == [torch.float16]
    assert network.kept.seen == [torch.float32]
    assert network.outer.seen == [torch.float32]
    assert y.dtype == torch.float32
    assert y.tolist() == [3, 3, 3]


def test_what_float16_cannot_hold_survives_in_a_kept_part() -> None:
    network = Network()
    compute_in_fp16([network.body])
    assert network(torch.tensor([1e5])).isinf().all()
    network = Network()
    compute_in_fp16([], keep=[])
    assert network(torch.tensor([1e5])).isfinite().all()
