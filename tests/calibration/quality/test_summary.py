from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.calibration.quality.scoring import Scores
from frcrn_export.calibration.quality.summary import ClipResult, Mean, groups_of, mean_of
from frcrn_export.runtime.audio.pairs import Pair

values = st.floats(-100, 100)


def clip(name: str, noisy: float | None, *denoised: float | None) -> ClipResult:
    """A result of PESQ alone."""
    noisy_scores, *others = (
        Scores({} if value is None else {"pesq": value}) for value in (noisy, *denoised)
    )
    return ClipResult(Pair(name, Path(), Path()), 1.0, noisy_scores, tuple(others))


def test_the_interval_is_students() -> None:
    """t(0.975) is 4.3027 with 2 degrees of freedom and 2.2622 with 9 (printed tables)."""
    assert mean_of([1.0, 2.0, 3.0]) == Mean(2.0, pytest.approx(4.3027 / 3**0.5, abs=1e-4), 3)
    ten = mean_of([float(n) for n in range(10)])
    assert ten == Mean(4.5, pytest.approx(2.2622 * 3.02765 / 10**0.5, abs=1e-3), 10)


def test_what_is_missing_is_left_out() -> None:
    assert mean_of([None, 4.0, None]) == Mean(4.0, None, 1)
    assert mean_of([None]) is None
    assert mean_of([]) is None


@given(st.lists(values, min_size=2, max_size=20), values)
def test_an_offset_moves_the_mean_alone(numbers: list[float], offset: float) -> None:
    one, other = mean_of(numbers), mean_of([number + offset for number in numbers])
    assert one is not None
    assert other is not None
    assert other.mean == pytest.approx(one.mean + offset, abs=1e-9)
    assert other.margin == pytest.approx(one.margin, abs=1e-9)


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["mix_a", "mix_b", "vbd_a"], {"mix": 2, "vbd": 1, "all": 3}),
        (["vbd_a", "plain", "vbd_b"], {"other": 1, "vbd": 2, "all": 3}),
        (
            ["all_a", "all_b", "other_a", "a"],
            {"other": 1, "all_": 2, "other_": 1, "all": 4},
        ),
        (["a", "b"], {"all": 2}),
        (["mix_a", "mix_b"], {"all": 2}),
        (["a_1", "b_1", "c_1"], {"all": 3}),
    ],
)
def test_groups(names: list[str], groups: dict[str, int]) -> None:
    found = groups_of([clip(name, 1.0, 2.0) for name in names])
    assert {group.name: len(group.clips) for group in found} == groups


def test_means_of_a_group() -> None:
    clips = [clip("a", 1.0, 1.5, 1.5), clip("b", 2.0, 2.7, None), clip("c", None, 9.0, 8.0)]
    (group,) = groups_of(clips)
    noisy, denoised = group.noisy("pesq"), group.denoised("pesq", 0)
    gain, against = group.gain("pesq", 0), group.against("pesq", 1, 0)
    assert noisy is not None
    assert (noisy.mean, noisy.count) == (1.5, 2)
    assert denoised is not None
    assert (denoised.mean, denoised.count) == (pytest.approx(4.4), 3)
    assert gain is not None
    assert (gain.mean, gain.count) == (pytest.approx(0.6), 2)
    assert against is not None
    assert (against.mean, against.count) == (pytest.approx(-0.5), 2)
