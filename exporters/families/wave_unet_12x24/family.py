"""`wave-unet-12x24`: the published Wave-U-Net with interpolation."""

from torch import nn

from frcrn_export.exporters.checkpoint import Checkpoint
from frcrn_export.exporters.families.wave_unet_12x24.lowered import lower_wave_unet_12x24
from frcrn_export.exporters.families.wave_unet_12x24.network import (
    SEGMENT_SAMPLES,
    WaveUNet12x24,
    WaveUNet12x24Config,
    config_from_state_dict,
)
from frcrn_export.exporters.module_passes import compute_in_half
from frcrn_export.exporters.registry import ModelSpec, Processing, Variant
from frcrn_export.exporters.streaming_core import StreamingCore
from frcrn_export.runtime.bundle.manifest import Padding, Segments
from frcrn_export.runtime.errors import UserError


def build(spec: ModelSpec, checkpoint: Checkpoint | None) -> WaveUNet12x24:
    """A network with the layers and the width that the checkpoint has."""
    if checkpoint is None:
        return WaveUNet12x24(WaveUNet12x24Config())
    return WaveUNet12x24(config_from_state_dict(checkpoint.state))


def set_squeeze_excite(spec: ModelSpec, network: nn.Module, text: str) -> None:
    """There is nothing to set: raises UserError."""
    raise UserError(f"{spec.name} has no squeeze-and-excitation; leave out --squeeze-excite")


def lower(network: nn.Module) -> nn.Module:
    """The deployable form."""
    assert isinstance(network, WaveUNet12x24)
    return lower_wave_unet_12x24(network)


def half(network: nn.Module) -> nn.Module:
    """Everything in half."""
    lowered = lower(network)
    compute_in_half([lowered])
    return lowered


def for_int8(network: nn.Module) -> nn.Module:
    """The deployable form."""
    return lower(network)


def streaming(
    network: nn.Module,
    chunk: int,
    lookahead: int | None,
    half: bool = False,
    for_int8: bool = False,
) -> StreamingCore:
    """There is none: the interpolation depends on the position in the segment."""
    raise UserError(
        "wave-unet-12x24 has no exact streaming form, its interpolation depends on the whole "
        "segment; leave out --streaming: frcrn-export stream runs it in overlapping windows"
    )


def processing(network: nn.Module, metadata: dict[str, str]) -> Processing:
    """As published: no normalisation, each segment on its own.

    The segment is part of what was trained, so the core takes that length only.
    """
    return Processing(
        level="none",
        padding=Padding(rule="multiple", size=SEGMENT_SAMPLES),
        segments=Segments(length=SEGMENT_SAMPLES, left=0, right=0, above=SEGMENT_SAMPLES),
        core_samples=SEGMENT_SAMPLES,
    )


def variant(network: nn.Module) -> Variant:
    """What tells two exports of the same model apart."""
    assert isinstance(network, WaveUNet12x24)
    config = network.config
    return {"layers": config.layers, "channels_interval": config.channels_interval}
