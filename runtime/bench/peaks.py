"""What this machine can do: products and copies, measured with as many threads as layers have."""

import threading
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from frcrn_export.runtime.bench.machine import cache_bytes
from frcrn_export.runtime.sessions.onnx import session_options

_SIZE = 512  # of the matrices for the peak: a product takes milliseconds
_COPY_BYTES = 1 << 27  # larger than any cache
_REPEATS = 40
_CACHE_COPIES = 50  # of microseconds


@dataclass(frozen=True)
class Peaks:
    """Rates in 10^9 a second: operations, in 8 bits too, and bytes of memory and of a cache.

    `cache_gbytes` is 0 where the size of the cache is not known.
    """

    gflops: float
    int8_gops: float
    memory_gbytes: float
    cache_gbytes: float

    def reached(
        self, operations: int, moved: int, seconds: float, *, in_8_bits: bool
    ) -> tuple[float, bool]:
        """The share of what is attainable, and whether that is what a cache attains.

        A layer that moves more than memory could has its tensors in a cache.
        """
        peak = self.int8_gops if in_8_bits else self.gflops
        computed, copied = (each / seconds / 1e9 for each in (operations, moved))
        share = max(computed / peak, copied / self.memory_gbytes)
        if share <= 1 or not self.cache_gbytes:
            return share, False
        return max(computed / peak, copied / self.cache_gbytes), True


def measure_peaks(threads: int) -> Peaks:
    """The peaks of so many threads."""
    return Peaks(
        peak_gflops(threads),
        peak_int8_gops(threads),
        bandwidth_gbytes(threads),
        cache_gbytes(threads),
    )


def peak_gflops(threads: int) -> float:
    """The rate of a float32 matrix product [512, 512] in ONNX Runtime, in GFLOP/s."""
    from onnx import TensorProto

    values = np.random.default_rng(0).standard_normal((_SIZE, _SIZE)).astype(np.float32)
    return _product_rate("MatMul", {"a": values, "b": values}, TensorProto.FLOAT, threads)


def peak_int8_gops(threads: int) -> float:
    """The rate of a product of 8-bit integers of that size, in 10^9 operations a second."""
    from onnx import TensorProto

    draw = np.random.default_rng(0)
    feeds = {
        "a": draw.integers(0, 255, (_SIZE, _SIZE), np.uint8),
        "b": draw.integers(-64, 63, (_SIZE, _SIZE), np.int8),
    }
    return _product_rate("MatMulInteger", feeds, TensorProto.INT32, threads)


def _product_rate(operator: str, feeds: dict[str, Any], output: int, threads: int) -> float:
    import onnxruntime
    from onnx import helper, numpy_helper

    # The second factor is a weight: it is laid out once, as those of layers are.
    weight = numpy_helper.from_array(feeds["b"], "b")
    first = helper.np_dtype_to_tensor_dtype(feeds["a"].dtype)
    graph = helper.make_graph(
        [helper.make_node(operator, ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", first, [_SIZE, _SIZE])],
        [helper.make_tensor_value_info("c", output, [_SIZE, _SIZE])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(threads), providers=["CPUExecutionProvider"]
    )
    times = []
    for _ in range(_REPEATS + 1):
        started = perf_counter()
        session.run(None, {"a": feeds["a"]})
        times.append(perf_counter() - started)
    return 2 * _SIZE**3 / min(times[1:]) / 1e9


def bandwidth_gbytes(threads: int) -> float:
    """What copies of 128 MB read and write in a second, in GB, one on each thread."""
    pairs = [(np.ones(_COPY_BYTES // 4, np.float32), np.empty(_COPY_BYTES // 4, np.float32))]
    pairs += [(source.copy(), target.copy()) for source, target in pairs * (threads - 1)]
    best = float("inf")
    for _ in range(_REPEATS):
        copies = [
            threading.Thread(target=np.copyto, args=(target, source)) for source, target in pairs
        ]
        started = perf_counter()
        for copy in copies:
            copy.start()
        for copy in copies:
            copy.join()
        best = min(best, perf_counter() - started)
    return 2 * _COPY_BYTES * len(pairs) / best / 1e9


def cache_gbytes(threads: int) -> float:
    """What copies within half of the second-level cache read and write in a second, in GB.

    On one thread, times the threads: every processor has such a cache of its own. 0 where its size
    is not known.
    """
    if (size := cache_bytes()) is None:
        return 0.0
    source = np.ones(size // 16, np.float32)  # with the target half of the cache
    target = np.empty_like(source)
    best = float("inf")
    for _ in range(_REPEATS * _CACHE_COPIES):
        started = perf_counter()
        np.copyto(target, source)
        best = min(best, perf_counter() - started)
    return threads * 2 * source.nbytes / best / 1e9
