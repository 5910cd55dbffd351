"""How much faster an INT8 core is than the float32 core, both timed in turn."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np

from frcrn_export.calibration.recorded_core import Call, Model, RecordedCore, open_recorded
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import Bundle

SECONDS = 4.0  # of audio at most
_WARM_UPS = 2


@dataclass(frozen=True)
class Speed:
    """Float32's time over INT8's: median and quartiles of `repetitions` ratios.

    `float32_ms`, `int8_ms`: median times of the core alone for `seconds` of audio.
    """

    ratio: float
    low: float
    high: float
    float32_ms: float
    int8_ms: float
    seconds: float
    threads: int | None
    repetitions: int


def measure_speed(
    bundle: Bundle,
    entry: FileEntry,
    model: Model,
    noisy: Float32Array,
    *,
    called: FileEntry | None = None,
    threads: int | None = None,
    repetitions: int = 15,
) -> Speed:
    """Time a bundle's float32 core and a model with the same I/O signature, or that of `called`.

    Each repetition times both on a recording [N], in alternating order, so that other load affects
    both equally. Raises BackendError for a model that cannot be run.
    """
    rate = bundle.manifest.sample_rate
    wave = noisy[: int(SECONDS * rate)]
    cores = [
        open_recorded(bundle.manifest, as_, each, threads)
        for as_, each in ((entry, bundle.file(entry)), (called or entry, model))
    ]
    calls = cores[0].denoise(wave, keep_calls=True)[1].calls
    for core in cores:
        for _ in range(_WARM_UPS):
            core.run(calls)
    times = np.empty((2, repetitions))
    for repetition in range(repetitions):
        for index in (0, 1) if repetition % 2 else (1, 0):
            times[index, repetition] = _seconds(cores[index], calls)
    before, after = times
    low, ratio, high = np.percentile(before / after, (25, 50, 75))
    return Speed(
        float(ratio),
        float(low),
        float(high),
        1000 * float(np.median(before)),
        1000 * float(np.median(after)),
        len(wave) / rate,
        threads,
        repetitions,
    )


def _seconds(core: RecordedCore, calls: list[Call]) -> float:
    started = perf_counter()
    core.run(calls)
    return perf_counter() - started
