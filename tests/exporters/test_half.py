import torch
from torch import Tensor, nn

from frcrn_export.exporters.module_passes import compute_in_half


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
    compute_in_half([network.body], keep=[network.kept])
    y = network(torch.zeros(3))
    assert network.inner.seen == [torch.float16]
    assert network.kept.seen == [torch.float32]
    assert network.outer.seen == [torch.float32]
    assert y.dtype == torch.float32
    assert y.tolist() == [3, 3, 3]


def test_what_float16_cannot_hold_survives_in_a_kept_part() -> None:
    network = Network()
    compute_in_half([network.body])
    assert network(torch.tensor([1e5])).isinf().all()
    network = Network()
    compute_in_half([], keep=[])
    assert network(torch.tensor([1e5])).isfinite().all()
