"""`core.streaming.onnx`: a streaming core with its states as inputs and outputs.

`core.streaming.fp16.onnx` has the same I/O signature, in float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
import torch
from torch import Tensor

from frcrn_export.exporters.family import Form
from frcrn_export.exporters.graphs import StaticShape
from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.onnx_export import onnx_from_module
from frcrn_export.exporters.recurrent import require_causal
from frcrn_export.exporters.streaming_core import StreamingCore, run_streaming
from frcrn_export.runtime.bundle.manifest import Manifest, StreamingInfo, TensorSpec

_END = "end"
_BATCH = 2  # of the traced example, as for the other files


@dataclass(frozen=True)
class StreamingOptions:
    """The options of a streaming core, in frames: hops of the STFT, or of the network.

    `chunk` None is one frame, `lookahead` None the network's whole look-ahead.
    """

    chunk: int | None = None
    lookahead: int | None = None


class StreamingForms:
    """A model and its streaming forms, each built once: some take seconds.

    `static` is the shape of `core.static.onnx`, where there is one.
    """

    def __init__(
        self,
        model: LoadedModel,
        options: StreamingOptions | None = None,
        static: StaticShape | None = None,
    ) -> None:
        self.model = model
        self.options = options
        self.static = static
        self._built: dict[tuple[int, int | None, Form], StreamingCore] = {}

    def core(self, form: Form = "fp32") -> StreamingCore:
        """The streaming core with these options, in one form.

        Raises UserError where the model cannot stream, or not with these options.
        """
        options = self.options or StreamingOptions()
        return self._build(options.chunk or 1, options.lookahead, form)

    def reference(self, core: StreamingCore | StreamingInfo, given: Tensor) -> Tensor:
        """The reference output of whole streams: that of the reference network.

        With reduced look-ahead it is that of the streaming form in PyTorch, called once for the
        whole stream.
        """
        if core.lookahead == self._whole().lookahead:
            expected: Tensor = self.model.network(given)
            return expected
        length = self.model.frame_length
        lookahead = core.lookahead // length
        return run_streaming(self._build(given.shape[-1] // length + lookahead, lookahead), given)

    def _whole(self) -> StreamingCore:
        """The form with the network's whole look-ahead."""
        options = self.options or StreamingOptions()
        chunk = options.chunk if options.lookahead is None else None
        return self._build(chunk or 1, None)

    def _build(self, chunk: int, lookahead: int | None, form: Form = "fp32") -> StreamingCore:
        key = (chunk, lookahead, form)
        if key not in self._built:
            self._built[key] = self.model.family.streaming(self.model.network, *key)
        return self._built[key]


def bundled_options(manifest: Manifest) -> StreamingOptions | None:
    """The options of a bundle's streaming core; None without one."""
    entry = manifest.file("core_streaming", "onnx")
    if entry is None or entry.streaming is None:
        return None
    length, info = manifest.frame_length, entry.streaming
    return StreamingOptions(info.chunk // length, info.lookahead // length)


def streaming_tensors(model: LoadedModel, core: StreamingCore) -> tuple[TensorSpec, TensorSpec]:
    """Input and output of one call: as in `core.onnx`, `chunk` frames or samples long."""
    stft = model.spec.stft
    shape = ("batch", 1, core.chunk) if stft is None else ("batch", 2, stft.bins, core.chunk)
    names = ("wave" if stft is None else "spec", "enhanced")
    given, enhanced = (TensorSpec(name=name, dtype="float32", shape=shape) for name in names)
    return given, enhanced


def state_tensors(core: StreamingCore) -> tuple[TensorSpec, ...]:
    """The further inputs of one call: the end, if the core needs it, and the states."""
    ends = (TensorSpec(name=_END, dtype="float32", shape=("batch",)),) if core.end else ()
    return *ends, *(state.tensor(state.name) for state in core.states)


def streaming_info(core: StreamingCore) -> StreamingInfo:
    """The manifest's description of a streaming core."""
    return StreamingInfo(
        chunk=core.chunk,
        lookahead=core.lookahead,
        states=core.states,
        end=_END if core.end else None,
    )


def onnx_from_streaming(
    model: LoadedModel, core: StreamingCore, name: str, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """Export and check a core, any number of streams in a batch.

    Raises as `onnx_from_module`, and UserError for a recurrent layer that goes backwards in time.
    """
    require_causal(core.module)
    given, enhanced = streaming_tensors(model, core)
    examples = [torch.randn(_BATCH, *map(int, given.shape[1:]))]
    if core.end:
        examples.append(torch.full((_BATCH,), 2.0 * core.chunk))
    return onnx_from_module(
        core.module,
        (*examples, *core.initial(_BATCH)),
        (given, *state_tensors(core)),
        (enhanced, *(state.tensor(state.next) for state in core.states)),
        name,
        metadata,
    )
