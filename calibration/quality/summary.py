"""Means of scores with their confidence intervals, for groups of clips."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from frcrn_export.calibration.quality.scoring import Scores
from frcrn_export.runtime.audio.pairs import ALL, OTHER, Pair

CONFIDENCE = 0.95


@dataclass(frozen=True)
class ClipResult:
    """One pair: scores of the noisy recording, and of each subject's output, in order."""

    pair: Pair
    seconds: float
    noisy: Scores
    denoised: tuple[Scores, ...]

    def gain(self, metric: str, subject: int) -> float | None:
        """Denoised minus noisy, where both have a value."""
        return difference(self.denoised[subject], self.noisy, metric)


def difference(one: Scores, other: Scores, metric: str) -> float | None:
    """One minus the other, None where one of them has no value."""
    if metric not in one.values or metric not in other.values:
        return None
    return one.values[metric] - other.values[metric]


@dataclass(frozen=True)
class Mean:
    """The mean of `count` values; its confidence interval is `mean` +- `margin`.

    The margin is None for a single value.
    """

    mean: float
    margin: float | None
    count: int


def mean_of(values: Iterable[float | None]) -> Mean | None:
    """The mean of the present values with its 95% interval by Student's t; None without values.

    The interval takes the clips as a random sample.
    """
    from scipy.special import stdtrit

    there = np.array([value for value in values if value is not None])
    count = len(there)
    if not count:
        return None
    margin = None
    if count > 1:
        quantile = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
        margin = quantile * float(there.std(ddof=1)) / sqrt(count)
    return Mean(float(there.mean()), margin, count)


@dataclass(frozen=True)
class Group:
    """Clips whose names have the same prefix."""

    name: str
    clips: tuple[ClipResult, ...]

    def noisy(self, metric: str) -> Mean | None:
        """The mean of the noisy recordings."""
        return mean_of(clip.noisy.values.get(metric) for clip in self.clips)

    def denoised(self, metric: str, subject: int) -> Mean | None:
        """The mean of a subject's outputs."""
        return mean_of(clip.denoised[subject].values.get(metric) for clip in self.clips)

    def gain(self, metric: str, subject: int) -> Mean | None:
        """The mean improvement, over the clips where both have a value."""
        return mean_of(clip.gain(metric, subject) for clip in self.clips)

    def against(self, metric: str, subject: int, other: int) -> Mean | None:
        """The mean difference of two subjects, clip by clip."""
        return mean_of(
            difference(clip.denoised[subject], clip.denoised[other], metric) for clip in self.clips
        )


def groups_of(clips: Sequence[ClipResult]) -> list[Group]:
    """A group for each prefix of names, if they group clips, and last the group of all clips."""
    found: dict[str, list[ClipResult]] = {}
    for clip in clips:
        found.setdefault(clip.pair.group, []).append(clip)
    everything = Group(ALL, tuple(clips))
    if len(found) == 1 or len(found) == len(clips):
        return [everything]
    groups = [Group(name or OTHER, tuple(members)) for name, members in sorted(found.items())]
    return [*groups, everything]
