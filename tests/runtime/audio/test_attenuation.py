import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcrn_export.runtime.audio.attenuation import mix, mix_blocks, noisy_share
from frcrn_export.runtime.errors import UserError


@pytest.mark.parametrize(("limit", "share"), [(0, 1), (20, 0.1), (None, 0), (math.inf, 0)])
def test_the_share_of_a_limit(limit: float | None, share: float) -> None:
    assert noisy_share(limit) == pytest.approx(share)


@pytest.mark.parametrize("limit", [-1.0, math.nan])
def test_what_is_no_limit(limit: float) -> None:
    with pytest.raises(UserError, match=f"an attenuation limit of {limit} dB; give 0 or more"):
        noisy_share(limit)


def test_a_silent_output_leaves_the_noise_that_much_lower() -> None:
    noisy = np.linspace(-1, 1, 9, dtype=np.float32)
    mixed = mix(noisy, np.zeros_like(noisy), noisy_share(12))
    np.testing.assert_allclose(mixed, noisy * 10 ** (-12 / 20), rtol=1e-6)


sizes = st.lists(st.integers(1, 40), min_size=1, max_size=9)


@given(noisy_sizes=sizes, enhanced_sizes=sizes)
def test_borders_of_blocks_change_nothing(
    noisy_sizes: list[int], enhanced_sizes: list[int]
) -> None:
    count = min(sum(noisy_sizes), sum(enhanced_sizes))
    draw = np.random.default_rng(0)
    noisy, enhanced = draw.standard_normal((2, 2, 400)).astype(np.float32)

    def cut(whole: np.ndarray, lengths: list[int]) -> list[np.ndarray]:
        return np.split(whole[:, : sum(lengths)], np.cumsum(lengths)[:-1], axis=1)

    blocks = mix_blocks(cut(noisy, noisy_sizes), cut(enhanced, enhanced_sizes), 0.3)
    mixed = np.concatenate(list(blocks), axis=1)
    np.testing.assert_array_equal(mixed, mix(noisy[:, :count], enhanced[:, :count], 0.3))
