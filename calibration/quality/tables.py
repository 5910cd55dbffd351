"""An evaluation as tables for people: means, differences, clips, and notes on them."""

from collections.abc import Iterator
from dataclasses import dataclass

from frcrn_export.calibration.quality.evaluation import Evaluation
from frcrn_export.calibration.quality.summary import Group, Mean, groups_of
from frcrn_export.runtime.tables import Table

_MAX_NAMES = 3


@dataclass(frozen=True)
class Metric:
    """How a metric is shown: title, unit and number of digits."""

    title: str
    digits: int = 2
    unit: str = ""

    @property
    def heading(self) -> str:
        return f"{self.title} ({self.unit})" if self.unit else self.title


METRICS = {
    "si_sdr": Metric("SI-SDR", unit="dB"),
    "pesq": Metric("PESQ-WB"),
    "stoi": Metric("STOI", digits=3),
    "seg_snr": Metric("SegSNR", unit="dB"),
    "dnsmos_sig": Metric("DNSMOS SIG"),
    "dnsmos_bak": Metric("DNSMOS BAK"),
    "dnsmos_ovr": Metric("DNSMOS OVR"),
}


def tables(evaluation: Evaluation, clips: bool) -> list[Table]:
    """The means of groups and of all clips; with `clips` every clip first."""
    return [_clip_table(evaluation)] * clips + [_mean_table(evaluation)]


def notes(evaluation: Evaluation) -> list[str]:
    """Lines on devices and speeds, and on missing values and their reasons."""
    lines = []
    for subject, factor in zip(evaluation.subjects, evaluation.real_time_factors, strict=True):
        session = subject.denoiser.session
        speed = "" if factor is None else f", real-time factor {factor:.4f}"
        lines.append(f"{subject.label}: {session.backend} on {session.device}{speed}")
    missing: dict[tuple[str, str, str], list[str]] = {}
    for clip in evaluation.clips:
        labels = ("noisy", *(subject.label for subject in evaluation.subjects))
        for label, scores in zip(labels, (clip.noisy, *clip.denoised), strict=True):
            for metric, reason in scores.missing.items():
                missing.setdefault((label, metric, reason), []).append(clip.pair.name)
    for (label, metric, reason), names in missing.items():
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        shown = ", ".join(names[:_MAX_NAMES]) + more
        lines.append(f"No {METRICS[metric].title} of {shown} ({label}): {reason}")
    return lines


def _mean_table(evaluation: Evaluation) -> Table:
    several = len(evaluation.subjects) > 1
    columns = ["Group", ">Clips", "Metric", *["Bundle"] * several, ">Noisy", ">Denoised", ">Gain"]
    columns += [">Minus the first"] * several
    rows = [
        row
        for group in groups_of(evaluation.clips)
        for metric in evaluation.metrics
        for row in _mean_rows(evaluation, group, metric, several)
    ]
    return Table("Means and their 95% confidence intervals", tuple(columns), tuple(rows))


def _mean_rows(
    evaluation: Evaluation, group: Group, metric: str, several: bool
) -> Iterator[tuple[str, ...]]:
    """A row for each subject; paired differences of two have less spread than the clips."""
    count = len(group.clips)
    for index, subject in enumerate(evaluation.subjects):
        row = [group.name, str(count), METRICS[metric].heading, *[subject.label] * several]
        row.append(_mean_cell(group.noisy(metric), metric, count))
        row.append(_mean_cell(group.denoised(metric, index), metric, count))
        row.append(_mean_cell(group.gain(metric, index), metric, count, sign="+"))
        if several:
            mean = group.against(metric, index, 0) if index else None
            row.append(_mean_cell(mean, metric, count, sign="+"))
        yield tuple(row)


def _clip_table(evaluation: Evaluation) -> Table:
    several = len(evaluation.subjects) > 1
    columns = ["Clip", *["Bundle"] * several]
    for metric in evaluation.metrics:
        columns += [f">{METRICS[metric].heading}", ">Gain"]
    rows = []
    for clip in evaluation.clips:
        for index, subject in enumerate(evaluation.subjects):
            row = [clip.pair.name, *[subject.label] * several]
            for metric in evaluation.metrics:
                row.append(_cell(clip.denoised[index].values.get(metric), metric))
                row.append(_cell(clip.gain(metric, index), metric, sign="+"))
            rows.append(tuple(row))
    return Table("Clips, denoised", tuple(columns), tuple(rows))


def _mean_cell(mean: Mean | None, metric: str, clips: int, sign: str = "") -> str:
    if mean is None:
        return "-"
    cell = _cell(mean.mean, metric, sign)
    if mean.margin is not None:
        cell += f" ± {_cell(mean.margin, metric)}"
    return cell if mean.count == clips else f"{cell} ({mean.count} clips)"


def _cell(value: float | None, metric: str, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.{METRICS[metric].digits}f}"
