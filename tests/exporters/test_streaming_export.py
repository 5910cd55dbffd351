from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.nn import functional as F

from frcrn_export.exporters.bundle import export_onnx
from frcrn_export.exporters.loading import LoadedModel, load_model
from frcrn_export.exporters.own_module import OwnModule, load_own_module
from frcrn_export.exporters.streaming_core import StreamingCore, run_streaming
from frcrn_export.exporters.streaming_export import (
    StreamingForms,
    StreamingOptions,
    bundled_options,
    onnx_from_streaming,
    streaming_info,
    streaming_tensors,
)
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.bundle.remedies import export_again
from frcrn_export.runtime.errors import UserError
from tests.exporters.own_modules import AHEAD, write


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model("wave-unet-16k", seed=3)


@pytest.fixture(scope="module")
def core(model: LoadedModel) -> StreamingCore:
    return StreamingForms(model, StreamingOptions(chunk=2)).core()


@pytest.fixture(scope="module")
def exported(model: LoadedModel, core: StreamingCore) -> onnx.ModelProto:
    return onnx_from_streaming(model, core, "streaming", {"weights": "none"})


def shapes(values: list[onnx.ValueInfoProto]) -> dict[str, tuple[int | str, ...]]:
    return {
        value.name: tuple(
            dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim
        )
        for value in values
    }


def test_inputs_and_outputs_are_named_as_in_the_manifest(
    model: LoadedModel, core: StreamingCore, exported: onnx.ModelProto
) -> None:
    given, enhanced = streaming_tensors(model, core)
    info = streaming_info(core)
    assert given.shape == ("batch", 1, 2 * 64)
    assert (info.chunk, info.lookahead, info.end) == (128, 0, None)
    inputs, outputs = shapes(exported.graph.input), shapes(exported.graph.output)
    assert inputs == {given.name: given.shape} | {s.name: s.shape for s in info.states}
    assert outputs == {enhanced.name: given.shape} | {s.next: s.shape for s in info.states}
    assert list(outputs)[1:] == [state.next for state in info.states]


def test_metadata_is_that_of_every_file(exported: onnx.ModelProto) -> None:
    properties = {entry.key: entry.value for entry in exported.metadata_props}
    assert properties == {"weights": "none"}
    assert (exported.graph.name, exported.producer_name) == ("streaming", "frcrn-export")
    assert exported.doc_string == "streaming: wave -> enhanced"


def test_the_weights_are_in_the_file_once(model: LoadedModel, exported: onnx.ModelProto) -> None:
    values = sum(int(np.prod(tensor.dims)) for tensor in exported.graph.initializer)
    parameters = sum(weight.numel() for weight in model.lowered.parameters())
    assert values < 1.1 * parameters  # 16 taps where a transposed convolution has 15


def ahead(tmp_path: Path, text: str = AHEAD) -> LoadedModel:
    path = write(tmp_path, "ahead", text)
    return load_own_module(OwnModule(f"{path}:Ahead", 16_000, level="none", multiple=64), seed=0)


@pytest.mark.parametrize("lookahead", [0, 1, 2, None])
def test_chunks_and_look_ahead_of_a_network_of_waves_are_hops(
    tmp_path: Path, lookahead: int | None
) -> None:
    """Asked for and said in hops, in samples in the core and in the manifest."""
    model = ahead(tmp_path)
    forms = StreamingForms(model, StreamingOptions(3, lookahead))
    core = forms.core()
    hops = 2 if lookahead is None else lookahead
    assert (core.chunk, core.lookahead) == (3 * 64, hops * 64)
    wave = torch.randn(2, 1, 10 * 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model.network.module.joined(wave, F.pad(wave, (0, hops * 64))[..., hops * 64 :])
        assert torch.equal(forms.reference(core, wave), expected)
        assert torch.equal(run_streaming(core, wave), expected)


def test_less_look_ahead_of_a_network_of_waves_is_exported_and_verified(tmp_path: Path) -> None:
    bundle = export_onnx(ahead(tmp_path), tmp_path / "b", streaming=StreamingOptions(2, 1))
    manifest = bundle.manifest
    info = next(entry.streaming for entry in manifest.files if entry.streaming)
    assert (info.chunk, info.lookahead) == (128, 64)
    assert bundled_options(manifest) == StreamingOptions(2, 1)
    assert "--streaming --chunk 2 --lookahead 1 " in export_again(manifest)
    streamed = [result for result in manifest.parity if "streaming" in result.case]
    assert streamed
    assert all(result.passed for result in streamed)


def test_a_look_ahead_of_part_of_a_hop_is_refused(tmp_path: Path) -> None:
    odd = ahead(tmp_path, AHEAD.replace("stream.lookahead * HOP", "stream.lookahead * HOP + 1"))
    with pytest.raises(UserError, match="gives a look-ahead of 65; return one of 64 samples"):
        StreamingForms(odd, StreamingOptions(1, 1)).core()


@pytest.mark.parametrize("batch", [1, 3])
def test_onnx_runtime_gives_what_the_network_gives(
    model: LoadedModel, core: StreamingCore, exported: onnx.ModelProto, batch: int
) -> None:
    session = onnxruntime.InferenceSession(exported.SerializeToString())

    class InOnnxRuntime(torch.nn.Module):
        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            names = [value.name for value in session.get_inputs()]
            feeds = {n: t.numpy() for n, t in zip(names, tensors, strict=True)}
            return tuple(map(torch.from_numpy, session.run(None, feeds)))

    there = StreamingCore(InOnnxRuntime(), core.chunk, core.lookahead, core.states, core.end)
    wave = 0.1 * torch.randn(batch, 1, 31 * 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model.network(wave).numpy()
        output = run_streaming(there, wave).numpy()
    assert snr_db(expected, output) > 100
