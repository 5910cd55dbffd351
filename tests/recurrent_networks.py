"""A mask network of convolutions and a GRU or LSTM, offline and call by call."""

from __future__ import annotations

from pathlib import Path

import msgspec
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcrn_export.exporters.onnx_export import Graph, onnx_from_graph, onnx_from_module
from frcrn_export.exporters.streaming_core import States, StatesRecorder, StreamingCore
from frcrn_export.exporters.streaming_export import streaming_info
from frcrn_export.runtime.bundle.manifest import FileEntry, Role, TensorSpec
from frcrn_export.runtime.bundle.reader import sha256_of
from tests.bundles import STFT, manifest, write_manifest

BINS = 65


class MaskNetwork(nn.Module):
    """spec [B, 2, F, T] to enhanced of the same shape; looks at no future frame."""

    def __init__(
        self, kind: type[nn.RNNBase] = nn.GRU, layers: int = 1, bins: int = BINS, width: int = 32
    ) -> None:
        super().__init__()
        self.bins = bins
        self.first = nn.Conv1d(2 * bins, width, 3)
        self.before = nn.Conv1d(width, width, 3)
        self.recurrent = kind(width, 24, layers, batch_first=True)
        self.behind = nn.Conv1d(24, width, 1)
        self.mask = nn.Conv1d(width, bins, 1)

    def forward(self, spec: Tensor) -> Tensor:
        x = F.relu(self.first(F.pad(spec.flatten(1, 2), (2, 0))))
        x = F.relu(self.before(F.pad(x, (2, 0))))
        return self.masked(spec, self.recurrent(x.transpose(1, 2))[0])

    def step(self, spec: Tensor, states: States) -> Tensor:
        x = F.relu(self.first(states.past("first", spec.flatten(1, 2), 2)))
        x = F.relu(self.before(states.past("before", x, 2)))
        return self.masked(spec, states.recurrent("recurrent", self.recurrent, x.transpose(1, 2)))

    def masked(self, spec: Tensor, y: Tensor) -> Tensor:
        mask = torch.sigmoid(self.mask(F.relu(self.behind(y.transpose(1, 2)))))
        return spec * mask[:, None]


class _Streaming(nn.Module):
    def __init__(self, network: MaskNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, spec: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        following = States(states)
        return self.network.step(spec, following), *following.next


def mask_network(kind: type[nn.RNNBase] = nn.GRU, layers: int = 1, bins: int = BINS) -> MaskNetwork:
    torch.manual_seed(0)
    return MaskNetwork(kind, layers, bins).eval()


@torch.no_grad()
def mask_core(network: MaskNetwork, chunk: int = 1) -> StreamingCore:
    """Its streaming form."""
    recorder = StatesRecorder(1, torch.float32)
    network.step(torch.zeros(1, 2, network.bins, chunk), recorder)
    return StreamingCore(_Streaming(network), chunk, 0, tuple(recorder.specs), end=False)


def spec_tensor(name: str, frames: int | str, bins: int = BINS) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=("batch", 2, bins, frames))


def offline_onnx(network: MaskNetwork) -> onnx.ModelProto:
    tensors = (spec_tensor(name, "frames", network.bins) for name in ("spec", "enhanced"))
    graph = Graph(network, torch.randn(2, 2, network.bins, 23), *tensors)
    return onnx_from_graph(graph, "offline", {})


def streaming_onnx(core: StreamingCore, bins: int = BINS) -> onnx.ModelProto:
    return onnx_from_module(
        core.module,
        (torch.randn(2, 2, bins, core.chunk), *core.initial(2)),
        (spec_tensor("spec", core.chunk, bins), *(s.tensor(s.name) for s in core.states)),
        (spec_tensor("enhanced", core.chunk, bins), *(s.tensor(s.next) for s in core.states)),
        "streaming",
        {},
    )


def write_recurrent_bundle(path: Path, kind: type[nn.RNNBase] = nn.GRU, chunk: int = 1) -> Path:
    """A bundle with `core.onnx` and `core.streaming.onnx` of a mask network."""
    path.mkdir(parents=True)
    network = mask_network(kind, layers=2, bins=STFT.bins)
    core = mask_core(network, chunk)
    onnx.save(offline_onnx(network), path / "core.onnx")
    onnx.save(streaming_onnx(core, STFT.bins), path / "core.streaming.onnx")

    def entry(name: str, role: Role, frames: int | str) -> FileEntry:
        given, enhanced = (spec_tensor(t, frames, STFT.bins) for t in ("spec", "enhanced"))
        return FileEntry(
            path=name,
            role=role,
            format="onnx",
            precision="fp32",
            sha256=sha256_of(path / name),
            bytes=(path / name).stat().st_size,
            inputs=(given,),
            outputs=(enhanced,),
        )

    streaming = msgspec.structs.replace(
        entry("core.streaming.onnx", "core_streaming", chunk), streaming=streaming_info(core)
    )
    files = (streaming, entry("core.onnx", "core", "frames"))
    write_manifest(path, msgspec.structs.replace(manifest(stft=STFT), files=files))
    return path
