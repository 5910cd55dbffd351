"""Gates: lower limits of means over all clips."""

from collections.abc import Sequence
from dataclasses import dataclass

from frcrn_export.calibration.quality.evaluation import Evaluation
from frcrn_export.calibration.quality.summary import Group, groups_of
from frcrn_export.calibration.quality.tables import METRICS


@dataclass(frozen=True)
class Gate:
    """An option and its value: the least mean of a metric, or of its gain."""

    option: str
    metric: str
    is_gain: bool
    least: float


@dataclass(frozen=True)
class Verdict:
    """The mean of a gate, None without a value, and the reason of a failure, None if it passed."""

    gate: Gate
    value: float | None
    missed: str | None


def failures(evaluation: Evaluation, gates: Sequence[Gate]) -> list[str]:
    """A line for each failed gate: bundle, gate and value."""
    return [
        f"{subject.label}: {verdict.missed}"
        for index, subject in enumerate(evaluation.subjects)
        for verdict in verdicts(evaluation, gates, index)
        if verdict.missed
    ]


def verdicts(evaluation: Evaluation, gates: Sequence[Gate], subject: int) -> list[Verdict]:
    """Whether a subject passes, gate by gate.

    A clip with a value before and none after also fails the gate: the mean would hide it.
    """
    everything = groups_of(evaluation.clips)[-1]
    return [_verdict(everything, gate, subject) for gate in gates]


def _verdict(everything: Group, gate: Gate, subject: int) -> Verdict:
    mean = (everything.gain if gate.is_gain else everything.denoised)(gate.metric, subject)
    what = f"mean {METRICS[gate.metric].title}{' gain' * gate.is_gain}"
    floor = f"{gate.option} {gate.least:g}"
    if mean is None:
        return Verdict(gate, None, f"{what} has no value, {floor}")
    lost = [
        clip
        for clip in everything.clips
        if gate.metric in clip.noisy.values and gate.metric in clip.denoised[subject].missing
    ]
    missed = None
    if not mean.mean >= gate.least:  # also for NaN
        missed = f"{what} {mean.mean:.3f} is below {floor}"
    elif lost:
        reason = lost[0].denoised[subject].missing[gate.metric]
        missed = f"{what} lacks {lost[0].pair.name} ({reason}), {floor}"
    return Verdict(gate, mean.mean, missed)
