"""What the network declares. Nothing here imports torch before it is needed."""

from typing import TYPE_CHECKING, cast

from frcrn_export.exporters.family import (
    Family,
    Form,
    ModelSpec,
    Option,
    Processing,
    Settings,
    State,
)
from frcrn_export.runtime.audio.framing import whole_hops
from frcrn_export.runtime.bundle.manifest import Segments, StftSpec
from frcrn_export.runtime.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from frcrn_export.exporters.streaming_core import StreamingCore

    from .network import GruMask

SAMPLE_RATE = 48_000  # Hz
STFT = StftSpec(window_length=512, hop_length=256, fft_length=512, window="hann", center=True)
WIDTH = 16  # of a network from scratch


class GruMaskFamily(Family):
    """A mask network of convolutions and a GRU."""

    name = "gru_mask"
    models = (
        ModelSpec(
            name="gru-mask-48k",
            summary="mask of convolutions and a GRU, STFT 512/256, 48 kHz",
            described="weights of a mask network with a GRU",
            sample_rate=SAMPLE_RATE,
            stft=STFT,
        ),
    )
    landmarks = ("narrow.weight",)
    options = (
        Option(
            name="mask_bound",
            kind="integer",
            default=1,
            metavar="GAIN",
            help="The largest gain of the mask of a GRU mask network.",
            aliases=("mask_max",),
        ),
    )

    def recognise(self, state: State) -> str | None:
        found = {"narrow.weight", "memory.weight_hh_l0", "widen.weight"} <= state.keys()
        return self.models[0].name if found else None

    def facts(self, spec: ModelSpec, state: State) -> Settings:
        return {"width": state["narrow.weight"].shape[0]}

    def build(self, spec: ModelSpec, settings: Settings) -> "nn.Module":
        from .network import GruMask

        bound = cast(int, settings["mask_bound"])
        if bound < 1:
            raise ValueError(f"--mask-bound {bound}: takes 1 or more")
        return GruMask(cast(int, settings.get("width", WIDTH)), bound)

    def lower(self, network: "nn.Module") -> "nn.Module":
        from .network import fold

        return fold(cast("GruMask", network))

    def processing(self, spec: ModelSpec, network: "nn.Module", settings: Settings) -> Processing:
        """No level rule. Over a minute in windows of 10 s, each with a second to warm up."""
        return Processing(
            level="none",
            padding=whole_hops(STFT),
            segments=Segments(
                length=10 * SAMPLE_RATE,
                left=SAMPLE_RATE,
                right=STFT.window_length,
                above=60 * SAMPLE_RATE,
            ),
        )

    def gpu_form(self, network: "nn.Module") -> "nn.Module":
        """The layers in float16; the logarithm and the product with the spectrum are not."""
        from frcrn_export.exporters.module_passes import compute_in_fp16

        lowered = self.lower(network)
        compute_in_fp16(lowered.children())
        return lowered

    def streaming(
        self, network: "nn.Module", chunk: int, lookahead: int | None, form: Form = "fp32"
    ) -> "StreamingCore":
        from .streaming import stream

        if lookahead:
            raise UserError(f"--lookahead {lookahead}: this network has none; leave it out")
        folded = self.gpu_form(network) if form == "fp16" else self.lower(network)
        return stream(cast("GruMask", folded), chunk)

    def streaming_options(self, settings: Settings) -> Settings | None:
        """It streams as it is."""
        return {}


FAMILY = GruMaskFamily()
