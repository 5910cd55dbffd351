"""The gates of INT8 files in words, as tables and errors show them."""

from dataclasses import dataclass

from frcrn_export.runtime.bundle.manifest import GateResult

# Titles and units. Of the first three a gate's value is a loss, which has an upper limit.
_TITLES = {
    "pesq": ("mean PESQ drop", ""),
    "si_sdr": ("mean SI-SDR drop", " dB"),
    "stoi": ("mean STOI drop", ""),
    "core_snr": ("mean core SNR", " dB"),
    "speed": ("speed against float", "x"),
}
LOSSES = ("pesq", "si_sdr", "stoi")
_VERDICTS = {True: "passed", False: "FAILED", None: "not measured"}


@dataclass(frozen=True)
class GateWords:
    """The cells of a table: what is measured, its value, the limit and the verdict."""

    what: str
    value: str
    limit: str
    verdict: str


def gate_words(gate: GateResult) -> GateWords:
    """A gate in words; its value is "-" where there is none."""
    title, unit = _TITLES[gate.name]
    value = "-" if gate.value is None else f"{gate.value:.4g}{unit}"
    limit = f"at {'most' if gate.name in LOSSES else 'least'} {gate.limit:g}{unit}"
    return GateWords(title, value, limit, _VERDICTS[gate.passed])
