"""Put the stand-ins where the runtime looks for TensorRT and CUDA, and engines into bundles."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from frcrn_export.engines.ep_context import context_name, ep_context
from frcrn_export.runtime import gpu as runtime_gpu
from frcrn_export.runtime.bundle.layer_report import LayerReport
from frcrn_export.runtime.bundle.manifest import (
    EngineInfo,
    FileEntry,
    Precision,
    Profile,
    TensorrtBackend,
)
from frcrn_export.runtime.bundle.reader import open_bundle, sha256_of
from frcrn_export.runtime.sessions.tensorrt_backends import TENSORRT_BACKENDS
from tests.bundles import write_manifest
from tests.standin.cuda import Driver, make_cuda
from tests.standin.gpu import SimulatedGpu
from tests.standin.tensorrt import VERSIONS, PlanHeader, make_plan, make_tensorrt


@contextmanager
def simulated_gpu(
    monkeypatch: pytest.MonkeyPatch,
    cache: Path,
    backends: tuple[TensorrtBackend, ...] = tuple(TENSORRT_BACKENDS),
) -> Iterator[SimulatedGpu]:
    """A GPU, its driver and TensorRT in every backend of `backends`.

    At the end nothing may be left on the GPU, and nothing may have been done wrong.
    """
    gpu = SimulatedGpu()
    core, streams = make_cuda(gpu)
    monkeypatch.setitem(sys.modules, "cuda.core", core)
    driver = Driver(gpu)
    monkeypatch.setattr(runtime_gpu, "load_driver", lambda: driver)
    for backend, spec in TENSORRT_BACKENDS.items():
        module = make_tensorrt(gpu, streams, backend) if backend in backends else None
        monkeypatch.setitem(sys.modules, spec.module, module)
    monkeypatch.setenv("FRCRN_EXPORT_CACHE", str(cache))
    yield gpu
    gc.collect()
    for stream in streams.values():
        stream._drain()
    assert gpu.misuse == []
    assert (gpu.used(on_device=True), gpu.used(on_device=False)) == (0, 0)


def engine_info(profile: Profile, **changes: object) -> EngineInfo:
    """What a manifest says of an engine for the simulated GPU, with some of it changed."""
    info = EngineInfo(
        backend="tensorrt",
        version=VERSIONS["tensorrt"],
        cuda=13,
        gpu="rtx4090d",
        sms=(89,),
        source="core.onnx",
        source_sha256="0" * 64,
        profile=profile,
        layers="layers.json",
        verification="nothing",
    )
    return msgspec.structs.replace(info, **changes)


def add_engine(
    root: Path,
    backend: TensorrtBackend = "tensorrt",
    *,
    low: tuple[int, ...],
    best: tuple[int, ...],
    high: tuple[int, ...],
    precision: Precision = "fp16",
    sm: int = 89,
    activation: int = 1 << 20,
    plan: bytes | None = None,
    refittable: tuple[str, ...] = (),
    stripped: bool = False,
    source: str | None = None,
    context: bool = False,
    **changes: object,
) -> FileEntry:
    """Add an engine of one of a bundle's ONNX files, by default the first.

    With `context` it gets its EPContext file. `changes` are made to its `EngineInfo`.
    """
    bundle = open_bundle(root)
    onnx = [entry for entry in bundle.manifest.files if entry.format == "onnx"]
    core = next(entry for entry in onnx if source in (None, entry.path))
    streams = f".batch{high[0]}" if core.streaming and high[0] > 1 else ""
    path = root / f"{core.role}{streams}.{precision}.sm{sm}.{backend}.engine"
    header = PlanHeader(backend, (low, best, high), activation, refittable, stripped)
    path.write_bytes(make_plan(bundle.file(core).read_bytes(), header) if plan is None else plan)
    facts = {
        "backend": backend,
        "version": VERSIONS[backend],
        "sms": (sm,),
        "source": core.path,
        "source_sha256": core.sha256,
        "layers": f"{path.name}.layers.json",
        "refittable": bool(refittable),
        "stripped": stripped,
        "context": context_name(path.name) if context else None,
    }
    info = engine_info(Profile(min=low, opt=best, max=high), **{**facts, **changes})
    entry = FileEntry(
        path=path.name,
        role=core.role,
        format="engine",
        precision=precision,
        sha256=sha256_of(path),
        bytes=path.stat().st_size,
        inputs=core.inputs,
        outputs=core.outputs,
        engine=info,
        streaming=core.streaming,
    )
    layers = root / info.layers
    layers.write_bytes(LayerReport(layers=(), io=(), nodes={}).to_json())
    report = FileEntry(
        path=layers.name,
        role="layers",
        format="json",
        precision=precision,
        sha256=sha256_of(layers),
        bytes=layers.stat().st_size,
    )
    files = [*bundle.manifest.files, entry, report]
    if context:
        content, described = ep_context(entry)
        (root / described.path).write_bytes(content)
        files.append(described)
    write_manifest(root, msgspec.structs.replace(bundle.manifest, files=tuple(files)))
    return entry
