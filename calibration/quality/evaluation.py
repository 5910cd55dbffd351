"""Judging bundles on pairs of noisy and clean recordings."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from shlex import quote
from time import perf_counter

import numpy as np

from frcrn_export.calibration.quality.pairs import Pair, check_pair, read_pair
from frcrn_export.calibration.quality.scoring import Result, Scorer, Scores, scoring
from frcrn_export.calibration.quality.subjects import Subject
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.errors import CheckFailed, UserError

# Clips that wait for each process: enough to keep it busy, few enough for the memory.
_WAITING = 4


@dataclass(frozen=True)
class ClipResult:
    """One pair: scores of the noisy recording, and of what each subject made of it, in order."""

    pair: Pair
    seconds: float
    noisy: Scores
    denoised: tuple[Scores, ...]

    def gain(self, metric: str, subject: int) -> float | None:
        """Denoised minus noisy, where both have a value."""
        return difference(self.denoised[subject], self.noisy, metric)


@dataclass(frozen=True)
class Evaluation:
    """Everything measured. `real_time_factors`: processing over audio time, one for each subject.

    They are None where other processes had a part of the machine.
    """

    subjects: tuple[Subject, ...]
    metrics: tuple[str, ...]
    clips: tuple[ClipResult, ...]
    real_time_factors: tuple[float | None, ...]


def difference(one: Scores, other: Scores, metric: str) -> float | None:
    """One minus the other, None where one of them has no value."""
    if metric not in one.values or metric not in other.values:
        return None
    return one.values[metric] - other.values[metric]


def measure(
    subjects: Sequence[Subject],
    pairs: Sequence[Pair],
    scorer: Scorer,
    jobs: int = 1,
    progress: Callable[[str, int, int], None] = lambda phase, done, steps: None,
) -> Evaluation:
    """Denoise every pair with every subject here, and score the results in `jobs` processes.

    Every pair is read once before that, so that a bad one is found before the work. `progress` is
    told the pair, how many are done and how many there are, of the reading and of the work. Raises
    AudioError for a bad pair, CheckFailed where an output is not finite, UserError where no metric
    has a value for any clip.
    """
    for index, pair in enumerate(pairs):
        progress(f"reading {pair.name}", index, len(pairs))
        check_pair(pair)
    seconds = [0.0] * len(subjects)
    done: list[ClipResult] = []
    waiting: deque[_Scored] = deque()
    with scoring(scorer, jobs) as score:
        for pair in pairs:
            progress(pair.name, len(done), len(pairs))
            clip = read_pair(pair, scorer.sample_rate)
            scored = _Scored(pair, len(clip.clean) / scorer.sample_rate)
            scored.results.append(score(clip.clean, clip.noisy))
            for index, subject in enumerate(subjects):
                started = perf_counter()
                enhanced = _enhanced(subject, pair, clip.noisy)
                seconds[index] += perf_counter() - started
                scored.results.append(score(clip.clean, enhanced))
            waiting.append(scored)
            while len(waiting) > _WAITING * jobs:
                done.append(waiting.popleft().wait())
        while waiting:
            done.append(waiting.popleft().wait())
            progress(done[-1].pair.name, len(done), len(pairs))
    _check_measured(done)
    audio = sum(result.seconds for result in done)
    factors = tuple(spent / audio if jobs == 1 else None for spent in seconds)
    return Evaluation(tuple(subjects), scorer.metrics, tuple(done), factors)


@dataclass(frozen=True)
class _Scored:
    """A pair whose scores are being computed: of the noisy recording, then of each output."""

    pair: Pair
    seconds: float
    results: list[Result] = field(default_factory=list)

    def wait(self) -> ClipResult:
        noisy, *denoised = (result() for result in self.results)
        return ClipResult(self.pair, self.seconds, noisy, tuple(denoised))


def _check_measured(clips: Sequence[ClipResult]) -> None:
    scores = [scores for clip in clips for scores in (clip.noisy, *clip.denoised)]
    if any(found.values for found in scores):
        return
    reasons = {f"{metric}: {why}" for found in scores for metric, why in found.missing.items()}
    raise UserError(
        f"nothing could be measured ({'; '.join(sorted(reasons))}); give other pairs or --metric"
    )


def _enhanced(subject: Subject, pair: Pair, noisy: Float32Array) -> Float32Array:
    enhanced = subject.denoise(noisy)
    if not np.isfinite(enhanced).all():
        raise CheckFailed(
            f"{subject.label}: its output for {pair.name} is not finite; "
            f"run: frcrn-export verify {quote(str(subject.choice.bundle))}"
        )
    return enhanced
