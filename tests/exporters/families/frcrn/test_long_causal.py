from dataclasses import replace

import pytest
import torch
from torch import Tensor

from frcrn_export.exporters.families.frcrn.long import join
from frcrn_export.exporters.families.frcrn.long_causal import CausalLongUNet, Pieces
from frcrn_export.exporters.families.frcrn.network import (
    FRCRN_16K,
    FRCRN_16K_512,
    FrcrnConfig,
    Pooling,
)
from tests.exporters.families.frcrn.test_long import unet_of

PIECE = 16


def over_pieces(long: CausalLongUNet, spec: Tensor) -> Tensor:
    """What the scan and the nodes around it do."""
    outputs = []
    states = [torch.zeros(len(spec), *shape, dtype=spec.dtype) for shape in long.states]
    for pieces in zip(*Pieces(long)(spec), strict=True):
        *states, output = long(*states, *pieces)
        outputs.append(output)
    return join(torch.stack(outputs))[:, :, long.depth : long.depth + spec.shape[2]]


# A window of one frame, one within a piece, one over several.
@pytest.mark.parametrize("pooling", ["cumulative", 1, 5, 40])
@pytest.mark.parametrize("config", [FRCRN_16K, FRCRN_16K_512], ids=["321", "257"])
@torch.inference_mode()
def test_equals_the_unet_at_every_length(config: FrcrnConfig, pooling: Pooling) -> None:
    unet = unet_of(replace(config, pooling=pooling))
    long = CausalLongUNet(unet, PIECE, config.bins)
    # A frame, just one piece with what the decoders wait for, just more, several pieces.
    for batch, frames in ((1, 1), (1, PIECE - 7), (2, PIECE - 6), (1, 3 * PIECE), (1, 57)):
        spec = torch.randn(batch, 2, frames, config.bins, dtype=torch.float64)
        torch.testing.assert_close(over_pieces(long, spec), unet(spec), rtol=1e-9, atol=1e-9)


@torch.inference_mode()
def test_hears_the_past_alone_but_for_a_frame_a_decoder() -> None:
    long = CausalLongUNet(unet_of(replace(FRCRN_16K, pooling="cumulative")), PIECE, FRCRN_16K.bins)
    spec = torch.randn(1, 2, 3 * PIECE, FRCRN_16K.bins, dtype=torch.float64)
    other = spec.clone()
    other[:, :, 20] += 10
    change = (over_pieces(long, spec) - over_pieces(long, other)).abs().amax((0, 1, 3))
    assert change[: 20 - 7].max() == 0
    assert change[-1] > 1e-6  # through the mean
