"""The verdict on a ratio of times, from the sessions of several openings."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Literal

import numpy as np
import numpy.typing as npt

from frcrn_export.runtime.errors import UserError

Word = Literal["faster", "same", "slower", "undecided"]
FloatArray = npt.NDArray[np.float64]

# The share of runs, over all their rows and looks, that may call slower what is not.
FALSE_ALARMS = 0.05
# Fewer enclose their median with less than the certainty that is asked for.
FEWEST_OPENINGS = 10
_TRIMMED = 0.2
_RESAMPLES = 2_000
_MOST_VALUES = 1 << 20  # at once, of all resamples


@dataclass(frozen=True)
class Ratio:
    """New time over base: the trimmed mean of the openings, and its bootstrap interval."""

    middle: float
    low: float
    high: float

    @property
    def change(self) -> str:
        """The ratio as a change: "+5.0 % (+4.1 to +6.0 %)"."""
        ratios = (self.middle, self.low, self.high)
        return "{:+.1f} % ({:+.1f} to {:+.1f} %)".format(*(100 * (each - 1) for each in ratios))


@dataclass(frozen=True)
class Verdict:
    """What a row's openings show. `floor`: the change that base against base shows, as a share."""

    word: Word
    ratio: Ratio
    floor: float
    openings: int


def require_scipy() -> None:
    """Raise UserError where the statistics cannot be computed."""
    try:
        import scipy.stats  # noqa: F401
    except ImportError as error:
        raise UserError(
            f'compare needs SciPy ({error}); run: pip install "frcrn-export[bench]"'
        ) from error


def judge(
    again: Sequence[float],
    new: Sequence[float],
    *,
    allowance: float,
    comparisons: int,
    seed: int = 0,
) -> Verdict:
    """Judge one row.

    Slower only where the whole interval of new over base lies above the allowance, and above what
    base against base shows in the same blocks; faster where it lies below one by more than that;
    same where it lies within the allowance; else undecided.

    Args:
        again: [openings] logarithms of base over base, the same file opened once more.
        new: [openings] logarithms of new over base.
        allowance: The slowdown that is accepted: 0.05 is 5 %.
        comparisons: How many verdicts the run gives, over rows and looks; the interval is that much
            more certain (Bonferroni), so that false alarms are counted over all of them.
        seed: Of the bootstrap.

    Returns:
        The verdict.
    """
    confidence = 1 - FALSE_ALARMS / comparisons
    ratio = interval(np.asarray(new, np.float64), confidence, seed)
    noise = interval(np.asarray(again, np.float64), confidence, seed)
    floor = max(abs(log(noise.low)), abs(log(noise.high)))
    word = word_of(ratio, allowance, floor) if len(new) >= FEWEST_OPENINGS else "undecided"
    return Verdict(word, ratio, exp(floor) - 1, len(new))


def word_of(ratio: Ratio, allowance: float, floor: float) -> Word:
    """The word for a ratio whose noise is `floor`, as logarithm; see `judge`."""
    low, high, allowed = log(ratio.low), log(ratio.high), log(1 + allowance)
    if low > max(allowed, floor):
        return "slower"
    if high < -floor:
        return "faster"
    return "same" if abs(low) <= allowed and high <= allowed else "undecided"


def interval(logarithms: FloatArray, confidence: float, seed: int = 0) -> Ratio:
    """The trimmed mean of ratios given as logarithms [n], and its percentile bootstrap interval.

    A fifth is cut off on both sides: as deaf to disturbances as it has to be, and less uncertain
    than the median.
    """
    from scipy.stats import bootstrap, trim_mean

    middle = float(trim_mean(logarithms, _TRIMMED))
    if len(logarithms) < 2 or np.ptp(logarithms) == 0:
        return Ratio(exp(middle), exp(middle), exp(middle))
    found = bootstrap(
        (logarithms,),
        lambda values, axis=-1: trim_mean(values, _TRIMMED, axis=axis),
        n_resamples=max(_RESAMPLES, int(20 / (1 - confidence))),
        confidence_level=confidence,
        method="percentile",
        batch=max(1, _MOST_VALUES // len(logarithms)),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Ratio(exp(middle), exp(float(found.low)), exp(float(found.high)))
