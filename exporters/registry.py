"""The registry of models, and the interface each family of networks fills in."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

from frcrn_export.runtime.bundle.manifest import Level, Padding, Segments, StftSpec
from frcrn_export.runtime.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from frcrn_export.exporters.checkpoint import Checkpoint
    from frcrn_export.exporters.streaming_core import StreamingCore

SAMPLE_RATE = 16_000  # Hz, of every model

Variant = dict[str, str | int | bool | list[int]]


@dataclass(frozen=True)
class Processing:
    """What happens to an utterance before and after the core. Lengths in samples.

    `core_samples` is the only length the core takes, or None where any multiple of the padding's
    size will do.
    """

    level: Level
    padding: Padding
    segments: Segments
    core_samples: int | None = None


@dataclass(frozen=True)
class ModelSpec:
    """One model. `stft` is None for networks that take the waveform itself.

    `own_int8_form`: INT8 files for processors are made from another form than `core.onnx`, which
    takes the weights.
    """

    name: str
    summary: str
    weights: str
    family: str
    stft: StftSpec | None = None
    packaged_weights: str | None = None
    own_int8_form: bool = False


class Family(Protocol):
    """What a module in `families/` provides. A module, so that torch is imported only on use."""

    def build(self, spec: ModelSpec, checkpoint: "Checkpoint | None") -> "nn.Module":
        """The reference network, sized for the checkpoint, its weights not loaded yet."""

    def set_squeeze_excite(self, spec: ModelSpec, network: "nn.Module", text: str) -> None:
        """Let squeeze-and-excitation average over what `text` says, see pooling.py.

        Raises UserError where the network has none, or the text is not understood.
        """

    def lower(self, network: "nn.Module") -> "nn.Module":
        """The deployable form of a reference network."""

    def half(self, network: "nn.Module") -> "nn.Module":
        """The form for GPUs that computes in float16, with float32 input and output."""

    def for_int8(self, network: "nn.Module") -> "nn.Module":
        """The float32 form that INT8 files for processors are made from.

        It is that of `lower` but for models with an `own_int8_form`.
        """

    def streaming(
        self,
        network: "nn.Module",
        chunk: int,
        lookahead: int | None,
        half: bool = False,
        for_int8: bool = False,
    ) -> "StreamingCore":
        """The form that takes a stream in calls of `chunk` frames, equal to the network.

        With `half` it computes in float16; its tensors and states are float32 all the same.
        `for_int8`: the form of the method above.
        A frame is a hop of the STFT, or of a network without one. `lookahead` is how many frames
        the output is behind the input: None for all that the network hears of the future, less
        for less delay and another result. Raises UserError, saying why and what to do instead,
        where a network cannot stream or has no such look-ahead.
        """

    def processing(self, network: "nn.Module", metadata: dict[str, str]) -> Processing:
        """What surrounds the network; `metadata` is the checkpoint's."""

    def variant(self, network: "nn.Module") -> Variant:
        """What tells two exports of the same model apart, for the manifest."""


DEFAULT_MODEL = "wave-unet-16k"

_SPECS = (
    ModelSpec(
        name="frcrn-16k",
        summary="published FRCRN, STFT 640/320, 14 M parameters",
        weights="frcrn-export fetch frcrn-16k, or --checkpoint FILE",
        family="frcrn",
        stft=StftSpec(window_length=640, hop_length=320, fft_length=640),
        own_int8_form=True,
    ),
    ModelSpec(
        name="frcrn-16k-512",
        summary="FRCRN with FFT 512, window 320, hop 160",
        weights="--checkpoint FILE (your own)",
        family="frcrn",
        stft=StftSpec(window_length=320, hop_length=160, fft_length=512),
        own_int8_form=True,
    ),
    ModelSpec(
        name="wave-unet-16k",
        summary="Wave-U-Net of strided convolutions, causal; the default",
        weights="packaged, or --checkpoint FILE",
        family="wave_unet",
        packaged_weights="wave-unet-16k.safetensors",
    ),
    ModelSpec(
        name="wave-unet-12x24",
        summary="published 12-layer Wave-U-Net, segments of 16384 samples",
        weights="--checkpoint FILE",
        family="wave_unet_12x24",
    ),
)
MODELS: Mapping[str, ModelSpec] = MappingProxyType({spec.name: spec for spec in _SPECS})


def find_model(name: str) -> ModelSpec:
    """The spec with this name. Raises UserError that suggests the nearest one."""
    if name in MODELS:
        return MODELS[name]
    near = get_close_matches(name, MODELS, n=1, cutoff=0.0)[0]
    raise UserError(f"unknown model {name!r}; did you mean {near}? Run: frcrn-export models")


def family_of(spec: ModelSpec) -> Family:
    """The module that implements a spec's family; imports torch."""
    return cast(Family, import_module(f"frcrn_export.exporters.families.{spec.family}.family"))
