"""Opening contenders: what each one needs, and the function that makes it ready to run."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from benchmarks.gpu_engines import engine_in_steps
from benchmarks.gpu_onnx import bound_onnx
from benchmarks.gpu_published import (
    CACHED_STFT,
    Recipe,
    reference_pipeline,
)
from benchmarks.gpu_runners import (
    DeviceRunner,
    Function,
    HostRunner,
    OverlappedRunner,
    Prepare,
    eager,
    graphed,
    new_stream,
    without_gradients,
)
from benchmarks.gpu_timing import Runner
from frcrn_export.exporters.graphs import core_graph, fp16_graph
from frcrn_export.exporters.loading import LoadedModel
from frcrn_export.exporters.onnx_export import onnx_from_graph
from frcrn_export.runtime.bundle.manifest import Precision
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.sessions.registry import artifact, open_session, require_backend


@dataclass(frozen=True)
class Setup:
    """What all contenders share: the network, the device, a bundle with engines if there is one."""

    model: LoadedModel
    device: torch.device
    bundle: Bundle | None = None

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @cached_property
    def stream(self) -> torch.cuda.Stream | None:
        """Where contenders of one stream run. Not the default one: ONNX Runtime refuses that."""
        return new_stream() if self.on_gpu else None

    def runner(self, prepare: Prepare, shape: tuple[int, ...], pinned: bool = True) -> Runner:
        """How a function of one tensor runs here."""
        if self.stream is None:
            return HostRunner(shape, prepare)
        return DeviceRunner(shape, prepare, self.stream, pinned)


@dataclass(frozen=True)
class Opened:
    """A contender that can run here: a runner for each input shape, and what exactly it runs."""

    runner: Callable[[tuple[int, ...]], Runner]
    detail: str = ""


def a_gpu(setup: Setup) -> str:
    return "" if setup.on_gpu else "needs a CUDA GPU"


def a_bundle(setup: Setup) -> str:
    return "" if setup.bundle else "needs the bundle of an engine: --bundle DIR"


def published(recipe: Recipe) -> Callable[[Setup], Opened]:
    """A row of the published table, from memory that is not pinned."""

    def open_here(setup: Setup) -> Opened:
        here = recipe if setup.on_gpu else replace(recipe, fp16=False)
        function = reference_pipeline(setup.model, here, setup.device)
        detail = "float32: processors are slow in fp16" if here != recipe else ""
        return Opened(lambda shape: setup.runner(eager(function), shape, pinned=False), detail)

    return open_here


def overlapped(setup: Setup) -> Opened:
    function = reference_pipeline(setup.model, CACHED_STFT, setup.device)
    detail = "two frames in flight: the time is that between finished frames"
    return Opened(lambda shape: OverlappedRunner(shape, function), detail)


def reference_core(setup: Setup) -> Opened:
    network = without_gradients(_on_device(setup, setup.model.network))
    return Opened(lambda shape: setup.runner(eager(network), shape))


def compiled(setup: Setup) -> Opened:
    network = _on_device(setup, setup.model.network)

    def runner(shape: tuple[int, ...]) -> Runner:
        torch.compiler.reset()  # every shape is compiled for itself, and there is a limit
        function = torch.compile(network, dynamic=False, mode="reduce-overhead")

        @torch.no_grad()
        def run(x: Tensor) -> Tensor:
            return function(x)

        return setup.runner(eager(run), shape)

    return Opened(runner, "mode reduce-overhead, which replays CUDA graphs")


def lowered(setup: Setup) -> Opened:
    return _lowered(setup, setup.model.lowered)


def lowered_fp16(setup: Setup) -> Opened:
    return _lowered(setup, setup.model.family.gpu_form(setup.model.network))


def _lowered(setup: Setup, network: torch.nn.Module) -> Opened:
    function = without_gradients(_on_device(setup, network))
    if not setup.on_gpu:
        return Opened(lambda shape: setup.runner(eager(function), shape))
    return Opened(lambda shape: setup.runner(graphed(function), shape), "in a CUDA graph")


def onnx(precision: Precision) -> Callable[[Setup], Opened]:
    """ONNX Runtime's CUDA provider, or its CPU one; the bundle's file, or one exported now."""

    def open_here(setup: Setup) -> Opened:
        model, detail = _onnx_file(setup, precision)
        prepare = bound_onnx(model, setup.stream)
        return Opened(lambda shape: setup.runner(prepare, shape), detail)

    return open_here


def session(backend: str) -> Callable[[Setup], Opened]:
    """An engine through the runtime's session, as the denoiser runs it."""

    def open_here(setup: Setup) -> Opened:
        assert setup.bundle is not None
        opened = open_session(setup.bundle, backend)
        detail = f"{opened.entry.path}; copies and network are one graph, so there is no split"
        return Opened(lambda shape: lambda inputs: (opened.run(inputs), None), detail)

    return open_here


def steps(backend: str) -> Callable[[Setup], Opened]:
    """The engine that `session` runs, its copies and its network apart."""

    def open_here(setup: Setup) -> Opened:
        assert setup.bundle is not None
        require_backend(backend)
        entry = artifact(setup.bundle, backend)
        if entry is None:
            raise BackendError(f"{setup.bundle.path}: no engine in this bundle for {backend}")
        return Opened(engine_in_steps(setup.bundle, entry), entry.path)

    return open_here


def _on_device(setup: Setup, network: torch.nn.Module) -> Function:
    return copy.deepcopy(network).eval().to(setup.device)


def _onnx_file(setup: Setup, precision: Precision) -> tuple[bytes, str]:
    entry = setup.bundle.manifest.file("core", "onnx", precision) if setup.bundle else None
    if setup.bundle and entry:
        return setup.bundle.file(entry).read_bytes(), entry.path
    graph = (fp16_graph if precision == "fp16" else core_graph)(setup.model)
    return onnx_from_graph(graph, "core", {}).SerializeToString(), "exported for this run"
