from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

from frcrn_export.exporters.families.frcrn import long as long_unet
from frcrn_export.exporters.families.frcrn.long import (
    LongUNet,
    cut,
    first_frames,
    join,
    last_frames,
)
from frcrn_export.exporters.families.frcrn.lowered import LoweredUNet, lower_frcrn
from frcrn_export.exporters.families.frcrn.network import (
    FRCRN,
    FRCRN_16K,
    FRCRN_16K_512,
    FrcrnConfig,
)

PIECE = 16


def loop_over_pieces(stage: Any, *inputs: Any) -> Any:
    """What the scan does, without tracing it."""
    leaves, structure = pytree.tree_flatten(inputs)
    results = [
        stage(*pytree.tree_unflatten([leaf[i] for leaf in leaves], structure))
        for i in range(len(leaves[0]))
    ]
    return pytree.tree_map(lambda *parts: torch.stack(parts), results[0], *results[1:])


@pytest.fixture(autouse=True)
def _without_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_unet, "over_pieces", loop_over_pieces)


def unet_of(config: FrcrnConfig) -> LoweredUNet:
    """A narrow U-Net with random batch norms, so that squeeze-and-excitation has a say."""
    torch.manual_seed(0)
    network = FRCRN(replace(config, channels=8, fsmn_hidden=8, se_reduction=2)).double()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
            torch.nn.init.normal_(module.running_mean)
    unet = lower_frcrn(network.eval()).unet
    assert isinstance(unet, LoweredUNet)
    return unet


@pytest.mark.parametrize("config", [FRCRN_16K, FRCRN_16K_512], ids=["321", "257"])
@torch.inference_mode()
def test_equals_the_unet_at_every_length(config: FrcrnConfig) -> None:
    unet = unet_of(config)
    long = LongUNet(unet, PIECE)
    # A frame, just one piece with what the encoders add, just more, several pieces.
    for batch, frames in ((1, 1), (1, PIECE - 7), (2, PIECE - 6), (1, 3 * PIECE), (1, 57)):
        spec = torch.randn(batch, 2, frames, config.bins, dtype=torch.float64)
        torch.testing.assert_close(long(spec), unet(spec), rtol=1e-9, atol=1e-9)


@torch.inference_mode()
def test_sees_the_whole_utterance() -> None:
    """The means reach from the last frame to the first, many pieces away."""
    long = LongUNet(unet_of(FRCRN_16K), PIECE)
    spec = torch.randn(1, 2, 5 * PIECE, FRCRN_16K.bins, dtype=torch.float64)
    other = spec.clone()
    other[:, :, -1] += 10
    difference = (long(spec) - long(other))[:, :, :PIECE].abs().max()
    assert difference > 1e-6


def test_pieces_and_their_neighbours() -> None:
    x = torch.arange(1.0, 8.0).reshape(1, 1, 7, 1)
    pieces = cut(x, 3, 3)
    assert pieces.flatten(1).tolist() == [[1, 2, 3], [4, 5, 6], [7, 0, 0]]
    assert join(pieces).flatten().tolist() == [1, 2, 3, 4, 5, 6, 7, 0, 0]
    assert last_frames(pieces, 2).flatten(1).tolist() == [[0, 0], [2, 3], [5, 6]]
    assert first_frames(pieces, 2).flatten(1).tolist() == [[4, 5], [7, 0], [0, 0]]
