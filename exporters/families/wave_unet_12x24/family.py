"""The family of the published Wave-U-Net with interpolation."""

from typing import TYPE_CHECKING

from frcrn_export.exporters.family import (
    Family,
    Form,
    ModelSpec,
    Processing,
    Settings,
    State,
)
from frcrn_export.runtime.bundle.manifest import Padding, Segments
from frcrn_export.runtime.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from frcrn_export.exporters.families.wave_unet_12x24.network import WaveUNet12x24
    from frcrn_export.exporters.streaming_core import StreamingCore

SAMPLE_RATE = 16_000  # Hz
SEGMENT_SAMPLES = 16_384  # the length of its training and input


class WaveUNet12x24Family(Family):
    """Wave-U-Net with decimation and interpolation, each segment on its own."""

    name = "wave_unet_12x24"
    models = (
        ModelSpec(
            name="wave-unet-12x24",
            summary="published 12-layer Wave-U-Net, segments of 16384 samples",
            described="weights of a Wave-U-Net with interpolation",
            sample_rate=SAMPLE_RATE,
        ),
    )
    landmarks = ("encoder.0.main.0.weight",)

    def recognise(self, state: State) -> str | None:
        is_one = "encoder.0.main.0.weight" in state and "middle.0.weight" in state
        return self.models[0].name if is_one else None

    def facts(self, spec: ModelSpec, state: State) -> Settings:
        from frcrn_export.exporters.families.wave_unet_12x24.network import config_from_state_dict

        config = config_from_state_dict(state)
        return {"layers": config.layers, "channels_interval": config.channels_interval}

    def build(self, spec: ModelSpec, settings: Settings) -> "nn.Module":
        from frcrn_export.exporters.families.wave_unet_12x24.network import (
            WaveUNet12x24,
            WaveUNet12x24Config,
        )

        default = WaveUNet12x24Config()
        layers = settings.get("layers", default.layers)
        interval = settings.get("channels_interval", default.channels_interval)
        assert isinstance(layers, int)
        assert isinstance(interval, int)
        return WaveUNet12x24(WaveUNet12x24Config(layers=layers, channels_interval=interval))

    def lower(self, network: "nn.Module") -> "nn.Module":
        from frcrn_export.exporters.families.wave_unet_12x24.lowered import lower_wave_unet_12x24

        return lower_wave_unet_12x24(_wave_unet(network))

    def processing(self, spec: ModelSpec, network: "nn.Module", settings: Settings) -> Processing:
        """As published: no normalisation, each segment on its own.

        It was trained on segments, so the core takes that length only.
        """
        return Processing(
            level="none",
            padding=Padding(rule="multiple", size=SEGMENT_SAMPLES),
            segments=Segments(length=SEGMENT_SAMPLES, left=0, right=0, above=SEGMENT_SAMPLES),
            core_samples=SEGMENT_SAMPLES,
        )

    def variant(self, network: "nn.Module", settings: Settings) -> Settings:
        config = _wave_unet(network).config
        return {"layers": config.layers, "channels_interval": config.channels_interval}

    def streaming(
        self, network: "nn.Module", chunk: int, lookahead: int | None, form: Form = "fp32"
    ) -> "StreamingCore":
        """Not available: the interpolation depends on the position in the segment."""
        raise UserError(
            "wave-unet-12x24 has no exact streaming form, its interpolation depends on the whole "
            "segment; leave out --streaming: frcrn-export stream runs it in overlapping windows"
        )


def _wave_unet(network: "nn.Module") -> "WaveUNet12x24":
    from frcrn_export.exporters.families.wave_unet_12x24.network import WaveUNet12x24

    assert isinstance(network, WaveUNet12x24)
    return network


FAMILY = WaveUNet12x24Family()
