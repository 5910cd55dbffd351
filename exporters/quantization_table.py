"""What `frcrn-export inspect` says of INT8 files: how they were made, and their gates."""

from typing import TYPE_CHECKING

from frcrn_export.runtime.console import print_table

if TYPE_CHECKING:
    from frcrn_export.runtime.manifest import FileEntry, GateResult, Manifest, QuantizationInfo

# Gates by what they are called, and their units.
_CONSUMERS = {"tensorrt": "TensorRT, on a GPU", "cpu": "ONNX Runtime, on a processor"}
_GATES = {
    "pesq": ("PESQ drop", ""),
    "si_sdr": ("SI-SDR drop", " dB"),
    "stoi": ("STOI drop", ""),
    "core_snr": ("core SNR", " dB"),
    "speed": ("speed", " times"),
}
_LOSSES = ("pesq", "si_sdr", "stoi")


def print_quantization(manifest: "Manifest") -> None:
    """A table for each INT8 file of a bundle."""
    for entry in manifest.files:
        if entry.quantization is not None:
            print_table(("What", "Value"), _facts(entry.quantization), title=_title(entry))


def _title(entry: "FileEntry") -> str:
    return f"{entry.path}: INT8"


def _facts(made: "QuantizationInfo") -> list[tuple[str, str]]:
    facts = [
        ("for", _CONSUMERS[made.consumer]),
        ("ranges", f"{made.method}, of {made.clips} recordings, seed {made.seed}"),
        ("recordings sha256", made.clips_sha256[:16]),
        ("in INT8", f"{made.layers} of {made.candidates} layers"),
        ("share of the multiplications", f"{100 * made.share:.1f} %"),
        *((f"gate: {_GATES[gate.name][0]}", _gate(gate)) for gate in made.gates),
    ]
    if not made.gates:
        facts.append(("gates", "none was measured"))
    if made.kept_slower:
        facts.append(("kept", "although it is slower, by --allow-slower"))
    if made.report is not None:
        facts.append(("report", made.report))
    return facts


def _gate(gate: "GateResult") -> str:
    unit = _GATES[gate.name][1]
    limit = f"at {'most' if gate.name in _LOSSES else 'least'} {gate.limit:g}{unit}"
    if gate.value is None and gate.passed is None:
        return f"not measured ({limit})"
    value = "no value" if gate.value is None else f"{gate.value:.4g}{unit}"
    verdict = {True: "passed", False: "FAILED", None: "not judged"}[gate.passed]
    return f"{verdict}: {value} ({limit})"
