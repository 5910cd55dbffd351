"""The form for GPUs against the reference, and its parts in float16."""

import pytest
import torch
from torch import nn

from frcrn_export.exporters.families.frcrn import FAMILY as family
from frcrn_export.exporters.families.frcrn.gpu import (
    Affine,
    Pool,
    cross,
    pair_frcrn,
    parts_to_batch,
)
from frcrn_export.exporters.families.frcrn.lowered import lower_frcrn
from frcrn_export.exporters.families.frcrn.network import (
    FRCRN,
    FRCRN_16K,
    FRCRN_16K_512,
    FrcrnConfig,
)
from tests.exporters.families.frcrn.test_lowered import random_network, relative_error
from tests.golden_weights import frcrn_golden_state


@pytest.mark.parametrize("config", [FRCRN_16K, FRCRN_16K_512], ids=["321", "257"])
@torch.inference_mode()
def test_equals_the_reference_in_float64(config: FrcrnConfig) -> None:
    network = random_network(config).double()
    paired = pair_frcrn(network)
    for batch, frames in ((1, 1), (3, 2), (2, 9)):
        spec = torch.randn(batch, 2, config.bins, frames, dtype=torch.float64)
        assert relative_error(paired(spec), network(spec)) < 1e-9


def test_holds_two_thirds_of_the_weights_of_the_three_product_form() -> None:
    network = random_network(FRCRN_16K)
    paired, lowered = (
        sum(parameter.numel() for parameter in form.parameters())
        for form in (pair_frcrn(network), lower_frcrn(network))
    )
    assert paired < 0.7 * lowered


@torch.inference_mode()
def test_a_batch_norm_with_scale_zero_stays_finite() -> None:
    network = random_network(FRCRN_16K_512)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight[::3] = 0
    spec = torch.randn(1, 2, FRCRN_16K_512.bins, 3)
    assert relative_error(pair_frcrn(network)(spec), network(spec)) < 1e-4


@torch.inference_mode()
def test_cross_is_the_complex_product() -> None:
    f_re, f_im, re, im = torch.randn(4, 2, 3, 5, 7)
    x = parts_to_batch(torch.cat((re, im), dim=1))  # [4, 3, 5, 7]
    layers = [weight.repeat_interleave(2, dim=0) * x for weight in (f_re, f_im)]
    real, imag = cross(torch.cat(layers, dim=1))
    product = torch.complex(f_re, f_im) * torch.complex(re, im)
    torch.testing.assert_close(torch.complex(real, imag), product)


@torch.inference_mode()
def test_fp16_keeps_what_must_be_exact_in_float32() -> None:
    network = FRCRN(FRCRN_16K)
    network.load_state_dict(frcrn_golden_state())
    fp16 = family.gpu_form(network.eval())
    dtypes: dict[type, set[torch.dtype]] = {Pool: set(), nn.Conv2d: set()}

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        dtypes[type(module)].add(inputs[0].dtype)

    for module in fp16.modules():
        if type(module) in dtypes:
            module.register_forward_pre_hook(note)
    torch.manual_seed(0)
    spec = 0.1 * torch.randn(1, 2, FRCRN_16K.bins, 3)
    enhanced = fp16(spec)
    assert enhanced.dtype == torch.float32
    assert dtypes == {Pool: {torch.float32}, nn.Conv2d: {torch.float16}}
    assert relative_error(enhanced, network(spec)) < 1e-2
    assert all(p.dtype == torch.float16 for p in fp16.parameters())


def test_what_is_left_of_the_batch_norm_behind_a_convolution_is_at_most_one() -> None:
    paired = pair_frcrn(random_network(FRCRN_16K_512))
    scales = [module.scale for module in paired.modules() if isinstance(module, Affine)]
    assert scales
    assert all(float(scale.abs().max()) <= 1 for scale in scales)
