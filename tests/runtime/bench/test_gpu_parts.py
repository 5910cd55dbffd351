"""The parts of a call: on a GPU whose clock the test knows, and events on a real one."""

import logging
from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime.bench.bench import bench
from frcrn_export.runtime.bench.cases import Case, Wanted
from frcrn_export.runtime.bench.gpu_parts import EngineSteps, measure_parts, open_lane
from frcrn_export.runtime.bench.result import Parts
from frcrn_export.runtime.bundle.manifest import TensorrtBackend
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.gpu import TensorMemory, first_gpu, use_gpu
from frcrn_export.runtime.streaming.tensorrt_session import open_engine
from tests.bundles import STFT, write_bundle
from tests.standin.gpu import SimulatedGpu
from tests.standin.install import add_engine
from tests.streaming_bundles import Core, write_streaming_bundle

BACKENDS: tuple[TensorrtBackend, ...] = ("tensorrt", "tensorrt-rtx")
RATE = 16_000
BENCH = "frcrn_export.runtime.bench"
SPEECH = np.ones(RATE, np.float32)


def core_case(root: Path, backend: TensorrtBackend = "tensorrt") -> tuple[Bundle, Case]:
    """A network that doubles recordings of at most a second, three in a call."""
    write_bundle(root, gain=2.0)
    entry = add_engine(root, backend, low=(1, 1, 1), best=(1, 1, 100), high=(4, 1, RATE))
    return open_bundle(root), Case(entry, backend, "core", 1, 3, 0.02)


def stream_case(root: Path, backend: TensorrtBackend = "tensorrt") -> tuple[Bundle, Case]:
    """A network with states that reads where streams end, for two streams."""
    write_streaming_bundle(root, Core("halved_end", 1, 2))
    shape = (2, 2, STFT.bins, 1)
    entry = add_engine(root, backend, low=shape, best=shape, high=shape)
    return open_bundle(root), Case(entry, backend, "hops", 1, 2, STFT.hop_length / RATE)


