"""The graphs of a bundle: module, input and output, and example."""

import dataclasses
from dataclasses import dataclass

import torch
from torch import nn

from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.onnx_export import Graph
from frcrn_export.exporters.reference import WaveformNetwork
from frcrn_export.exporters.stft_ops import StftAnalysis, StftSynthesis
from frcrn_export.runtime.bundle.manifest import StftSpec, TensorSpec
from frcrn_export.runtime.errors import UserError

# Sizes of the traced examples: small, unequal, and different from those of parity.
_BATCH = 2
_FRAMES = 23


@dataclass(frozen=True)
class StaticShape:
    """The one shape of `core.static.onnx`: rows, and frames of a spectrum or samples of a wave."""

    batch: int
    length: int


def core_graph(model: LoadedModel) -> Graph:
    """The lowered network: spec [B, 2, F, T], or wave [B, 1, N] for time-domain networks."""
    stft = model.spec.stft
    if stft is not None:
        shape: tuple[int | str, ...] = ("batch", 2, stft.bins, "frames")
        example = torch.randn(_BATCH, 2, stft.bins, _FRAMES)
        return Graph(model.lowered, example, _tensor("spec", shape), _tensor("enhanced", shape))
    fixed = model.processing.core_samples
    shape = ("batch", 1, fixed or "samples")
    example = torch.randn(_BATCH, 1, fixed or _FRAMES * model.processing.padding.size)
    return Graph(model.lowered, example, _tensor("wave", shape), _tensor("enhanced", shape))


def static_graph(model: LoadedModel, shape: StaticShape) -> Graph:
    """The core for inputs of one shape. Raises UserError for a length that it does not take."""
    dynamic = core_graph(model)
    check_static(model, shape)
    sizes = (shape.batch, *dynamic.input.shape[1:-1], shape.length)
    example = torch.randn(*map(int, sizes))
    tensors = (_tensor(each.name, sizes) for each in (dynamic.input, dynamic.output))
    return Graph(model.family.static_form(model.network), example, *tensors)


def check_static(model: LoadedModel, shape: StaticShape) -> None:
    """Raise UserError for a length that the core does not take."""
    if model.spec.stft is not None:
        return
    fixed, multiple = model.processing.core_samples, model.processing.padding.size
    if fixed is not None and shape.length != fixed:
        raise UserError(
            f"{model.spec.name} takes segments of {fixed} samples, not {shape.length}; take "
            f"--static {shape.batch} {fixed}"
        )
    if fixed is None and shape.length % multiple:
        above = -(-shape.length // multiple) * multiple
        raise UserError(
            f"{model.spec.name} takes multiples of {multiple} samples, not {shape.length}; take "
            f"--static {shape.batch} {above}"
        )


def fp16_graph(model: LoadedModel) -> Graph:
    """The core in the form for GPUs: float16 inside, tensors and shapes as `core_graph`."""
    module = model.family.gpu_form(model.network)
    return dataclasses.replace(core_graph(model), module=module)


def pre_graph(stft: StftSpec) -> Graph:
    """The pre op: wave [B, N] -> spec [B, 2, F, T]."""
    return Graph(
        StftAnalysis(stft),
        torch.randn(_BATCH, stft.samples(_FRAMES)),
        _tensor("wave", ("batch", "samples")),
        _tensor("spec", ("batch", 2, stft.bins, "frames")),
    )


def post_graph(stft: StftSpec) -> Graph:
    """The post op: enhanced [B, 2, F, T] -> wave [B, N]."""
    return Graph(
        StftSynthesis(stft),
        torch.randn(_BATCH, 2, stft.bins, _FRAMES),
        _tensor("enhanced", ("batch", 2, stft.bins, "frames")),
        _tensor("wave", ("batch", "samples")),
    )


def inline_graph(model: LoadedModel) -> Graph:
    """The network with its STFT inside: wave [B, N] -> enhanced [B, N'].

    Raises UserError for networks that take segments of one length.
    """
    if model.processing.core_samples is not None:
        raise UserError(
            f"{model.spec.name} takes segments of {model.processing.core_samples} samples and has "
            "no inline form; leave out --stft inline"
        )
    stft = model.spec.stft
    if stft is None:
        module: nn.Module = _WithoutChannelAxis(model.lowered)
        samples = _FRAMES * model.processing.padding.size
    else:
        module = WaveformNetwork(model.lowered, stft)
        samples = stft.samples(_FRAMES)
    tensors = (_tensor(name, ("batch", "samples")) for name in ("wave", "enhanced"))
    return Graph(module, torch.randn(_BATCH, samples), *tensors)


class _WithoutChannelAxis(nn.Module):
    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.core = core

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.core(wave.unsqueeze(1)).squeeze(1)
        return out


def _tensor(name: str, shape: tuple[int | str, ...]) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=shape)
