"""What `frcrn-export inspect` says of INT8 and FP8 files: how they were made, and their gates."""

from typing import TYPE_CHECKING

from frcrn_export.runtime.commands.console import print_table
from frcrn_export.runtime.commands.gate_words import gate_words

if TYPE_CHECKING:
    from frcrn_export.runtime.bundle.manifest import (
        FileEntry,
        GateResult,
        Manifest,
        QuantizationInfo,
    )

_CONSUMERS = {"tensorrt": "TensorRT, on a GPU", "cpu": "ONNX Runtime, on a processor"}


def print_quantization(manifest: "Manifest") -> None:
    """A table for each INT8 or FP8 file of a bundle."""
    for entry in manifest.files:
        if entry.quantization is not None:
            print_table(("What", "Value"), _facts(entry, entry.quantization), title=_title(entry))


def _title(entry: "FileEntry") -> str:
    return f"{entry.path}: {entry.precision.upper()}"


def _facts(entry: "FileEntry", made: "QuantizationInfo") -> list[tuple[str, str]]:
    facts = [
        ("for", _CONSUMERS[made.consumer]),
        ("ranges", f"{made.method}, of {made.clips} recordings, seed {made.seed}"),
        ("recordings sha256", made.clips_sha256[:16]),
        (f"in {entry.precision.upper()}", f"{made.layers} of {made.candidates} layers"),
        ("share of the multiplications", f"{100 * made.share:.1f} %"),
        *map(_gate, made.gates),
    ]
    if not made.gates:
        facts.append(("gates", "none was measured"))
    if made.kept_slower:
        facts.append(("kept", "although it is slower, by --allow-slower"))
    if made.report is not None:
        facts.append(("report", made.report))
    return facts


def _gate(gate: "GateResult") -> tuple[str, str]:
    words = gate_words(gate)
    value = "" if gate.value is None else f": {words.value}"
    return f"gate: {words.what}", f"{words.verdict}{value} ({words.limit})"
