"""The family of Wave-U-Nets of strided convolutions."""

from itertools import product
from typing import TYPE_CHECKING

from frcrn_export.exporters.assets import ASSETS
from frcrn_export.exporters.family import (
    Family,
    Form,
    ModelSpec,
    Option,
    Processing,
    Setting,
    Settings,
    State,
)
from frcrn_export.runtime.bundle.manifest import HighPass, Padding, Segments
from frcrn_export.runtime.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from frcrn_export.exporters.checkpoint_file import Checkpoint
    from frcrn_export.exporters.families.wave_unet.network import WaveUNet
    from frcrn_export.exporters.families.wave_unet.training import WaveUNetTask
    from frcrn_export.exporters.streaming_core import StreamingCore

SAMPLE_RATE = 16_000  # Hz
MOST_LISTED = 16  # strides of all encoders, in an error
WHOLE_SECONDS = 8  # the inside of a window of a long recording


def _stride_of_four(facts: Settings) -> Setting:
    """As described: 4 for each encoder."""
    channels = facts.get("channels", (32, 64, 128))
    assert isinstance(channels, tuple)
    return (4,) * len(channels)


def _few_strides(facts: Settings) -> tuple[Setting, ...]:
    """All strides that the kernel allows; () where they are many."""
    channels, kernel = facts.get("channels"), facts.get("kernel_size")
    if not isinstance(channels, tuple) or not isinstance(kernel, int):
        return ()
    most = (kernel + 1) // 2
    if most > MOST_LISTED or most ** len(channels) > MOST_LISTED:
        return ()
    return tuple(product(range(1, most + 1), repeat=len(channels)))


def _is_free(settings: Settings) -> bool:
    """The masking form is causal and not residual: there is nothing to say."""
    return not settings.get("bands")


def _restarts(settings: Settings) -> bool:
    """The first context block has a dilation of 1 in any case."""
    blocks = settings.get("context_blocks", 0)
    return isinstance(blocks, int) and blocks > 1


STRIDES = Option(
    "strides",
    "integers",
    "Stride of each encoder (wave-unet-16k).",
    default=_stride_of_four,
    metavar="N,N,...",
    possible=_few_strides,
)
CAUSAL = Option(
    "causal",
    "flag",
    "Without look-ahead (wave-unet-16k).",
    default=True,
    negated="--non-causal",
    applies=_is_free,
)
RESIDUAL = Option(
    "residual",
    "flag",
    "The network's output is added to the noisy waveform (wave-unet-16k).",
    default=False,
    applies=_is_free,
)
CONTEXT_CYCLE = Option(
    "context_cycle",
    "integer",
    "After so many context blocks dilations start from 1 again (wave-unet-16k).",
    default=6,
    metavar="N",
    applies=_restarts,
)
LEVEL = Option(
    "level",
    "text",
    "Level that the network was trained at: peak (scaled to full scale) or none (wave-unet-16k).",
    default="peak",
    metavar="RULE",
)


