from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.exporters.bisection import fewest


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300))
def test_the_least_number_that_passes_in_few_trials(most: int, least: int, first: int) -> None:
    least, first = min(least, most), min(first, most)
    tried: list[int] = []

    def passes(count: int) -> bool:
        tried.append(count)
        return count >= least

    assert fewest(0, most, passes) == least
    assert most not in tried
    assert len(tried) <= most.bit_length()
    tried.clear()
    if 0 < first < most:
        assert fewest(0, most, passes, first) == least
        assert tried[0] == first
