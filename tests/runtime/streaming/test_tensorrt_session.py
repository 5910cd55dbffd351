"""Streaming engines on a stand-in for the GPU, against ONNX Runtime on the processor."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, TensorrtBackend
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.streaming import StreamingDenoiser
from frcrn_export.runtime.streaming.session import StreamSession, open_stream_session
from frcrn_export.runtime.verify.engine_status import record_runs
from frcrn_export.runtime.verify.parity import check_bundle
from frcrn_export.runtime.verify.streaming_parity import open_streamed
from tests.bundles import STFT, write_manifest
from tests.checked_streams import write_checked_bundle
from tests.standin.gpu import SimulatedGpu
from tests.standin.install import add_engine
from tests.streaming_bundles import Core, write_streaming_bundle

TENSORRT_BACKENDS: tuple[TensorrtBackend, ...] = ("tensorrt", "tensorrt-rtx")
CORES = [Core("delay", 2, 3), Core("halved_end", 1, 2), Core("one_pole", 64)]


def engine_bundle(
    path: Path, core: Core, backend: TensorrtBackend = "tensorrt", batch: int = 1, **changes: object
) -> Bundle:
    if not path.exists():
        write_streaming_bundle(path, core, None if core.kind == "one_pole" else STFT)
    entry = open_bundle(path).manifest.files[0]
    shape = (batch, *map(int, entry.inputs[0].shape[1:]))
    add_engine(path, backend, low=shape, best=shape, high=shape, **changes)  # type: ignore[arg-type]
    return open_bundle(path)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def denoised(bundle: Bundle, backend: str, wave: np.ndarray) -> np.ndarray:
    denoiser = StreamingDenoiser.open(bundle, backend)
    parts = [denoiser.process(chunk) for chunk in np.array_split(wave, 7)]
    return np.concatenate([*parts, denoiser.flush()])


def calls(session: StreamSession, given: np.ndarray, end: float = UNKNOWN_END) -> np.ndarray:
    """Given [calls, B, ...] to the outputs of the same shape."""
    ends = np.full(given.shape[1], end, np.float32)
    return np.stack([session.run(call, ends).copy() for call in given])


@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
@pytest.mark.parametrize("core", CORES, ids=lambda core: core.kind)
def test_a_stream_is_what_it_is_on_the_processor(
    gpu: SimulatedGpu, tmp_path: Path, core: Core, backend: TensorrtBackend
) -> None:
    bundle = engine_bundle(tmp_path / "b", core, backend)
    wave = noise(5_000)
    expected = denoised(bundle, "onnxruntime-cpu", wave)
    np.testing.assert_array_equal(denoised(bundle, backend, wave), expected)
    assert np.abs(expected).max() > 0.1


def test_a_real_network_with_many_states(
    gpu: SimulatedGpu, wave_unet_streaming: Path, tmp_path: Path
) -> None:
    path = shutil.copytree(wave_unet_streaming, tmp_path / "b")
    entry = open_bundle(path).manifest.file("core_streaming", "onnx")
    assert entry is not None
    assert entry.streaming is not None
    shape = (1, *map(int, entry.inputs[0].shape[1:]))
    streaming_first(path)
    add_engine(path, "tensorrt", low=shape, best=shape, high=shape)
    bundle = open_bundle(path)
    wave = noise(3_000)
    expected = denoised(bundle, "onnxruntime-cpu", wave)
    np.testing.assert_allclose(denoised(bundle, "tensorrt", wave), expected, atol=1e-6)


def streaming_first(path: Path) -> None:
    """`add_engine` takes a bundle's first ONNX file."""
    manifest = open_bundle(path).manifest
    files = sorted(manifest.files, key=lambda entry: entry.role != "core_streaming")
    write_manifest(path, msgspec.structs.replace(manifest, files=tuple(files)))


