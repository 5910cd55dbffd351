"""An evaluation as a file: Markdown, CSV and JSON."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from frcrn_export.calibration.quality.evaluation import Evaluation
from frcrn_export.calibration.quality.gates import Gate, verdicts
from frcrn_export.calibration.quality.summary import Mean, groups_of
from frcrn_export.calibration.quality.tables import METRICS, notes, tables
from frcrn_export.runtime.tables import markdown_table

_DIGITS = 4


def markdown(evaluation: Evaluation) -> str:
    """All tables and notes as a Markdown document."""
    parts = ["# Quality", *(f"- {line}" for line in notes(evaluation))]
    text = "\n".join([parts[0], "", *parts[1:]]) + "\n"
    return text + "".join(markdown_table(table) for table in tables(evaluation, clips=True))


def csv_text(evaluation: Evaluation) -> str:
    """One row for each clip of each subject; missing values are empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    values = [f"{metric}{end}" for metric in evaluation.metrics for end in ("_noisy", "", "_gain")]
    writer.writerow(["bundle", "backend", "group", "clip", "seconds", *values])
    for index, subject in enumerate(evaluation.subjects):
        for clip in evaluation.clips:
            row: list[object] = [subject.label, subject.denoiser.session.backend]
            row += [clip.pair.group, clip.pair.name, round(clip.seconds, 3)]
            for metric in evaluation.metrics:
                row.append(_rounded(clip.noisy.values.get(metric)))
                row.append(_rounded(clip.denoised[index].values.get(metric)))
                row.append(_rounded(clip.gain(metric, index)))
            writer.writerow(row)
    return out.getvalue()


def json_report(
    evaluation: Evaluation, gates: Sequence[Gate] = (), folders: Sequence[Path] = ()
) -> dict[str, Any]:
    """The evaluation as JSON: means by group, gates and every clip, for each subject.

    `folders`: those of the pairs.
    """
    return {
        "frcrn_export": version("frcrn-export"),
        "pairs": [str(folder) for folder in folders],
        "interval": "95 % confidence of the mean, Student's t",
        "metrics": {name: asdict(METRICS[name]) for name in evaluation.metrics},
        "bundles": [_subject_json(evaluation, gates, i) for i in range(len(evaluation.subjects))],
    }


def _subject_json(evaluation: Evaluation, gates: Sequence[Gate], index: int) -> dict[str, Any]:
    subject = evaluation.subjects[index]
    factor = evaluation.real_time_factors[index]
    return {
        "label": subject.label,
        "bundle": str(subject.choice.bundle),
        "model": subject.denoiser.manifest.model,
        "weights": msgspec.to_builtins(subject.denoiser.manifest.weights),
        "backend": subject.denoiser.session.backend,
        "device": subject.denoiser.session.device,
        "precision": subject.precision,
        "stream": subject.choice.stream,
        "windowed": subject.choice.windowed,
        "real_time_factor": _rounded(factor),
        "groups": {
            group.name: {
                "clips": len(group.clips),
                **{
                    metric: {
                        "noisy": _mean_json(group.noisy(metric)),
                        "denoised": _mean_json(group.denoised(metric, index)),
                        "gain": _mean_json(group.gain(metric, index)),
                    }
                    for metric in evaluation.metrics
                },
            }
            for group in groups_of(evaluation.clips)
        },
        "gates": [
            {
                "option": verdict.gate.option,
                "least": verdict.gate.least,
                "value": _rounded(verdict.value),
                "passed": verdict.missed is None,
            }
            for verdict in verdicts(evaluation, gates, index)
        ],
        "clips": [
            {
                "name": clip.pair.name,
                "group": clip.pair.group,
                "seconds": round(clip.seconds, 3),
                **{
                    metric: {
                        "noisy": _rounded(clip.noisy.values.get(metric)),
                        "denoised": _rounded(clip.denoised[index].values.get(metric)),
                        "gain": _rounded(clip.gain(metric, index)),
                    }
                    for metric in evaluation.metrics
                },
                "missing": {"noisy": clip.noisy.missing, "denoised": clip.denoised[index].missing},
            }
            for clip in evaluation.clips
        ],
    }


def _mean_json(mean: Mean | None) -> dict[str, Any] | None:
    if mean is None:
        return None
    margin = _rounded(mean.margin)
    return {"mean": _rounded(mean.mean), "margin": margin, "clips": mean.count}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
