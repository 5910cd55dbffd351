from pathlib import Path

import pytest

from frcrn_export.calibration.quality.evaluation import Choice, Evaluation, Subject
from frcrn_export.calibration.quality.gates import Gate, failures
from frcrn_export.calibration.quality.scoring import Scores
from frcrn_export.calibration.quality.summary import ClipResult
from frcrn_export.runtime.audio.pairs import Pair


def evaluation(*clips: tuple[Scores, Scores]) -> Evaluation:
    subject = Subject("wave", Choice(Path("wave")), None)  # type: ignore[arg-type]
    results = tuple(
        ClipResult(Pair(f"clip{index}", Path(), Path()), 1.0, noisy, (denoised,))
        for index, (noisy, denoised) in enumerate(clips)
    )
    return Evaluation((subject,), ("pesq",), results, (None,))


NOISY, BETTER = Scores({"pesq": 1.5}), Scores({"pesq": 2.0})
NONE = Scores({}, {"pesq": "silent"})
LEAST_PESQ, LEAST_GAIN = Gate("--min-pesq", "pesq", False, 1.9), Gate("--gain", "pesq", True, 0.4)


@pytest.mark.parametrize("gate", [LEAST_PESQ, LEAST_GAIN])
def test_gates_pass(gate: Gate) -> None:
    assert failures(evaluation((NOISY, BETTER), (NONE, NONE)), [gate]) == []


def test_the_value_itself_passes() -> None:
    assert failures(evaluation((NOISY, BETTER)), [Gate("--x", "pesq", False, 2.0)]) == []


def test_what_is_missed_is_named() -> None:
    gates = [Gate("--min-pesq", "pesq", False, 2.1), Gate("--min-gain", "pesq", True, 0.6)]
    assert failures(evaluation((NOISY, BETTER)), gates) == [
        "wave: mean PESQ-WB 2.000 is below --min-pesq 2.1",
        "wave: mean PESQ-WB gain 0.500 is below --min-gain 0.6",
    ]


def test_an_output_without_a_value_fails() -> None:
    """A network that gives silence where it is hard must not pass by that."""
    found = failures(evaluation((NOISY, BETTER), (NOISY, NONE)), [LEAST_PESQ])
    assert found == ["wave: mean PESQ-WB lacks clip1 (silent), --min-pesq 1.9"]


def test_no_value_at_all_fails() -> None:
    found = failures(evaluation((NOISY, NONE)), [LEAST_PESQ])
    assert found == ["wave: mean PESQ-WB has no value, --min-pesq 1.9"]


def test_nan_fails() -> None:
    gate = Gate("--min-pesq", "pesq", False, float("nan"))
    assert len(failures(evaluation((NOISY, BETTER)), [gate])) == 1
