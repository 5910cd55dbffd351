"""The family FRCRN: models, options, processing, forms."""

import re
from typing import TYPE_CHECKING

from frcrn_export.exporters.family import (
    ExtraCore,
    Family,
    Form,
    ModelSpec,
    Option,
    Processing,
    PublishedWeights,
    Settings,
    State,
)
from frcrn_export.runtime.bundle.manifest import Padding, Segments, StftSpec

if TYPE_CHECKING:
    from torch import nn

    from frcrn_export.exporters.checkpoint_file import Checkpoint
    from frcrn_export.exporters.families.frcrn.network import FRCRN
    from frcrn_export.exporters.families.frcrn.training import FrcrnTask
    from frcrn_export.exporters.streaming_core import StreamingCore

SAMPLE_RATE = 16_000  # Hz
LONGEST_WHOLE = 120 * SAMPLE_RATE  # samples, as published

GLOBAL = "global"  # as pooling.py has it, which imports torch
SQUEEZE_EXCITE = Option(
    name="squeeze_excite",
    kind="text",
    default=GLOBAL,
    metavar="MODE",
    help="What FRCRN averages over: global (as published), cumulative (what came so far), "
    "window:SECONDS. By default what the weights were trained with.",
    choice=True,
)

# The published FRCRN registers its layers a second time, in ModuleLists.
_LISTS = {
    "encoders": "encoder",
    "decoders": "decoder",
    "fsmn_enc": "fsmn_enc",
    "fsmn_dec": "fsmn_dec",
    "se_layers_enc": "se_layer_enc",
    "se_layers_dec": "se_layer_dec",
}
_LISTED = re.compile(rf"^(unet2?)\.({'|'.join(_LISTS)})\.(\d+)\.")