@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
def test_each_call_is_one_graph_and_allocates_nothing(
    gpu: SimulatedGpu, tmp_path: Path, backend: TensorrtBackend
) -> None:
    bundle = engine_bundle(tmp_path / "b", Core("halved_end", 1, 2), backend)
    session = open_stream_session(bundle, backend)
    assert (session.backend, session.device) == (backend, "cuda")
    before = gpu.used(on_device=True), gpu.used(on_device=False), gpu.executions, gpu.contexts
    assert gpu.graph_launches == 0
    calls(session, noise(9, 1, 2, STFT.bins, 1))
    assert gpu.graph_launches == (9 if backend == "tensorrt" else 0)  # RTX has its own graphs
    after = gpu.used(on_device=True), gpu.used(on_device=False), gpu.executions - 9, gpu.contexts
    assert after == before
    assert gpu.contexts == 2  # one a direction


def test_without_a_graph_it_goes_on(gpu: SimulatedGpu, tmp_path: Path) -> None:
    gpu.capture_fails = True
    bundle = engine_bundle(tmp_path / "b", Core("delay", 1, 3))
    given = noise(8, 1, 2, STFT.bins, 1)
    session = open_stream_session(bundle, "tensorrt")
    np.testing.assert_array_equal(calls(session, given)[3:], given[:5])
    assert gpu.graph_launches == 0


@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
def test_states_of_rows_are_kept_moved_and_reset(
    gpu: SimulatedGpu, tmp_path: Path, backend: TensorrtBackend
) -> None:
    bundle = engine_bundle(tmp_path / "b", Core("halved_end", 1, 2), backend, batch=3)
    cpu = open_stream_session(bundle, "onnxruntime-cpu")
    cpu.load([state.repeat(3, axis=0) for state in cpu.initial_states()], 3)
    session = open_stream_session(bundle, backend, batch=3)
    for turn, rows in enumerate((None, [1], [0, 2], [])):
        given = noise(3, 3, 2, STFT.bins, 1, seed=turn)
        np.testing.assert_array_equal(calls(session, given, 7), calls(cpu, given, 7))
        for one, other in zip(session.states(), cpu.states(), strict=True):
            np.testing.assert_array_equal(one, other)
        for each in (session, cpu):
            each.reset(rows)
    moved = [np.roll(state, 1, axis=0) for state in session.states()]
    given = noise(4, 3, 2, STFT.bins, 1, seed=9)
    for each in (session, cpu):
        each.load(moved, 3)
    np.testing.assert_array_equal(calls(session, given), calls(cpu, given))


def test_its_own_buffers_need_no_copy(gpu: SimulatedGpu, tmp_path: Path) -> None:
    bundle = engine_bundle(tmp_path / "b", Core("one_pole", 4))
    session = open_stream_session(bundle, "tensorrt")
    session.inputs[...] = 1
    session.ends[...] = UNKNOWN_END
    output = session.run(session.inputs, session.ends)
    np.testing.assert_array_equal(output[0, 0], [1, 1.5, 1.75, 1.875])


def test_an_engine_for_another_number_of_streams(gpu: SimulatedGpu, tmp_path: Path) -> None:
    bundle = engine_bundle(tmp_path / "b", Core("delay", 1, 1), batch=4)
    with pytest.raises(BackendError) as caught:
        StreamingDenoiser.open(bundle, "tensorrt")
    command = f"frcrn-export trt {bundle.path} --fp16 --streaming --batch"
    again = "--gpu rtx4090d --backend tensorrt --force"
    name = "core_streaming.batch4.fp16.sm89.tensorrt.engine"
    expected = f"{name} is for 4 streams at once, not 1; run: {command} 1 {again}"
    assert str(caught.value) == expected
    session = open_stream_session(bundle, "tensorrt", batch=4)
    assert (len(session.inputs), session.entry.precision) == (4, "fp16")
    with pytest.raises(BackendError, match=r"is for 4 streams .* not 2; run: .* --batch 2 .*e$"):
        session.load(session.initial_states(), 2)
    # `auto` takes ONNX Runtime then, and the engine where it fits.
    assert open_stream_session(bundle).backend == "onnxruntime"
    assert open_stream_session(bundle, batch=4).backend == "tensorrt"
    both = engine_bundle(bundle.path, Core("delay", 1, 1), batch=1)
    assert open_stream_session(both).backend == "tensorrt"
    assert len(open_stream_session(both).inputs) == 1


