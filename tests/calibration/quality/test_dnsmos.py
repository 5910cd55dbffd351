import sys
from pathlib import Path

import numpy as np
import pytest

from frcrn_export.calibration.quality.dnsmos import SAMPLE_RATE, WINDOW, open_dnsmos, windows
from frcrn_export.runtime.errors import BackendError, UserError
from tests.calibration.quality.dnsmos_standin import write_dnsmos


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    open_dnsmos.cache_clear()


@pytest.mark.parametrize(("samples", "count"), [(144_160, 1), (160_000, 1), (176_000, 2)])
def test_windows_begin_every_second(samples: int, count: int) -> None:
    audio = np.arange(samples, dtype=np.float32)
    found = windows(audio)
    assert [window[0] for window in found] == [n * SAMPLE_RATE for n in range(count)]
    assert {len(window) for window in found} == {WINDOW}


def test_short_clips_are_repeated() -> None:
    audio = np.arange(50_000, dtype=np.float32)
    first, second, third = windows(audio)  # of 200,000 samples
    np.testing.assert_array_equal(first, np.tile(audio, 3)[:WINDOW])
    assert (second[0], third[0]) == (16_000, 32_000)


def test_windows_that_the_challenge_leaves_out() -> None:
    """Its end of a window is rounded down, and one that is a sample short is not scored."""
    starts = [int(window[0]) // SAMPLE_RATE for window in windows(np.arange(60 * SAMPLE_RATE))]
    ends = [int((second + 9.01) * 16_000) for second in range(51)]
    assert starts == [n for n, end in enumerate(ends) if end - n * SAMPLE_RATE == WINDOW]
    assert starts == [*range(7), *range(24, 51)]


def test_scores_are_the_polynomials_of_what_the_network_gives(tmp_path: Path) -> None:
    audio = np.zeros(11 * SAMPLE_RATE, np.float32)
    audio[100] = 2.0  # in the first of two windows
    scores = open_dnsmos(write_dnsmos(tmp_path / "dnsmos.onnx"))(audio)

    def polynomial(a: float, b: float, c: float, x: float) -> float:
        return a * x**2 + b * x + c

    sig = [polynomial(-0.08397278, 1.22083953, 0.0052439, peak) for peak in (2.0, 0.0)]
    bak = [polynomial(-0.13166888, 1.60915514, -0.39604546, peak) for peak in (1.0, 0.0)]
    ovr = polynomial(-0.06766283, 1.11546468, 0.04602535, 1.0)
    expected = {"dnsmos_sig": np.mean(sig), "dnsmos_bak": np.mean(bak), "dnsmos_ovr": ovr}
    assert scores == pytest.approx(expected, abs=1e-6)


def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"no such file; take sig_bak_ovr\.onnx of github"):
        open_dnsmos(tmp_path / "gone.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(UserError, match="cannot load it"):
        open_dnsmos(tmp_path / "text.onnx")
    for path in (
        write_dnsmos(tmp_path / "short.onnx", samples=16_000),
        write_dnsmos(tmp_path / "two.onnx", scores=2),
    ):
        with pytest.raises(UserError, match=r"not DNSMOS P\.835 \(its inputs are \['batch', 1"):
            open_dnsmos(path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match=r'pip install "frcrn-export\[cpu\]"'):
        open_dnsmos(tmp_path / "gone.onnx")
