"""Keeping pace, on a clock that the test moves."""

from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime.streaming import StreamingDenoiser
from frcrn_export.runtime.verify.streaming import Pace, keep_pace
from tests.streaming_bundles import Core, write_streaming_bundle

HOP_MS = 4.0  # 64 samples


class Clock:
    """Time passes while the program sleeps, and while a hop is computed."""

    def __init__(self, denoiser: StreamingDenoiser, costs_ms: list[float]) -> None:
        self.now = 100.0
        self.slept = 0.0
        self.given: list[np.ndarray] = []
        costs = iter(costs_ms)
        process = denoiser.process

        def timed(chunk: np.ndarray) -> np.ndarray:
            self.given.append(chunk)
            self.now += next(costs) / 1e3
            return process(chunk)

        denoiser.process = timed  # type: ignore[method-assign]

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


def paced(path: Path, costs_ms: list[float]) -> tuple[Pace, Clock]:
    write_streaming_bundle(path, Core("delay", 64), None)
    denoiser = StreamingDenoiser.open(path, "onnxruntime-cpu")
    clock = Clock(denoiser, costs_ms)
    wave = np.linspace(-1, 1, 100, dtype=np.float32)
    seconds = len(costs_ms) * HOP_MS / 1e3
    pace = keep_pace(denoiser, wave, seconds, lambda: clock.now, clock.sleep)
    np.testing.assert_array_equal(np.concatenate(clock.given), np.resize(wave, 64 * len(costs_ms)))
    return pace, clock


def test_hops_wait_for_their_samples(tmp_path: Path) -> None:
    pace, clock = paced(tmp_path / "b", [1.0] * 10)
    assert (pace.hops, pace.hop_ms, pace.deadline_misses) == (10, HOP_MS, 0)
    assert (pace.p50_ms, pace.max_ms) == pytest.approx((1.0, 1.0))
    # The first hop's samples are there after one period, the last hop's after ten.
    assert clock.now - 100.0 == pytest.approx(10 * HOP_MS / 1e3 + 1e-3)
    assert clock.slept == pytest.approx((10 * HOP_MS - 9 * 1.0) / 1e3)


def test_one_long_hop_makes_the_next_ones_late(tmp_path: Path) -> None:
    # Done 10.5 ms after its samples, 6.5 too late; each of the next ones catches up 3 ms.
    pace, _ = paced(tmp_path / "b", [1.0, 10.5, 1.0, 1.0, 1.0, 1.0])
    assert pace.deadline_misses == 3
    assert pace.max_ms == pytest.approx(10.5)
    assert pace.p50_ms == pytest.approx(1.0)


def test_a_machine_that_is_too_slow_misses_them_all(tmp_path: Path) -> None:
    pace, clock = paced(tmp_path / "b", [5.0] * 8)
    assert pace.deadline_misses == 8
    assert clock.slept == pytest.approx(HOP_MS / 1e3)  # for the first one alone
