"""`core.streaming.onnx`: a streaming core with its states as inputs and outputs.

`core.streaming.fp16.onnx` is called in the same way: all its tensors are float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
import torch

from frcrn_export.exporters.family import Form
from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.onnx_export import export_module
from frcrn_export.exporters.recurrent import require_causal
from frcrn_export.exporters.streaming_core import StreamingCore
from frcrn_export.runtime.bundle.manifest import Manifest, StreamingInfo, TensorSpec

STREAMING_NAME = "core.streaming.onnx"
HALF_STREAMING_NAME = "core.streaming.fp16.onnx"
_END = "end"
_BATCH = 2  # of the traced example, as for the other files


@dataclass(frozen=True)
class StreamingOptions:
    """What can be chosen of a streaming core, in frames: hops of the STFT, or of the network.

    `chunk` None is one frame, `lookahead` None all that the network hears of the future.
    """

    chunk: int | None = None
    lookahead: int | None = None


def streaming_core(
    model: LoadedModel, options: StreamingOptions, half: bool = False, for_int8: bool = False
) -> StreamingCore:
    """The streaming form of a model, with `half` the one that computes in float16.

    `for_int8`: the one that INT8 files for processors are made from. Raises UserError where it has
    none, or not this one.
    """
    form: Form = "fp16" if half else "int8_cpu" if for_int8 else "fp32"
    return model.family.streaming(model.network, options.chunk or 1, options.lookahead, form)


def bundled_options(manifest: Manifest) -> StreamingOptions | None:
    """How the streaming core of a bundle was exported; None where there is none."""
    entry = manifest.file("core_streaming", "onnx")
    if entry is None or entry.streaming is None:
        return None
    hop = 1 if manifest.stft else manifest.padding.size
    return StreamingOptions(entry.streaming.chunk // hop, entry.streaming.lookahead)


def streaming_tensors(model: LoadedModel, core: StreamingCore) -> tuple[TensorSpec, TensorSpec]:
    """Input and output of one call: as those of `core.onnx`, `chunk` frames or samples long."""
    stft = model.spec.stft
    shape = ("batch", 1, core.chunk) if stft is None else ("batch", 2, stft.bins, core.chunk)
    names = ("wave" if stft is None else "spec", "enhanced")
    given, enhanced = (TensorSpec(name=name, dtype="float32", shape=shape) for name in names)
    return given, enhanced


def state_tensors(core: StreamingCore) -> tuple[TensorSpec, ...]:
    """The further inputs of one call: the end where the core needs it, and the states."""
    ends = (TensorSpec(name=_END, dtype="float32", shape=("batch",)),) if core.end else ()
    return *ends, *(state.tensor(state.name) for state in core.states)


def streaming_info(core: StreamingCore) -> StreamingInfo:
    """How the runtime calls a core."""
    return StreamingInfo(
        chunk=core.chunk,
        lookahead=core.lookahead,
        states=core.states,
        end=_END if core.end else None,
    )


def export_streaming(
    model: LoadedModel, core: StreamingCore, name: str, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """Export and check a core, any number of streams in a batch.

    Raises as `export_module`, and UserError for a recurrent layer that goes backwards in time.
    """
    require_causal(core.module)
    given, enhanced = streaming_tensors(model, core)
    examples = [torch.randn(_BATCH, *map(int, given.shape[1:]))]
    if core.end:
        examples.append(torch.full((_BATCH,), 2.0 * core.chunk))
    return export_module(
        core.module,
        (*examples, *core.initial(_BATCH)),
        (given, *state_tensors(core)),
        (enhanced, *(state.tensor(state.next) for state in core.states)),
        name,
        metadata,
    )