class Frcrn(Family):
    """FRCRN, after Zhao et al., ICASSP 2022."""

    name = "frcrn"
    models = (
        ModelSpec(
            name="frcrn-16k",
            summary="published FRCRN, STFT 640/320, 14 M parameters",
            described="321-bin weights",
            sample_rate=SAMPLE_RATE,
            stft=StftSpec(window_length=640, hop_length=320, fft_length=640),
            published=PublishedWeights(
                url="https://modelscope.cn/models/damo/speech_frcrn_ans_cirm_16k/resolve/master/"
                "pytorch_model.bin",
                size=57_991_225,
                sha256="477a2f82019b0a2b5bdd51541405d7e585a1f0355e162f3b46bf5c20d79fd612",
                file_name="speech_frcrn_ans_cirm_16k.bin",
            ),
            licence="Apache-2.0",
            attribution="Alibaba DAMO Academy, speech_frcrn_ans_cirm_16k (ModelScope)",
        ),
        ModelSpec(
            name="frcrn-16k-512",
            summary="FRCRN with FFT 512, window 320, hop 160",
            described="257-bin weights",
            sample_rate=SAMPLE_RATE,
            stft=StftSpec(window_length=320, hop_length=160, fft_length=512),
        ),
    )
    landmarks = ("unet.encoder0.conv.conv_re.weight", "unet.encoders.0.conv.conv_re.weight")
    options = (SQUEEZE_EXCITE,)
    trainable = True
    has_int8_cpu_form = True

    def canonical_name(self, key: str) -> str:
        """`unet.se_layers_enc.3.x` -> `unet.se_layer_enc3.x`."""
        return _LISTED.sub(lambda m: f"{m[1]}.{_LISTS[m[2]]}{m[3]}.", key)

    def is_evidence(self, key: str) -> bool:
        """The published files hold the transform as convolutions."""
        from frcrn_export.exporters.families.frcrn.evidence import TRANSFORM

        return key in TRANSFORM

    def recognise(self, state: State) -> str | None:
        """Recognised by the kernels of the first U-Net's encoders."""
        from frcrn_export.exporters.families.frcrn.network import CONFIGS

        encoders = (state.get(f"unet.encoder{i}.conv.conv_re.weight") for i in range(len(state)))
        kernels = []
        for weight in encoders:
            if weight is None:
                break
            kernels.append(tuple(weight.shape[2:]))
        for spec in self.models:
            if tuple(kernels) == CONFIGS[spec.name].encoder_kernels:
                return spec.name
        return None

    def check_evidence(self, spec: ModelSpec, evidence: State) -> None:
        """The transform in the file must be the one around the core."""
        from frcrn_export.exporters.families.frcrn.evidence import check_transform

        assert spec.stft is not None
        check_transform(spec.name, spec.stft, evidence)

    def build(self, spec: ModelSpec, settings: Settings) -> "nn.Module":
        from frcrn_export.exporters.families.frcrn.pooling import build_frcrn

        return build_frcrn(spec, str(settings["squeeze_excite"]))

    def lower(self, network: "nn.Module") -> "nn.Module":
        from frcrn_export.exporters.families.frcrn.lowered import lower_frcrn

        return lower_frcrn(_frcrn(network))

    def processing(self, spec: ModelSpec, network: "nn.Module", settings: Settings) -> Processing:
        """As published: windows of 1 s every 0.75 s above 120 s, the same in the padding."""
        window, stride = SAMPLE_RATE, SAMPLE_RATE * 3 // 4
        edge = (window - stride) // 2
        return Processing(
            level="active_rms",
            padding=Padding(rule="windows", size=window, stride=stride),
            segments=Segments(length=window, left=edge, right=edge, above=LONGEST_WHOLE),
        )

    def gpu_form(self, network: "nn.Module") -> "nn.Module":
        """Both U-Nets in float16, except their means over the utterance; the mask in float32."""
        from frcrn_export.exporters.families.frcrn.gpu import Pool, pair_frcrn
        from frcrn_export.exporters.module_passes import compute_in_fp16

        paired = pair_frcrn(_frcrn(network))
        pools = [module for module in paired.modules() if isinstance(module, Pool)]
        compute_in_fp16((paired.unet, paired.unet2), keep=pools)
        return paired

    def exact_gpu_form(self, network: "nn.Module") -> "nn.Module":
        from frcrn_export.exporters.families.frcrn.gpu import pair_frcrn

        return pair_frcrn(_frcrn(network))

    def static_form(self, network: "nn.Module") -> "nn.Module":
        """Plain convolutions: the sums that make three rows at a time would need a ninth bit."""
        from frcrn_export.exporters.families.frcrn.lowered import lower_frcrn

        return lower_frcrn(_frcrn(network), fast=False)

    def int8_cpu_form(self, network: "nn.Module") -> "nn.Module":
        """Every position of the spectrum as a row: large convolutions with little between them."""
        from frcrn_export.exporters.families.frcrn.int8_cpu import row_frcrn

        return row_frcrn(_frcrn(network))

    def streaming(
        self, network: "nn.Module", chunk: int, lookahead: int | None, form: Form = "fp32"
    ) -> "StreamingCore":
        """Exact with causal squeeze-and-excitation, with a look-ahead of 14 frames.

        In float16 run both U-Nets, except their running means; the mask and the clock stay float32.
        """
        from frcrn_export.exporters.families.frcrn.streaming import stream_frcrn

        core = stream_frcrn(_frcrn(network), chunk, lookahead, form)
        if form == "fp16":
            for unet in ("unet", "unet2"):
                core.module.get_submodule(unet).half()
        return core

    def streaming_options(self, settings: Settings) -> Settings | None:
        """A mean over the whole utterance cannot be streamed."""
        return {"squeeze_excite": "cumulative"} if settings["squeeze_excite"] == GLOBAL else {}

    def extra_cores(self, spec: ModelSpec, network: "nn.Module") -> tuple[ExtraCore, ...]:
        from frcrn_export.exporters.families.frcrn.long_core import long_cores

        return long_cores(spec, _frcrn(network))

    def training_task(
        self, spec: ModelSpec, options: Settings, checkpoint: "Checkpoint | None"
    ) -> "FrcrnTask":
        from frcrn_export.exporters.families.frcrn.training import frcrn_task

        return frcrn_task(self, spec, options, checkpoint)


def _frcrn(network: "nn.Module") -> "FRCRN":
    from frcrn_export.exporters.families.frcrn.network import FRCRN

    assert isinstance(network, FRCRN)
    return network


FAMILY = Frcrn()
