from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BundleError, CheckFailed, UserError
from frcrn_export.runtime.streaming import StreamingDenoiser
from frcrn_export.runtime.verify.streaming import (
    Pace,
    StreamReport,
    check_streams,
    keep_pace,
    require_streams,
)
from tests.bundles import STFT, leave_out, write_bundle
from tests.checked_streams import with_lookahead, write_checked_bundle
from tests.int8_standins import add_int8, scaled
from tests.standin.gpu import SimulatedGpu
from tests.standin.install import add_engine
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
    assert (pace.chunks, pace.chunk_ms, pace.deadline_misses) == (10, HOP_MS, 0)
    assert (pace.p50_ms, pace.max_ms) == pytest.approx((1.0, 1.0))
    # The first hop's samples are there after one period, the last hop's after ten.
    assert clock.now - 100.0 == pytest.approx(10 * HOP_MS / 1e3 + 1e-3)
    assert clock.slept == pytest.approx((10 * HOP_MS - 9 * 1.0) / 1e3)


def test_one_long_hop_makes_the_next_ones_late(tmp_path: Path) -> None:
    # Done 10.5 ms after its samples, 6.5 too late; each of the next ones catches up 3 ms.
    pace, _ = paced(tmp_path / "b", [1.0, 10.5, 1.0, 1.0, 1.0, 1.0])
    assert pace.deadline_misses == 3
    assert pace.max_ms == pytest.approx(10.5)
    assert pace.latest_ms == pytest.approx(10.5)
    assert pace.p50_ms == pytest.approx(1.0)
    assert not pace.waited


def test_hops_that_wait_for_the_processor_are_late_and_said_to(tmp_path: Path) -> None:
    """Short to compute, and late: the figures that are shown agree."""
    write_streaming_bundle(tmp_path / "b", Core("delay", 64), None)
    denoiser = StreamingDenoiser.open(tmp_path / "b", "onnxruntime-cpu")
    clock = Clock(denoiser, [0.25] * 8)

    def overslept(seconds: float) -> None:
        clock.now += 0.0 if clock.slept else 10e-3  # once
        clock.sleep(seconds)

    wave = np.zeros(100, np.float32)
    pace = keep_pace(denoiser, wave, 8 * HOP_MS / 1e3, lambda: clock.now, overslept)
    assert pace.max_ms == pytest.approx(0.25)
    assert pace.latest_ms == pytest.approx(10.25)
    assert pace.deadline_misses == 2
    assert pace.waited


def test_a_machine_that_is_too_slow_misses_them_all(tmp_path: Path) -> None:
    pace, clock = paced(tmp_path / "b", [5.0] * 8)
    assert pace.deadline_misses == 8
    assert clock.slept == pytest.approx(HOP_MS / 1e3)  # for the first one alone


SECONDS = 0.05


def check(path: Path, *backends: str) -> StreamReport:
    (report,) = check_streams(open_bundle(path), backends, SECONDS)
    return report


@pytest.mark.parametrize("core", [Core("delay"), Core("delay", 2, 3), Core("delay", 5, 1)])
def test_a_stream_that_is_the_offline_network_late(core: Core, tmp_path: Path) -> None:
    report = check(write_checked_bundle(tmp_path / "b", core))
    (match,) = report.matches
    assert (match.case, match.floor_db, match.passed) == ("offline", 90.0, True)
    latency = report.latency
    delays = (latency.window, latency.chunk, latency.lookahead)
    assert delays == (320, 320 * core.chunk, 320 * core.lookahead)
    assert report.lag_samples == latency.samples
    assert report.pace is not None
    assert report.pace.chunk_ms == 20 * core.chunk
    require_streams([report])


def test_a_waveform_network(tmp_path: Path) -> None:
    report = check(write_checked_bundle(tmp_path / "b", Core("delay", 64, 7), stft=None))
    assert report.matches[0].passed
    assert report.lag_samples == report.latency.samples == 71


def test_a_stream_of_another_result_fails(tmp_path: Path) -> None:
    path = write_checked_bundle(tmp_path / "b", Core("delay", 1, 2), gain=1.01)
    report = check(path)
    assert report.lag_samples == report.latency.samples
    with pytest.raises(CheckFailed, match=r"streaming\.onnx, offline: 40\.\d dB, at least 90"):
        require_streams([report])


