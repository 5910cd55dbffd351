"""The tables of `inspect`: engines, quantization, streams."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frcrn_export.runtime.bundle.audio_cost import samples_each
from frcrn_export.runtime.bundle.manifest import FileEntry, GateResult, Precision
from frcrn_export.runtime.commands.console import print_line, print_table
from frcrn_export.runtime.sessions.tensorrt_backends import sms_text

if TYPE_CHECKING:
    from frcrn_export.runtime.bundle.layer_report import LayerReport
    from frcrn_export.runtime.bundle.manifest import (
        EngineInfo,
        FileEntry,
        GateResult,
        Manifest,
        QuantizationInfo,
        StreamingInfo,
    )


# Titles and units. The first three gates are losses with an upper limit.
_TITLES = {
    "pesq": ("mean PESQ drop", ""),
    "si_sdr": ("mean SI-SDR drop", " dB"),
    "stoi": ("mean STOI drop", ""),
    "core_snr": ("mean core SNR", " dB"),
    "abrupt_snr": ("SNR on clicks, jumps, noise", " dB"),
    "speed": ("speed against float", "x"),
}
LOSSES = ("pesq", "si_sdr", "stoi")
_VERDICTS = {True: "passed", False: "FAILED", None: "not measured"}


@dataclass(frozen=True)
class GateWords:
    """The cells of a gate in a table: metric, value, limit and verdict."""

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


def print_engine(entry: FileEntry, report: "LayerReport") -> None:
    """Tables of one engine of a bundle: its facts, and the census of its ONNX nodes."""
    from frcrn_export.runtime.bundle.layer_lint import lint, said_of
    from frcrn_export.runtime.bundle.layer_report import census

    engine = entry.engine
    assert engine is not None
    counts, findings = census(report), lint(report, entry.precision)
    shapes = {name: getattr(engine.profile, name) for name in ("min", "opt", "max")}
    print_table(
        ("What", "Value"),
        (
            (
                "for",
                f"{engine.gpu} (SM {sms_text(engine.sms)}{_reach(engine.hardware_compatible)})",
            ),
            ("built by", f"{engine.backend} {engine.version} from {engine.source}"),
            ("size", f"{entry.bytes / 1e6:.1f} MB"),
            ("activation memory", f"{_activations(report)}, of each context"),
            ("weights in memory", _megabytes(report.weights_bytes)),
            *((f"{name} shape", str(list(shape))) for name, shape in shapes.items()),
            (f"outside {entry.precision}", said_of(report, findings, "precision")),
            ("narrow channels", said_of(report, findings, "channels")),
            ("only convert", said_of(report, findings, "conversion")),
            ("refittable", _refittable(engine)),
            ("in ONNX Runtime", engine.context or "no EPContext file"),
            ("verification", engine.verification),
        ),
        title=entry.path,
    )
    kinds = sorted({kind for row in counts.values() for kind in row})
    print_table(
        ("ONNX operator", *(f">{kind}" for kind in kinds)),
        ((name, *(str(row.get(kind, "")) for kind in kinds)) for name, row in counts.items()),
        title="Precision census: ONNX nodes",
    )


def _activations(report: "LayerReport") -> str:
    """The activation memory at the profile's maximum: the builder's number, or the estimate."""
    estimate = _megabytes(report.estimated_activation_bytes)
    if report.activation_bytes is not None:
        return f"{_megabytes(report.activation_bytes)} by the builder (estimated: {estimate})"
    return f"{estimate} by an estimate" if report.estimated_activation_bytes else "unknown"


def _refittable(engine: "EngineInfo") -> str:
    if engine.stripped:
        return f"yes, without weights: takes those of {engine.source} when it is opened"
    return "yes" if engine.refittable else "no"


def _megabytes(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 1e6:,.1f} MB"


def said_of_model(path: Path, manifest: "Manifest") -> str:
    """One line: a bundle's model and weights."""
    weights = manifest.weights
    what = " (random: the output is not speech)" if weights.are_random else ""
    return f"{path}: {manifest.model}, weights: {weights.name}{what}"


def print_model(path: Path, manifest: "Manifest") -> None:
    """Which model with which weights runs: one line on standard error, before it does."""
    print_line(said_of_model(path, manifest), err=True)


def said_of_quantized(quantized: Mapping[str, str], precision: Precision) -> str:
    """One line: how many quantized layers run in the file's precision, and which ones do not.

    `quantized` holds the data type that each runs in, by name; see layer_report.py.
    """
    from frcrn_export.runtime.bundle.layer_lint import WORDS

    wanted = WORDS[precision]
    others = [f"{name} ({dtype})" for name, dtype in quantized.items() if dtype != wanted]
    if not others:
        return f"All {len(quantized)} layers that the file quantizes run in {wanted}."
    return (
        f"Of {len(quantized)} layers that the file quantizes {len(quantized) - len(others)} run in "
        f"{wanted}; not: {', '.join(others)}."
    )


def _reach(hardware_compatible: bool) -> str:
    return " and later" if hardware_compatible else ""


_TARGETS = {"tensorrt": "TensorRT, on a GPU", "cpu": "ONNX Runtime, on a processor"}


def print_quantization(manifest: "Manifest") -> None:
    """A table for each INT8 or FP8 file of a bundle."""
    for entry in manifest.files:
        if entry.quantization is not None:
            print_table(("What", "Value"), _facts(entry, entry.quantization), title=_title(entry))


def _title(entry: "FileEntry") -> str:
    return f"{entry.path}: {entry.precision.upper()}"


def _facts(entry: "FileEntry", made: "QuantizationInfo") -> list[tuple[str, str]]:
    facts = [
        ("for", _TARGETS[made.target]),
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


def print_streaming(manifest: "Manifest") -> None:
    """Tables of calls and of states for the streaming cores with the same I/O signature."""
    unit = "frames" if manifest.stft else "samples"
    milliseconds = samples_each(manifest) / manifest.sample_rate * 1e3
    paths: dict[StreamingInfo, list[str]] = {}
    for entry in manifest.files:
        if entry.streaming is not None:
            paths.setdefault(entry.streaming, []).append(entry.path)
    for streaming, names in paths.items():
        size = sum(state.row_bytes for state in streaming.states)
        facts = [
            (name, f"{count} {unit}, {count * milliseconds:g} ms")
            for name, count in (("chunk", streaming.chunk), ("look-ahead", streaming.lookahead))
        ]
        facts += [("input that tells the end", streaming.end or "none")]
        facts += [("states of a stream", f"{size / 1e3:.1f} kB")]
        print_table(("What", "Value"), facts, title=f"{', '.join(names)}: each call")
        print_table(
            ("State", "Next", "Type", "Shape", ">At first"),
            (
                (
                    state.name,
                    state.next,
                    state.dtype,
                    f"[{', '.join(map(str, state.shape))}]",
                    f"{state.initial:g}",
                )
                for state in streaming.states
            ),
        )
