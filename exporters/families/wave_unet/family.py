"""`wave-unet-16k`: the Wave-U-Net of strided convolutions."""

from torch import nn

from frcrn_export.exporters.checkpoint import Checkpoint
from frcrn_export.exporters.families.wave_unet.lowered import lower_wave_unet
from frcrn_export.exporters.families.wave_unet.network import (
    WaveUNet,
    WaveUNetConfig,
    config_from_state_dict,
)
from frcrn_export.exporters.families.wave_unet.streaming import stream_wave_unet
from frcrn_export.exporters.module_passes import compute_in_half
from frcrn_export.exporters.registry import SAMPLE_RATE, ModelSpec, Processing, Variant
from frcrn_export.exporters.streaming_core import StreamingCore
from frcrn_export.runtime.bundle.manifest import Padding, Segments
from frcrn_export.runtime.errors import CheckpointError, UserError


def build(spec: ModelSpec, checkpoint: Checkpoint | None) -> WaveUNet:
    """A network of the depth and width that the checkpoint has."""
    if checkpoint is None:
        return WaveUNet(WaveUNetConfig())
    try:
        return WaveUNet(config_from_state_dict(checkpoint.state, checkpoint.metadata))
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.path}: {error}") from error


def set_squeeze_excite(spec: ModelSpec, network: nn.Module, text: str) -> None:
    """There is nothing to set: raises UserError."""
    raise UserError(f"{spec.name} has no squeeze-and-excitation; leave out --squeeze-excite")


def lower(network: nn.Module) -> nn.Module:
    """The deployable form."""
    assert isinstance(network, WaveUNet)
    return lower_wave_unet(network)


def half(network: nn.Module) -> nn.Module:
    """All convolutions in half; what they take from the input, or mask, is taken in float32."""
    lowered = lower(network)
    convolutions = ("layers", "analysis", "synthesis")
    compute_in_half([part for name, part in lowered.named_children() if name in convolutions])
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
    """Exact for causal networks; their hop is heard whole, and nothing after it.

    In half are all convolutions.
    """
    assert isinstance(network, WaveUNet)
    if lookahead:
        raise UserError(f"wave-unet-16k does not look ahead; leave out --lookahead {lookahead}")
    core = stream_wave_unet(network, chunk)
    if half:
        core.module.half()
    return core


def processing(network: nn.Module, metadata: dict[str, str]) -> Processing:
    """Peak normalisation; windows overlap by the receptive field, so that cutting is exact."""
    assert isinstance(network, WaveUNet)
    hop = network.config.hop
    left, right = (-(-side // hop) * hop for side in network.config.receptive_field)
    length = left + 8 * SAMPLE_RATE // hop * hop + right
    return Processing(
        level="none" if metadata.get("level") == "none" else "peak",
        padding=Padding(rule="multiple", size=hop),
        segments=Segments(length=length, left=left, right=right, above=length),
    )


def variant(network: nn.Module) -> Variant:
    """What tells two exports of the same model apart."""
    assert isinstance(network, WaveUNet)
    config = network.config
    return {
        "causal": config.causal,
        "channels": list(config.channels),
        "strides": list(config.strides),
        "kernel_size": config.kernel_size,
        "context_blocks": config.context_blocks,
        "context_cycle": config.context_cycle,
        "residual": config.residual,
        "bands": config.bands,
        "band_length": config.band_length,
        "band_stride": config.band_stride,
    }
