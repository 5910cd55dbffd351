"""FRCRN: `frcrn-16k` and `frcrn-16k-512`."""

from torch import nn

from frcrn_export.exporters.checkpoint import Checkpoint
from frcrn_export.exporters.families.frcrn.gpu import Pool, pair_frcrn
from frcrn_export.exporters.families.frcrn.int8_cpu import row_frcrn
from frcrn_export.exporters.families.frcrn.lowered import lower_frcrn
from frcrn_export.exporters.families.frcrn.network import FRCRN, FRCRN_16K, FRCRN_16K_512
from frcrn_export.exporters.families.frcrn.pooling import parse_pooling
from frcrn_export.exporters.families.frcrn.streaming import stream_frcrn
from frcrn_export.exporters.module_passes import compute_in_half
from frcrn_export.exporters.registry import SAMPLE_RATE, ModelSpec, Processing, Variant
from frcrn_export.exporters.streaming_core import StreamingCore
from frcrn_export.runtime.bundle.manifest import Padding, Segments

_CONFIGS = {config.bins: config for config in (FRCRN_16K, FRCRN_16K_512)}


def build(spec: ModelSpec, checkpoint: Checkpoint | None) -> FRCRN:
    """The reference network of a spec; its shape does not depend on the checkpoint."""
    assert spec.stft is not None
    return FRCRN(_CONFIGS[spec.stft.bins])


def set_squeeze_excite(spec: ModelSpec, network: nn.Module, text: str) -> None:
    """Average over the whole utterance, all frames so far, or a sliding window."""
    assert isinstance(network, FRCRN)
    assert spec.stft is not None
    network.set_pooling(parse_pooling(text, SAMPLE_RATE / spec.stft.hop_length), text)


def lower(network: nn.Module) -> nn.Module:
    """The deployable form."""
    assert isinstance(network, FRCRN)
    return lower_frcrn(network)


def half(network: nn.Module) -> nn.Module:
    """Both U-Nets in half but for their means over the utterance; the mask in float32."""
    assert isinstance(network, FRCRN)
    paired = pair_frcrn(network)
    pools = [module for module in paired.modules() if isinstance(module, Pool)]
    compute_in_half((paired.unet, paired.unet2), keep=pools)
    return paired


def for_int8(network: nn.Module) -> nn.Module:
    """Every position of the spectrum as a row: large convolutions, and little between them."""
    assert isinstance(network, FRCRN)
    return row_frcrn(network)


def streaming(
    network: nn.Module,
    chunk: int,
    lookahead: int | None,
    half: bool = False,
    for_int8: bool = False,
) -> StreamingCore:
    """Exact, 14 frames behind, where squeeze-and-excitation is causal.

    In half are both U-Nets but for their running means; the mask and the clock are not.
    """
    assert isinstance(network, FRCRN)
    core = stream_frcrn(network, chunk, lookahead, rows=for_int8)
    if half:
        for unet in ("unet", "unet2"):
            core.module.get_submodule(unet).half()
    return core


def processing(network: nn.Module, metadata: dict[str, str]) -> Processing:
    """As published: windows of 1 s every 0.75 s above 120 s, the same numbers in the padding."""
    window, stride = SAMPLE_RATE, SAMPLE_RATE * 3 // 4
    edge = (window - stride) // 2
    return Processing(
        level="active_rms",
        padding=Padding(rule="windows", size=window, stride=stride),
        segments=Segments(length=window, left=edge, right=edge, above=120 * SAMPLE_RATE),
    )


def variant(network: nn.Module) -> Variant:
    """What tells two exports of the same model apart."""
    assert isinstance(network, FRCRN)
    return {"squeeze_excite": network.pooling_name}
