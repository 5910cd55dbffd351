"""A stream at the pace of a microphone: how long each hop takes, and which ones come too late."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser

_PERCENTILES = (50, 90, 99, 100)


@dataclass(frozen=True)
class Pace:
    """How a stream kept up, in hops of `hop_ms`: the time to compute one, and how many were late.

    A hop is late when it is not done before the samples of the next one have arrived.
    """

    hops: int
    hop_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    deadline_misses: int


def keep_pace(
    denoiser: StreamingDenoiser,
    wave: Float32Array,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Pace:
    """Give `denoiser` the wave [N], again and again, each hop when a microphone would have it.

    It takes `seconds`. A hop is what one call of the network takes.
    """
    denoiser.reset()
    hop = denoiser.latency.chunk
    period = hop / denoiser.sample_rate
    count = max(1, ceil(seconds / period))
    chunks = np.resize(wave, (count, hop))  # repeats the wave
    times: list[float] = []
    misses = 0
    start = clock()
    for index, chunk in enumerate(chunks, 1):
        arrival = start + index * period
        if (wait := arrival - clock()) > 0:
            sleep(wait)
        began = clock()
        denoiser.process(chunk)
        done = clock()
        times.append(done - began)
        misses += done > arrival + period
    p50, p90, p99, slowest = (1e3 * float(value) for value in np.percentile(times, _PERCENTILES))
    return Pace(count, 1e3 * period, p50, p90, p99, slowest, misses)
