from dataclasses import replace

import pytest

from frcrn_export.calibration import int8_report_page as pictures
from frcrn_export.calibration.int8_report import SearchPoint, TensorRange
from tests.calibration.reports import report, worst

pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_DPI", 20)


def test_each_is_drawn_of_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = dict(pictures.draw(report(), worst()))
    assert list(drawn) == ["worst", "ranges", "search"]
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())
    monkeypatch.setattr(pictures, "worst_clip", lambda clip, titles: b"")
    assert [kind for kind, _ in pictures.draw(report(search=(), ranges=()), worst())] == ["worst"]


def test_other_clips_look_different() -> None:
    titles = ("a", "b", "c", "d")
    first = pictures.worst_clip(worst(), titles)
    assert pictures.worst_clip(replace(worst(), int8=worst().noisy), titles) != first


def test_titles_say_pesq_and_core_snr(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, ...]] = []
    monkeypatch.setattr(pictures, "worst_clip", lambda clip, titles: seen.append(titles) or b"")
    next(pictures.draw(report(), replace(worst(), name="first")))
    next(pictures.draw(report(), worst()))
    assert seen[0] == (
        "Noisy: first, PESQ 1.50",
        "FP32: first, PESQ 2.50",
        "INT8: first, PESQ 2.40",
        "FP32 minus INT8, core SNR 30.0 dB",
    )
    assert seen[1][2:] == ("INT8: a|b", "FP32 minus INT8, core SNR 15.0 dB")


@pytest.mark.parametrize("count", [1, 200])
def test_any_number_of_tensors(count: int) -> None:
    few = [TensorRange(f"t{i}", -float(i), 1e-9, -float(i), 1e-9) for i in range(count)]
    assert pictures.ranges(few).startswith(b"\x89PNG")


def test_candidates_without_a_value_are_left_out() -> None:
    nothing = pictures.search([SearchPoint(0.5, None, None, passed=False)])
    assert pictures.search([SearchPoint(0.5, 10.0, None, passed=False)]) != nothing
