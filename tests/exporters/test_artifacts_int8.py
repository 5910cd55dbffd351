"""What INT8 files for processors are made from: a small FRCRN, whole and as a stream."""

from collections.abc import Iterator
from dataclasses import replace

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch

from frcrn_export.exporters.artifacts import int8_source
from frcrn_export.exporters.families.frcrn import FAMILY as family
from frcrn_export.exporters.graphs import core_graph
from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.registry import find_model
from frcrn_export.exporters.streaming_core import StreamingCore, run_streaming
from frcrn_export.exporters.streaming_export import (
    StreamingForms,
    StreamingOptions,
    streaming_info,
    streaming_tensors,
)
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.bundle.manifest import FileEntry, StftSpec, Weights
from tests.bundles import core_entry
from tests.exporters.families.frcrn.test_lowered import random_network
from tests.exporters.families.frcrn.test_streaming import SMALL

pytestmark = pytest.mark.slow

STFT = StftSpec(window_length=48, hop_length=24, fft_length=48)  # the bins of SMALL


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    network = random_network(replace(SMALL, pooling="cumulative"))
    return LoadedModel(
        spec=replace(find_model("frcrn-16k"), stft=STFT),
        network=network,
        lowered=family.lower(network).eval(),
        family=family,
        settings={"squeeze_excite": "cumulative"},
        processing=family.processing(family.models[0], network, {}),
        variant={"squeeze_excite": "cumulative"},
        weights=Weights(source="random", name="seed 0", seed=0),
    )


@pytest.fixture
def offline(model: LoadedModel) -> FileEntry:
    graph = core_graph(model)
    return msgspec.structs.replace(core_entry(STFT), inputs=(graph.input,), outputs=(graph.output,))


def spectrum(frames: int, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randn(batch, 2, STFT.bins, frames, generator=generator)


def session(exported: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(exported.SerializeToString())


def shapes(values: list[onnx.ValueInfoProto]) -> dict[str, tuple[int | str, ...]]:
    return {
        value.name: tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in values
    }


def operators(exported: onnx.ModelProto) -> Iterator[str]:
    return (node.op_type for node in exported.graph.node)


def test_whole_it_equals_the_network(model: LoadedModel, offline: FileEntry) -> None:
    exported, entry = int8_source(model, offline)
    assert entry is offline
    assert shapes(exported.graph.input) == {"spec": ("batch", 2, STFT.bins, "frames")}
    assert shapes(exported.graph.output) == {"enhanced": ("batch", 2, STFT.bins, "frames")}
    assert "MatMul" in operators(exported)
    there = session(exported)
    for frames, batch in ((1, 1), (9, 2), (40, 3)):
        spec = spectrum(frames, batch)
        with torch.inference_mode():
            expected = model.network(spec).numpy()
            core = model.lowered(spec).numpy()
        (output,) = there.run(None, {"spec": spec.numpy()})
        assert snr_db(expected, output) > 90
        assert snr_db(core, output) > 90


def test_as_a_stream_it_equals_the_float_core(model: LoadedModel) -> None:
    core = StreamingForms(model, StreamingOptions(2)).core()
    given, enhanced = streaming_tensors(model, core)
    float32 = msgspec.structs.replace(
        core_entry(STFT, path="core.streaming.onnx", role="core_streaming"),
        inputs=(given,),
        outputs=(enhanced,),
        streaming=streaming_info(core),
    )
    exported, entry = int8_source(model, float32)
    assert entry.streaming is not None
    assert float32.streaming is not None
    assert (entry.streaming.chunk, entry.streaming.lookahead, entry.streaming.end) == (
        float32.streaming.chunk,
        float32.streaming.lookahead,
        float32.streaming.end,
    )
    assert entry.streaming.states != float32.streaming.states
    assert (entry.path, entry.inputs, entry.outputs) == (float32.path, (given,), (enhanced,))
    # What the entry says is what the file has.
    assert shapes(exported.graph.input) == {t.name: t.shape for t in entry.call_inputs}
    assert shapes(exported.graph.output) == {t.name: t.shape for t in entry.call_outputs}

    there = session(exported)
    names = [tensor.name for tensor in entry.call_inputs]

    class InOnnxRuntime(torch.nn.Module):
        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            feeds = {n: t.numpy() for n, t in zip(names, tensors, strict=True)}
            outputs: list[npt.NDArray[np.float32]] = there.run(None, feeds)
            return tuple(map(torch.from_numpy, outputs))

    info = entry.streaming
    rows = StreamingCore(InOnnxRuntime(), info.chunk, info.lookahead, info.states, bool(info.end))
    spec = spectrum(31, batch=2)
    with torch.inference_mode():
        expected = run_streaming(core, spec).numpy()
        output = run_streaming(rows, spec).numpy()
        assert snr_db(model.network(spec).numpy(), output) > 90
    assert snr_db(expected, output) > 90