def measured(gpu: SimulatedGpu, bundle: Bundle, case: Case) -> Parts:
    return measure_parts(bundle, case, SPEECH, clock=lambda: gpu.host_ms / 1e3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("make", [core_case, stream_case])
def test_each_time_lands_in_its_part(
    gpu: SimulatedGpu, tmp_path: Path, make: type, backend: TensorrtBackend
) -> None:
    gpu.upload_ms, gpu.compute_ms, gpu.download_ms = 0.5, 7.0, 0.25
    gpu.launch_ms, gpu.enqueue_ms, gpu.call_ms = 0.1, 0.4, 0.05
    bundle, case = make(tmp_path / "b", backend)
    found = measured(gpu, bundle, case)
    inputs = 1 if case.kind == "core" else 2  # chunks, and where streams end
    assert found.h2d == pytest.approx(inputs * 0.5)
    assert found.compute == pytest.approx(7.0)
    assert found.d2h == pytest.approx(0.25)
    # Classic TensorRT's network is a graph of ours, TensorRT-RTX makes its own.
    assert found.enqueue == pytest.approx(0.1 if backend == "tensorrt" else 0.4)
    assert (gpu.graph_launches > 0) == (backend == "tensorrt")


def test_an_idle_gpu_waits_for_the_host_and_a_busy_one_does_not(
    gpu: SimulatedGpu, tmp_path: Path
) -> None:
    gpu.call_ms = 0.5
    bundle, case = core_case(tmp_path / "b")
    lane = open_lane(bundle, case.entry)
    steps = EngineSteps(lane, (lane.bind((1, 1, 100)),), lambda: gpu.host_ms / 1e3)
    (alone,) = steps.run(1)
    assert alone.h2d == pytest.approx(gpu.upload_ms + gpu.call_ms)
    first, *others = steps.run(4)
    assert first.h2d == pytest.approx(alone.h2d)
    assert [each.h2d for each in others] == pytest.approx([gpu.upload_ms] * 3)


def test_the_steps_compute_what_the_session_does(gpu: SimulatedGpu, tmp_path: Path) -> None:
    bundle, case = core_case(tmp_path / "b")
    lane = open_lane(bundle, case.entry)
    for samples in (100, 7):
        bound = lane.bind((1, 1, samples))
        steps = EngineSteps(lane, (bound,))
        bound.inputs[0].host[...] = samples
        steps.run(2)
        np.testing.assert_array_equal(bound.output.host, np.full((1, 1, samples), 2.0 * samples))


def test_streams_take_their_two_directions_in_turn(gpu: SimulatedGpu, tmp_path: Path) -> None:
    """The states of each call are those that the call before has written."""
    write_streaming_bundle(tmp_path / "b", Core("one_pole", chunk=4), stft=None)
    shape = (1, 1, 4)
    entry = add_engine(tmp_path / "b", low=shape, best=shape, high=shape)
    session = open_engine(open_bundle(tmp_path / "b"), entry, 1)
    steps = EngineSteps(session, session.bound)
    session.reset()
    session.inputs[...] = 1
    outputs = []
    for _ in range(3):
        steps.run(1)
        outputs += [*session.bound[0].output.host[0, 0]]
    np.testing.assert_allclose(outputs, 2 - 0.5 ** np.arange(12))


def test_without_graphs_the_network_itself_is_enqueued(gpu: SimulatedGpu, tmp_path: Path) -> None:
    gpu.capture_fails = True
    gpu.launch_ms, gpu.enqueue_ms = 0.1, 0.4
    bundle, case = core_case(tmp_path / "b")
    assert measured(gpu, bundle, case).enqueue == pytest.approx(0.4)


def test_a_call_that_fails_leaves_nothing_behind(gpu: SimulatedGpu, tmp_path: Path) -> None:
    bundle, case = core_case(tmp_path / "b", "tensorrt-rtx")
    lane = open_lane(bundle, case.entry)
    steps = EngineSteps(lane, (lane.bind((1, 1, 100)),))
    gpu.execution_fails = "the device is lost"
    with pytest.raises(BackendError, match="the device is lost"):
        steps.run(2)
    gpu.execution_fails = ""
    assert len(steps.run(2)) == 2


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cold starts, whose processes see no simulated GPU, and little time for the rest."""
    monkeypatch.setattr(f"{BENCH}.bench._cold_starts", lambda *_: [])
    for name in ("measure._WARM_UP_SECONDS", "gpu_parts._WARM_UP_SECONDS", "gpu_parts._SECONDS"):
        monkeypatch.setattr(f"{BENCH}.{name}", 0.0)


def test_bench_has_the_parts_of_engines(
    gpu: SimulatedGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "b"
    write_bundle(root)
    add_engine(root, low=(1, 1, 320), best=(1, 1, 320), high=(1, 1, RATE))
    hurry(monkeypatch)
    wanted = Wanted(lengths=(0.02,), batches=(1, 2), threads=(1,))
    rows = bench(open_bundle(root), wanted, seconds=0.1).rows
    parts = {(row.backend, row.kind, row.batch): row.parts for row in rows}
    engine = parts.pop(("tensorrt", "core", 1))
    assert engine is not None
    assert (engine.h2d, engine.compute, engine.d2h) == pytest.approx((1.0, 5.0, 2.0))
    assert parts == dict.fromkeys(parts)
    (refused,) = (row for row in rows if row.batch == 2 and row.backend == "tensorrt")
    assert "its profile" in refused.failed


def test_a_row_without_its_parts_keeps_its_times(
    gpu: SimulatedGpu,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = tmp_path / "b"
    write_bundle(root)
    add_engine(root, low=(1, 1, 320), best=(1, 1, 320), high=(1, 1, RATE))
    hurry(monkeypatch)

    def fails(*_: object) -> Parts:
        raise BackendError("no memory")

    monkeypatch.setattr(f"{BENCH}.bench.measure_parts", fails)
    wanted = Wanted(backends=("tensorrt",), kinds=("core",), lengths=(0.02,), batches=(1,))
    with caplog.at_level(logging.WARNING):
        (row,) = bench(open_bundle(root), wanted, seconds=0.1).rows
    assert (row.parts, row.failed) == (None, "")
    assert row.summary is not None
    assert "1 thread: no parts: no memory" in caplog.text


def test_events_are_subtracted_as_cuda_does(gpu: SimulatedGpu) -> None:
    check_events()
    from cuda.core import EventOptions

    device, stream = use_gpu(), use_gpu().create_stream()
    timed = [device.create_event(EventOptions(timing_enabled=True)) for _ in range(2)]
    for event in timed:
        stream.record(event)
    with pytest.raises(RuntimeError, match="not completed"):
        timed[1] - timed[0]
    stream.sync()
    assert timed[1] - timed[0] == 0.0


def has_gpu() -> bool:
    try:
        return first_gpu().sm > 0
    except BackendError:
        return False


@pytest.mark.skipif(not has_gpu(), reason="needs a GPU")
def test_events_of_a_real_gpu() -> None:
    check_events()


def check_events() -> None:
    """What `EngineSteps` relies on, of the GPU that is there."""
    device = use_gpu()
    from cuda.core import EventOptions

    stream, options = device.create_stream(), EventOptions(timing_enabled=True)
    view = TensorMemory(device, (1 << 16,), stream).view((1 << 16,))
    begun, uploaded, never = (device.create_event(options) for _ in range(3))
    without = device.create_event()
    for _ in range(2):  # an event may be recorded again
        stream.record(begun)
        view.upload(stream)
        stream.record(uploaded)
        stream.record(without)
        stream.sync()
        assert uploaded - begun > 0
        assert begun - uploaded == pytest.approx(-(uploaded - begun))
    with pytest.raises(RuntimeError, match="must be recorded"):
        uploaded - never
    with pytest.raises(RuntimeError, match="timing"):
        without - begun
