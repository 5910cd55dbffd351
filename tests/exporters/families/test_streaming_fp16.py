"""Streaming networks in float16: what is rounded, and what must not be."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from frcrn_export.exporters.families.frcrn import FAMILY as frcrn
from frcrn_export.exporters.families.frcrn.network import FRCRN, FrcrnConfig, Pooling
from frcrn_export.exporters.families.wave_unet import FAMILY as wave_unet
from frcrn_export.exporters.families.wave_unet.network import WaveUNet, WaveUNetConfig
from frcrn_export.exporters.streaming_core import StreamingCore, run_streaming
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END
from tests.exporters.families.frcrn.test_lowered import random_network

SMALL = FrcrnConfig(
    bins=25, encoder_kernels=((5, 2), (5, 2), (4, 2)), channels=4, fsmn_hidden=5, fsmn_lorder=4,
    se_reduction=2,
)  # fmt: skip
HOURS = 10 * 3600 * 50.0  # frames in ten hours, far beyond what float16 holds
MEANS = ("skips", "gain0")  # the states that are running means, in each U-Net


def network(pooling: Pooling = "cumulative") -> FRCRN:
    return random_network(replace(SMALL, pooling=pooling)).float()


def spectrum(frames: int) -> Tensor:
    return torch.randn(2, 2, SMALL.bins, frames, generator=torch.Generator().manual_seed(frames))


def is_fp16(x: Tensor) -> bool:
    return torch.equal(x, x.half().float())


def follow(core: StreamingCore, spec: Tensor, position: float, end: float) -> list[Tensor]:
    """The outputs of frames from `position` on, and the last states."""
    states = [
        torch.full_like(state, position) if spec.name == "position" else state
        for spec, state in zip(core.states, core.initial(len(spec)), strict=True)
    ]
    outputs = []
    for frame in spec.split(1, dim=3):
        output, *states = core.module(frame, torch.full((len(spec),), end), *states)
        outputs.append(output)
    return [torch.cat(outputs, dim=3), *states]


@pytest.mark.parametrize("pooling", ["cumulative", 5])
@pytest.mark.parametrize("chunk", [1, 3])
@torch.inference_mode()
def test_frcrn_in_fp16_is_frcrn(pooling: Pooling, chunk: int) -> None:
    exact = network(pooling)
    core = frcrn.streaming(exact, chunk, None, "fp16")
    convolutions = [m for m in core.module.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions
    assert {p.dtype for conv in convolutions for p in conv.parameters()} == {torch.float16}
    spec = spectrum(40)
    output = run_streaming(core, spec)
    assert output.dtype == torch.float32
    assert 45 < snr_db(exact(spec).numpy(), output.numpy()) < 90
    assert {p.dtype for p in exact.parameters()} == {torch.float32}  # untouched


@torch.inference_mode()
def test_states_are_float32_and_the_means_are_not_rounded() -> None:
    core = frcrn.streaming(network(), 1, None, "fp16")
    _, *states = follow(core, spectrum(30), 0.0, UNKNOWN_END)
    assert {state.dtype for state in states} == {torch.float32}
    found = {spec.name: state for spec, state in zip(core.states, states, strict=True)}
    for unet in ("unet", "unet2"):
        for mean in MEANS:
            assert not is_fp16(found[f"{unet}.{mean}"])
        assert is_fp16(found[f"{unet}.encoder0"])
    assert not is_fp16(found["spec.late"])


@torch.inference_mode()
def test_ten_hours_in_the_clock_is_exact_and_the_end_is_found() -> None:
    exact = network()
    single, fp16 = (frcrn.streaming(exact, 1, None, form) for form in ("fp32", "fp16"))
    spec = spectrum(24)
    for end in (UNKNOWN_END, HOURS + 9):
        wanted, *_ = follow(single, spec, HOURS, end)
        got, *states = follow(fp16, spec, HOURS, end)
        assert snr_db(wanted.numpy(), got.numpy()) > 45
        clock = next(s for n, s in zip(fp16.states, states, strict=True) if n.name == "position")
        assert clock.tolist() == [[HOURS + 24]] * 2


@torch.inference_mode()
def test_wave_unet_in_fp16_is_wave_unet() -> None:
    torch.manual_seed(0)
    exact = WaveUNet(WaveUNetConfig()).eval()
    core = wave_unet.streaming(exact, 2, None, form="fp16")
    assert {p.dtype for p in core.module.parameters()} == {torch.float16}
    wave = 0.1 * torch.randn(2, 1, 30 * exact.hop)
    output = run_streaming(core, wave)
    assert output.dtype == torch.float32
    assert 45 < snr_db(exact(wave).numpy(), output.numpy()) < 90
