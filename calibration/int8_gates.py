"""The gates of INT8: the largest loss of quality, and the least speed.

Quality and the core's SNR in dB are means over held-out clips. The worst clip often has hardly any
speech, so that little remains to compare; reports name it. The SNR on abrupt sound is the least
one, where `verify` will look for it again.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from types import MappingProxyType
from typing import Literal

from frcrn_export.calibration.quality_scores import Quality
from frcrn_export.calibration.speed import Speed
from frcrn_export.runtime.bundle.manifest import GateResult, Weights
from frcrn_export.runtime.commands.inspect_tables import LOSSES, gate_words
from frcrn_export.runtime.verify.parity import FLOOR_DB

Name = Literal["pesq", "si_sdr", "stoi", "core_snr", "abrupt_snr", "speed"]

# Upper limits of drops against float32; lower limits of SNRs (dB) and the speed.
LIMITS: Mapping[Name, float] = MappingProxyType(
    {
        "pesq": 0.1,
        "si_sdr": 0.3,
        "stoi": 0.005,
        "core_snr": 20.0,
        "abrupt_snr": FLOOR_DB["int8"],
        "speed": 1.0,
    }
)
_DROPS: tuple[Name, ...] = ("pesq", "si_sdr", "stoi")
_DIGITS = 6


def quality_gates(float32: Quality, int8: Quality, weights: Weights) -> tuple[GateResult, ...]:
    """The gates of quality. A clip with a value in float32 and none in INT8 fails the gate.

    A metric that float32 has for no clip is not measured. Nor are PESQ, SI-SDR and STOI of a
    network with random weights: its output is not speech.
    """
    meaningless = weights.are_random
    return (
        *(_drop(metric, None if meaningless else float32, int8) for metric in _DROPS),
        _gate("core_snr", int8.mean_core_snr_db),
        _gate("abrupt_snr", int8.abrupt_snr_db),
    )


def speed_gate(speed: Speed | None) -> GateResult:
    """The gate of speed; with None, on a machine without the target, it is not measured."""
    return _gate("speed", speed.ratio if speed else None)


def passed(gates: Sequence[GateResult]) -> bool:
    """Whether no gate failed; unmeasured gates do not fail."""
    return all(gate.passed is not False for gate in gates)


def failures(gates: Sequence[GateResult], path: str, command: str) -> list[str]:
    """A line for each failed gate: file, metric, value, limit and the next command.

    `command`: the `frcrn-export calibrate` that made the file.
    """
    return [
        f"{path}: {_missed(gate)}; {_remedy(gate, command)}"
        for gate in gates
        if gate.passed is False
    ]


def _drop(metric: Name, float32: Quality | None, int8: Quality) -> GateResult:
    if float32 is None:
        return _gate(metric, None)
    return _gate(metric, int8.drop(float32, metric), lost=bool(int8.lost(float32, metric)))


def _gate(name: Name, value: float | None, *, lost: bool = False) -> GateResult:
    """`lost`: whether clips have a value in float32 and none here."""
    limit = LIMITS[name]
    if value is None or not isfinite(value):
        failed = lost or value is not None
        return GateResult(name=name, limit=limit, value=None, passed=False if failed else None)
    value = round(value, _DIGITS)
    within = value <= limit if name in LOSSES else value >= limit
    return GateResult(name=name, limit=limit, value=value, passed=within and not lost)


def _missed(gate: GateResult) -> str:
    words = gate_words(gate)
    is_loss = gate.name in LOSSES
    limit = f"{words.limit} {'is allowed' if is_loss else 'is needed'}"
    if gate.value is None:
        return f"{words.what} has no value where float32 has one, {limit}"
    within = gate.value <= gate.limit if is_loss else gate.value >= gate.limit
    lacks = " of fewer clips than float32 has a value for" * within
    return f"{words.what} {words.value}{lacks}, {limit}"


def _remedy(gate: GateResult, command: str) -> str:
    if gate.name == "speed":
        return f"to keep it anyway, run: {command} --allow-slower"
    if "--auto" in command.split():
        other = "" if "--method" in command.split() else " --method percentile"
        return f"try another method or more recordings: {command}{other}"
    return f"let layers fall back to float: {command} --auto"
