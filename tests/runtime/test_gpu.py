import sys
from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime import gpu as runtime_gpu
from frcrn_export.runtime.errors import AudioError, BackendError, FrcrnExportError
from frcrn_export.runtime.gpu import (
    Gpu,
    GpuMemoryError,
    TensorMemory,
    capture,
    cuda_errors,
    driver_cuda,
    first_gpu,
    free_memory,
    gpu_uuid,
    use_gpu,
)
from tests.standin.gpu import CudaError, SimulatedGpu
from tests.standin.install import simulated_gpu


def test_the_facts_of_the_gpu(gpu: SimulatedGpu) -> None:
    memory = 1 << 30
    assert first_gpu() == Gpu("NVIDIA GeForce RTX 4090 D", 89, (13, 2), memory)
    gpu.capability, gpu.driver_cuda = (12, 0), 12080
    assert (first_gpu().sm, first_gpu().cuda) == (120, (12, 8))


def test_the_name_that_nvidia_smi_knows(gpu: SimulatedGpu) -> None:
    assert gpu_uuid() == "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"


def test_free_memory_is_what_nobody_has_allocated(gpu: SimulatedGpu) -> None:
    before = free_memory()
    assert before == gpu.total_memory
    device = use_gpu()
    memory = TensorMemory(device, (100,), device.create_stream())
    assert before - free_memory() == 400
    del memory
    assert free_memory() == before


def test_a_tensor_goes_to_the_gpu_and_back_when_the_stream_is_synchronised(
    gpu: SimulatedGpu,
) -> None:
    device = use_gpu()
    stream = device.create_stream()
    memory = TensorMemory(device, (2, 3, 4), stream)
    for shape in [(2, 3, 4), (1, 5)]:
        view = memory.view(shape)
        values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        view.host[...] = values
        view.upload(stream)
        stream.sync()
        view.host[...] = 0
        view.download(stream)
        np.testing.assert_array_equal(view.host, 0)
        stream.sync()
        np.testing.assert_array_equal(view.host, values)
    assert memory.view((2, 3, 4)).address == memory.view((1,)).address


def test_a_view_keeps_the_memory(gpu: SimulatedGpu) -> None:
    device = use_gpu()
    stream = device.create_stream()
    view = TensorMemory(device, (4,), stream).view((3,))
    assert (gpu.used(on_device=True), gpu.used(on_device=False)) == (16, 16)
    view.upload(stream)
    stream.sync()
    del view
    assert (gpu.used(on_device=True), gpu.used(on_device=False)) == (0, 0)


def test_a_captured_copy_runs_with_every_launch_and_not_before(gpu: SimulatedGpu) -> None:
    device = use_gpu()
    stream = device.create_stream()
    view = TensorMemory(device, (4,), stream).view((4,))

    def there_and_back() -> None:
        view.upload(stream)
        view.download(stream)

    graph = capture(stream, there_and_back)
    stream.sync()
    for value in (1, 2):
        view.host[...] = value
        graph.launch(stream)
        stream.sync()
        np.testing.assert_array_equal(view.host, value)


def test_after_a_failed_capture_the_stream_works_again(gpu: SimulatedGpu) -> None:
    stream = use_gpu().create_stream()

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        capture(stream, fail)
    stream.sync()


def test_a_thread_that_has_not_taken_the_gpu_cannot_use_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """That the stand-in sees what on a real GPU fails as an invalid context."""
    from concurrent.futures import ThreadPoolExecutor

    with simulated_gpu(monkeypatch, tmp_path) as gpu:
        stream = use_gpu().create_stream()
        with ThreadPoolExecutor(1) as pool, pytest.raises(CudaError, match="INVALID_CONTEXT"):
            pool.submit(stream.sync).result()
        assert len(gpu.misuse) == 1
        gpu.misuse.clear()


@pytest.mark.parametrize(
    ("raised", "kind", "said"),
    [
        (RuntimeError("first\nsecond"), BackendError, "^core.engine: CUDA failed: first$"),
        (CudaError("CUDA_ERROR_OUT_OF_MEMORY: no"), GpuMemoryError, "CUDA_ERROR_OUT_OF_MEMORY"),
        (AudioError("ours"), AudioError, "^ours$"),
    ],
)
def test_cudas_errors_become_ours(
    raised: Exception, kind: type[FrcrnExportError], said: str
) -> None:
    with pytest.raises(kind, match=said), cuda_errors("core.engine"):
        raise raised


def test_without_cuda_core_it_says_how_to_get_it(
    gpu: SimulatedGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    with pytest.raises(BackendError, match="run: pip install cuda-core cuda-bindings$"):
        use_gpu()
    assert first_gpu().sm == 89  # the facts come from the driver


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("cuInit", r"no NVIDIA driver, .*cuInit failed: CUDA_ERROR_NO_DEVICE\); run: frcrn"),
        ("cuDeviceGet", "^CUDA driver: cuDeviceGet failed: CUDA_ERROR_NO_DEVICE$"),
        ("cuDeviceTotalMem_v2", "cuDeviceTotalMem_v2 failed: CUDA_ERROR_NO_DEVICE"),
    ],
)
def test_return_codes_are_checked(gpu: SimulatedGpu, function: str, said: str) -> None:
    runtime_gpu.load_driver().failing[function] = 100
    with pytest.raises(BackendError, match=said):
        first_gpu()


def test_a_driver_that_shows_no_gpu(gpu: SimulatedGpu) -> None:
    runtime_gpu.load_driver().count = 0
    with pytest.raises(BackendError, match="shows no GPU"):
        first_gpu()
    assert driver_cuda() == 13


def test_without_a_driver_it_says_so() -> None:
    """On this machine, with what is here."""
    try:
        has_driver = runtime_gpu.load_driver().cuInit(0) == 0
    except OSError:
        has_driver = False
    if has_driver:
        assert first_gpu().sm >= 50
        return
    assert driver_cuda() is None
    for ask in (first_gpu, use_gpu):
        with pytest.raises(BackendError) as caught:
            ask()
        message = str(caught.value)
        assert message.startswith("no NVIDIA driver, or no GPU that it can use (")
        assert message.endswith("run: frcrn-export doctor")
        assert "\n" not in message