def test_a_stream_that_is_later_than_it_says_fails(tmp_path: Path) -> None:
    path = write_checked_bundle(tmp_path / "b", Core("delay", 1, 4))
    report = check(with_lookahead(path, 1))
    assert report.latency.samples == 320 + 320 + 320
    assert report.lag_samples == report.latency.samples + 3 * 320
    assert not report.passed
    assert not report.matches[0].passed
    late = replace(report, matches=())
    with pytest.raises(CheckFailed, match="1920 samples late, 960 were expected"):
        require_streams([late])


def test_with_less_look_ahead_the_stored_streams_count(tmp_path: Path) -> None:
    path = write_checked_bundle(tmp_path / "b", Core("delay", 1, 2), gain=1.1, less_ahead=True)
    report = check(path)
    offline, stored = report.matches
    assert (offline.case, offline.floor_db) == ("offline", None)
    assert offline.snr_db == pytest.approx(20.8, abs=0.1)
    assert (stored.case, stored.floor_db, stored.passed) == ("streaming.noise", 90.0, True)
    require_streams([report])
    other = Core("halved_end", 1, 2)
    path = write_checked_bundle(tmp_path / "c", other, gain=1.1, less_ahead=True)
    with pytest.raises(CheckFailed, match=r"streaming\.noise: "):
        require_streams([check(path)])


@pytest.mark.parametrize("batch", [1, 3])
def test_an_engine_is_held_to_its_own_floor(gpu: SimulatedGpu, tmp_path: Path, batch: int) -> None:
    path = write_checked_bundle(tmp_path / "b", Core("delay", 2, 3), gain=1.001)
    shape = (batch, 2, STFT.bins, 2)
    add_engine(path, "tensorrt", low=shape, best=shape, high=shape)
    report = check(path, "tensorrt")
    assert report.backend == "tensorrt"
    assert (report.matches[0].floor_db, report.passed) == (45.0, True)
    assert 55 < report.matches[0].snr_db < 65
    assert report.pace is not None
    both = check_streams(open_bundle(path), (), SECONDS)
    assert [(r.artifact[-6:], r.passed) for r in both] == [("g.onnx", False), ("engine", True)]


def test_what_cannot_be_checked(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no streaming core in this bundle"):
        check(write_bundle(tmp_path / "plain"))
    with pytest.raises(BundleError, match="no parity vectors"):
        check(write_streaming_bundle(tmp_path / "bare", Core()))
    path = write_checked_bundle(tmp_path / "b", Core())
    with pytest.raises(UserError, match="no backend here runs its streaming cores"):
        check_streams(open_bundle(path), ("torchscript",))
    leave_out(path, "core.onnx")
    with pytest.raises(BundleError, match=rf"no core\.onnx .*: frcrn-export verify {path}$"):
        check(path)
    path = write_checked_bundle(tmp_path / "c", Core())
    np.savez(path / "parity.npz", allow_pickle=False)
    with pytest.raises(BundleError, match="parity"):
        check(path)


@pytest.mark.parametrize(("factor", "passes"), [(1.05, True), (1.2, False)])
def test_int8_has_its_own_floor_and_its_own_remedy(
    tmp_path: Path, factor: float, passes: bool
) -> None:
    path = write_checked_bundle(tmp_path / "b", Core("delay", 2, 3))
    for target in ("cpu", "tensorrt"):
        add_int8(path, lambda model: scaled(model, factor), target, "core.streaming.onnx")
    reports = check_streams(open_bundle(path), ("onnxruntime-cpu",), SECONDS)
    assert [report.passed for report in reports] == [True, passes, passes]
    assert {report.matches[0].floor_db for report in reports[1:]} == {20.0}
    # Engines are made of the last, on a processor its pace says nothing.
    assert [report.pace is not None for report in reports] == [True, True, False]
    if not passes:
        with pytest.raises(CheckFailed, match=rf"run: frcrn-export calibrate {path} --for cpu"):
            require_streams(reports)
