import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime.bundle.manifest import Segments, TensorrtBackend
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import BackendError
from frcrn_export.runtime.gpu import GpuMemoryError
from frcrn_export.runtime.sessions.registry import open_session
from frcrn_export.runtime.sessions.session import Session
from frcrn_export.runtime.sessions.tensorrt import Lanes, open_tensorrt
from tests.bundles import STFT, frcrn_segments, manifest, write_bundle
from tests.standin.gpu import SimulatedGpu
from tests.standin.install import add_engine
from tests.standin.tensorrt import make_tensorrt

TENSORRT_BACKENDS: tuple[TensorrtBackend, ...] = ("tensorrt", "tensorrt-rtx")


def wave_bundle(path: Path, backend: TensorrtBackend = "tensorrt", **changes: object) -> Bundle:
    """A waveform core that doubles, and an engine of it for up to 4 x 1000 samples."""
    root = write_bundle(path, gain=2.0)
    shapes = {"low": (1, 1, 1), "best": (1, 1, 100), "high": (4, 1, 1000)}
    add_engine(root, backend, **{**shapes, **changes})
    return open_bundle(root)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def check(session: Session, *shape: int, seed: int = 0) -> None:
    inputs = noise(*shape, seed=seed)
    output = session.run(inputs)
    assert output.dtype == np.float32
    np.testing.assert_array_equal(output, 2 * inputs)


@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
def test_shapes_and_batches_in_any_order(
    gpu: SimulatedGpu, tmp_path: Path, backend: TensorrtBackend
) -> None:
    session = open_session(wave_bundle(tmp_path / "bundle", backend), backend)
    assert (session.backend, session.device) == (backend, "cuda")
    shapes = [(1, 1, 1), (4, 1, 1000), (2, 1, 77), (1, 1, 100), (3, 1, 1000), (2, 1, 5)]
    for seed in range(4):
        for shape in shapes:
            check(session, *shape, seed=seed)


@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
def test_spectra(gpu: SimulatedGpu, tmp_path: Path, backend: TensorrtBackend) -> None:
    root = write_bundle(tmp_path / "bundle", manifest(stft=STFT), gain=2.0)
    low, best, high = (1, 2, 321, 1), (1, 2, 321, 50), (2, 2, 321, 80)
    add_engine(root, backend, low=low, best=best, high=high)
    session = open_session(open_bundle(root), backend)
    for frames in (1, 80, 7, 80, 80):
        check(session, 2, 2, 321, frames, seed=frames)


@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
def test_the_output_is_the_callers(
    gpu: SimulatedGpu, tmp_path: Path, backend: TensorrtBackend
) -> None:
    session = open_session(wave_bundle(tmp_path / "bundle", backend), backend)
    for _ in range(3):  # plain, captured and replayed
        first, second = noise(1, 1, 50, seed=1), noise(1, 1, 50, seed=2)
        kept = session.run(first)
        kept_again = session.run(second)
        kept_again += 1
        np.testing.assert_array_equal(kept, 2 * first)
        del first, second


@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
def test_eight_threads_share_a_session(
    gpu: SimulatedGpu, tmp_path: Path, backend: TensorrtBackend
) -> None:
    session = open_session(wave_bundle(tmp_path / "bundle", backend), backend)
    together = threading.Barrier(8)

    def work(thread: int) -> None:
        together.wait()
        for turn in range(20):
            check(session, 1 + turn % 4, 1, 50 + 10 * (thread % 3), seed=100 * thread + turn)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, thread) for thread in range(8)]:
            done.result()
    # Memory for input and output of 4 x 1000 floats and 1 MiB of activations, in 4 lanes at most.
    assert gpu.used(on_device=True) <= 4 * (2 * 16_000 + (1 << 20))


def test_memory_is_allocated_once(gpu: SimulatedGpu, tmp_path: Path) -> None:
    session = open_session(wave_bundle(tmp_path / "bundle"), "tensorrt")
    before = gpu.used(on_device=True), gpu.used(on_device=False)
    assert before == (2 * 16_000 + (1 << 20), 2 * 16_000)
    for samples in (1, 1000, 500, 500, 500):
        check(session, 4, 1, samples)
    assert (gpu.used(on_device=True), gpu.used(on_device=False)) == before


@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
def test_opening_warms_up_with_the_best_shape(
    gpu: SimulatedGpu, tmp_path: Path, backend: TensorrtBackend
) -> None:
    session = open_session(wave_bundle(tmp_path / "bundle", backend), backend)
    assert gpu.executions == 2
    check(session, 1, 1, 100)
    assert gpu.graph_launches == (1 if backend == "tensorrt" else 0)  # RTX has its own graphs
    assert gpu.compiled == ([] if backend == "tensorrt" else [(1, 1, 100)])