class WaveUNetFamily(Family):
    """Wave-U-Net of strided convolutions; its masking form is the packaged default."""

    name = "wave_unet"
    models = (
        ModelSpec(
            name="wave-unet-16k",
            summary="Wave-U-Net of strided convolutions, causal; the default",
            described="weights of a strided Wave-U-Net",
            sample_rate=SAMPLE_RATE,
            packaged=ASSETS / "wave-unet-16k.safetensors",
            licence="Apache-2.0",
            attribution="frcrn-export maintainers; the model's card names the training data",
            is_default=True,
        ),
    )
    landmarks = ("encoder.0.0.weight",)
    options = (STRIDES, CAUSAL, RESIDUAL, CONTEXT_CYCLE, LEVEL)
    training_options = (
        Option(
            "bands",
            "integer",
            "Filters around the network, which it masks; 0 for a network of waveforms "
            "(wave-unet-16k).",
            default=0,
            metavar="N",
        ),
        Option(
            "channels",
            "integers",
            "Channels of each encoder (wave-unet-16k).",
            default=(32, 64, 128),
            metavar="N,N,...",
        ),
        Option(
            "kernel",
            "integer",
            "Kernel size of encoders and decoders (wave-unet-16k).",
            default=15,
            metavar="N",
        ),
        Option(
            "context",
            "integer",
            "Dilated blocks at the lowest rate (wave-unet-16k).",
            default=0,
            metavar="N",
        ),
    )
    trainable = True

    def recognise(self, state: State) -> str | None:
        first = state.get("encoder.0.0.weight")
        is_one = first is not None and first.dim() == 3 and "out.weight" in state
        return self.models[0].name if is_one else None

    def facts(self, spec: ModelSpec, state: State) -> Settings:
        from frcrn_export.exporters.families.wave_unet.config import shown_by_tensors

        return shown_by_tensors(state)

    def build(self, spec: ModelSpec, settings: Settings) -> "nn.Module":
        from frcrn_export.exporters.families.wave_unet.config import config_of
        from frcrn_export.exporters.families.wave_unet.network import WaveUNet

        if settings["level"] not in ("peak", "none"):
            raise ValueError(f"{LEVEL.flag} {settings['level']}: takes peak or none")
        return WaveUNet(config_of(settings))

    def lower(self, network: "nn.Module") -> "nn.Module":
        from frcrn_export.exporters.families.wave_unet.lowered import lower_wave_unet

        return lower_wave_unet(_wave_unet(network))

    def processing(self, spec: ModelSpec, network: "nn.Module", settings: Settings) -> Processing:
        """Peak level; windows overlap by the receptive field, so that windowing is exact."""
        config = _wave_unet(network).config
        left, right = (-(-side // config.hop) * config.hop for side in config.receptive_field)
        inside = WHOLE_SECONDS * SAMPLE_RATE // config.hop * config.hop
        length = left + inside + right
        return Processing(
            level="none" if settings["level"] == "none" else "peak",
            padding=Padding(rule="multiple", size=config.hop),
            segments=Segments(length=length, left=left, right=right, above=length),
            high_pass=HighPass(),
        )

    def variant(self, network: "nn.Module", settings: Settings) -> Settings:
        from dataclasses import asdict

        return {**asdict(_wave_unet(network).config), "level": settings["level"]}

    def gpu_form(self, network: "nn.Module") -> "nn.Module":
        """Convolutions in float16; the log magnitude and the mask, or the residual, in float32."""
        from frcrn_export.exporters.module_passes import compute_in_fp16

        lowered = self.lower(network)
        convolutions = ("layers", "analysis", "synthesis")
        compute_in_fp16([part for name, part in lowered.named_children() if name in convolutions])
        return lowered

    def streaming(
        self, network: "nn.Module", chunk: int, lookahead: int | None, form: Form = "fp32"
    ) -> "StreamingCore":
        """Exact for causal networks: a whole hop is in the receptive field, nothing after it.

        All products run in float16.
        """
        from frcrn_export.exporters.families.wave_unet.streaming import stream_wave_unet

        if lookahead:
            raise UserError(
                f"{self.models[0].name} has no look-ahead; leave out --lookahead {lookahead}"
            )
        core = stream_wave_unet(_wave_unet(network), chunk)
        if form == "fp16":
            core.module.half()
        return core

    def streaming_options(self, settings: Settings) -> Settings | None:
        """Causal networks stream as they are; the others cannot."""
        return {} if settings["causal"] else None

    def training_task(
        self, spec: ModelSpec, options: Settings, checkpoint: "Checkpoint | None"
    ) -> "WaveUNetTask":
        from frcrn_export.exporters.families.wave_unet.training import wave_unet_task

        return wave_unet_task(self, spec, options, checkpoint)


def _wave_unet(network: "nn.Module") -> "WaveUNet":
    from frcrn_export.exporters.families.wave_unet.network import WaveUNet

    assert isinstance(network, WaveUNet)
    return network


FAMILY = WaveUNetFamily()
