"""Gates: the least that means over all clips must reach."""

from dataclasses import dataclass

from frcrn_export.calibration.evaluation import Evaluation
from frcrn_export.calibration.summary import groups_of
from frcrn_export.calibration.tables import METRICS


@dataclass(frozen=True)
class Gate:
    """An option and its value: the mean of a metric, or of its gain, is to be at least that."""

    option: str
    metric: str
    is_gain: bool
    least: float


def failures(evaluation: Evaluation, gates: list[Gate]) -> list[str]:
    """What each subject misses: gate, value and bundle.

    A clip that has a value before and none after fails the gate too: the mean leaves it out.
    """
    everything = groups_of(evaluation.clips)[-1]
    found = []
    for index, subject in enumerate(evaluation.subjects):
        for gate in gates:
            what = f"{subject.label}: mean {METRICS[gate.metric].title}{' gain' * gate.is_gain}"
            mean = (everything.gain if gate.is_gain else everything.denoised)(gate.metric, index)
            lost = [
                clip
                for clip in everything.clips
                if gate.metric in clip.noisy.values and gate.metric in clip.denoised[index].missing
            ]
            floor = f"{gate.option} {gate.least:g}"
            if mean is None:
                found.append(f"{what} has no value, {floor}")
            elif not mean.mean >= gate.least:  # also where that is NaN
                found.append(f"{what} {mean.mean:.3f} is below {floor}")
            elif lost:
                reason = lost[0].denoised[index].missing[gate.metric]
                found.append(f"{what} lacks {lost[0].pair.name} ({reason}), {floor}")
    return found