def test_auto_falls_back_where_the_engine_does_not_run(gpu: SimulatedGpu, tmp_path: Path) -> None:
    bundle = engine_bundle(tmp_path / "b", Core("delay"), sm=86)
    assert open_stream_session(bundle).backend == "onnxruntime"
    with pytest.raises(BackendError, match=r"is for rtx4090d \(SM 8\.6\), this GPU is .*--stream"):
        open_stream_session(bundle, "tensorrt")


def test_a_bundle_without_a_streaming_engine(gpu: SimulatedGpu, tmp_path: Path) -> None:
    bundle = open_bundle(write_streaming_bundle(tmp_path / "b", Core()))
    with pytest.raises(BackendError) as caught:
        open_stream_session(bundle, "tensorrt-rtx", batch=8)
    assert str(caught.value) == (
        f"{bundle.path}: no streaming engine file in this bundle for tensorrt-rtx; run: "
        f"frcrn-export trt {bundle.path} --fp16 --streaming --batch 8 "
        "--gpu auto --backend tensorrt-rtx"
    )


def test_an_engine_with_other_states_than_the_manifest_says(
    gpu: SimulatedGpu, tmp_path: Path
) -> None:
    other = write_streaming_bundle(tmp_path / "other", Core("halved_end", 1, 2))
    onnx = (other / "core.streaming.onnx").read_bytes()
    from tests.standin.tensorrt import PlanHeader, make_plan

    shape = (1, 2, STFT.bins, 1)
    plan = make_plan(onnx, PlanHeader("tensorrt", (shape, shape, shape)))
    bundle = engine_bundle(tmp_path / "b", Core("delay", 1, 2), plan=plan)
    with pytest.raises(
        BackendError, match="'index' FLOAT.* says.*--streaming --batch 1 .*--force$"
    ):
        open_stream_session(bundle, "tensorrt")


def test_a_failed_call_gives_the_reason_and_reset_goes_on(
    gpu: SimulatedGpu, tmp_path: Path
) -> None:
    bundle = engine_bundle(tmp_path / "b", Core("delay", 1, 2), "tensorrt-rtx")
    session = open_stream_session(bundle, "tensorrt-rtx")
    given = noise(5, 1, 2, STFT.bins, 1)
    calls(session, given)
    gpu.execution_fails = "Cask convolution failed"
    with pytest.raises(BackendError, match="tensorrt-rtx failed: .*Cask convolution failed"):
        calls(session, given)
    gpu.execution_fails = ""
    session.reset()
    np.testing.assert_array_equal(calls(session, given)[2:], given[:3])


@pytest.mark.parametrize("batch", [1, 2])
def test_the_bundle_proves_its_engine_in_groups_of_its_rows(
    gpu: SimulatedGpu, tmp_path: Path, batch: int
) -> None:
    bundle = engine_bundle(tmp_path / "b", Core("delay", 2, 3), batch=batch)
    (core,) = open_streamed(bundle, ("tensorrt",))
    given = noise(5, 2, STFT.bins, 9)
    np.testing.assert_array_equal(core(given), given)
    unnamed = [core.entry.format for core in open_streamed(bundle)]
    assert unnamed == ["onnx", "engine"]


def test_a_run_of_the_engine_is_written_down(gpu: SimulatedGpu, tmp_path: Path) -> None:
    path = write_checked_bundle(tmp_path / "b", Core("delay", 2, 3))
    bundle = engine_bundle(path, Core("delay", 2, 3), "tensorrt-rtx")
    results = list(check_bundle(bundle, ("tensorrt-rtx",)))
    name = "core_streaming.fp16.sm89.tensorrt-rtx.engine"
    of_engine = [result for result in results if result.artifact == name]
    assert [(r.case, r.floor_db, r.passed) for r in of_engine] == [("streaming.noise", 45.0, True)]
    recorded = record_runs(bundle, results, gpu.name)
    (engine,) = [entry.engine for entry in recorded.files if entry.engine is not None]
    assert engine.verified_on == gpu.name
    assert "passed all 1 comparisons" in engine.verification