def test_tensorrt_10_runs_its_engines(
    gpu: SimulatedGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    old = make_tensorrt(gpu, sys.modules["tensorrt"].Runtime._streams, "tensorrt", "10.13.3.9")
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    session = open_session(wave_bundle(tmp_path / "bundle", version="10.13.3.9"), "tensorrt")
    check(session, 2, 1, 30)


def test_a_shape_outside_the_profile_says_how_to_build_for_it(
    gpu: SimulatedGpu, tmp_path: Path
) -> None:
    bundle = wave_bundle(tmp_path / "bundle", low=(1, 1, 10))
    session = open_session(bundle, "tensorrt")
    name = "core.fp16.sm89.tensorrt.engine"
    for shape, options in [
        ((1, 1, 2000), "--batch 1:1:4 --samples 10:100:2000"),
        ((5, 1, 100), "--batch 1:1:5 --samples 10:100:1000"),
        ((1, 1, 3), "--batch 1:1:4 --samples 3:100:1000"),
    ]:
        with pytest.raises(BackendError) as caught:
            session.run(noise(*shape))
        assert str(caught.value) == (
            f"{name}: its profile takes [1, 1, 10] to [4, 1, 1000], got {list(shape)}; run: "
            f"frcrn-export trt {bundle.path} --fp16 {options} --gpu rtx4090d --backend tensorrt "
            "--force"
        )
    with pytest.raises(BackendError, match=r"is \[batch, 1, samples\], got \[1, 2, 100\]"):
        session.run(noise(1, 2, 100))
    check(session, 1, 1, 10)


@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
def test_a_failed_run_gives_tensorrts_reason_and_the_next_one_works(
    gpu: SimulatedGpu, tmp_path: Path, backend: TensorrtBackend
) -> None:
    session = open_session(wave_bundle(tmp_path / "bundle", backend), backend)
    gpu.execution_fails = "Cask convolution\nfailed"
    with pytest.raises(BackendError) as caught:
        session.run(noise(1, 1, 50))
    assert str(caught.value) == (
        f"core.fp16.sm89.{backend}.engine: {backend} failed: IExecutionContext::enqueueV3: "
        "Error Code 3: API Usage Error (Cask convolution failed)"
    )
    gpu.execution_fails = ""
    check(session, 1, 1, 50)


@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
def test_a_full_gpu_says_what_needs_less(
    gpu: SimulatedGpu, tmp_path: Path, backend: TensorrtBackend
) -> None:
    gpu.total_memory = 1 << 29
    bundle = wave_bundle(tmp_path / "bundle", backend, activation=1 << 30)
    with pytest.raises(BackendError) as caught:
        open_session(bundle, backend)
    message = str(caught.value)
    reason = "OUT_OF_MEMORY" if backend == "tensorrt" else "could not be allocated"
    assert reason in message
    assert "\n" not in message
    assert message.endswith(
        "free some memory of the GPU (NVIDIA GeForce RTX 4090 D, 0 GiB), or run: frcrn-export trt "
        f"{bundle.path} --fp16 --batch 1 --samples 1:1:100 --gpu rtx4090d --backend {backend} "
        "--force"
    )


def test_where_one_more_lane_does_not_fit_threads_wait(gpu: SimulatedGpu, tmp_path: Path) -> None:
    gpu.total_memory = 3 << 20
    session = open_session(wave_bundle(tmp_path / "bundle"), "tensorrt")  # takes 1 MiB a lane

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(check, session, 1, 1, 100 + i % 5, seed=i) for i in range(40)]:
            done.result()


def test_a_denoiser_takes_a_short_utterance_whole_and_a_long_one_in_windows(
    gpu: SimulatedGpu, tmp_path: Path
) -> None:
    described = manifest(segments=frcrn_segments())
    root = write_bundle(tmp_path / "bundle", described, gain=0.5)
    shapes = {"low": (1, 1, 16_000), "best": (1, 1, 16_000), "high": (2, 1, 28_000)}
    add_engine(root, "tensorrt", **shapes)
    denoiser = Denoiser.open(root, backend="tensorrt")
    for samples in (9_000, 28_000, 28_001, 150_000):
        wave = 0.1 * noise(samples)
        runs = gpu.executions
        np.testing.assert_allclose(denoiser(wave), 0.5 * wave, atol=1e-7)
        windows = -(-(samples - 16_000) // 12_000) + 1
        assert gpu.executions - runs == (1 if samples <= 28_000 else -(-windows // 2))


def test_a_denoiser_whose_window_does_not_fit_says_how_to_build(
    gpu: SimulatedGpu, tmp_path: Path
) -> None:
    segments = Segments(length=16_000, left=0, right=0, above=0)
    root = write_bundle(tmp_path / "bundle", manifest(segments=segments))
    add_engine(root, "tensorrt", low=(1, 1, 1), best=(1, 1, 100), high=(1, 1, 8_000))
    with pytest.raises(BackendError, match="--batch 1 --samples 1:100:16000 .* --force$"):
        Denoiser.open(root, backend="tensorrt")(noise(20_000))


def test_a_lane_in_which_a_run_failed_is_not_lent_again() -> None:
    made: list[object] = []

    def open_lane() -> object:
        made.append(object())
        return made[-1]

    lanes = Lanes(open_lane, 1)
    with lanes.take() as first:
        pass
    with lanes.take() as again:
        assert again is first
    with pytest.raises(KeyError), lanes.take():
        raise KeyError
    with lanes.take() as fresh:
        assert fresh is not first
    assert len(made) == 2


def test_no_room_for_a_single_lane_is_an_error() -> None:
    def open_lane() -> object:
        raise GpuMemoryError("full")

    lanes = Lanes(open_lane, 2)
    for _ in range(2):
        with pytest.raises(GpuMemoryError), lanes.take():
            pass


def test_opening_needs_no_processor_threads(gpu: SimulatedGpu, tmp_path: Path) -> None:
    bundle = wave_bundle(tmp_path / "bundle")
    entry = next(e for e in bundle.manifest.files if e.format == "engine")
    assert open_tensorrt(bundle, entry, threads=1).entry is entry
