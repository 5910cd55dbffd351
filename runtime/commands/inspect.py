"""The command that shows what a bundle holds."""

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from frcrn_export.runtime.bundle.remedies import first_engine
from frcrn_export.runtime.commands.console import print_json, print_line, print_table
from frcrn_export.runtime.commands.float16_tables import print_float32_layers
from frcrn_export.runtime.commands.inspect_engines import print_findings
from frcrn_export.runtime.commands.inspect_tables import (
    print_engine,
    print_quantization,
    print_streaming,
)

if TYPE_CHECKING:
    from frcrn_export.runtime.bundle.graph_cost import GraphCost
    from frcrn_export.runtime.bundle.manifest import FileEntry, Manifest
    from frcrn_export.runtime.bundle.reader import Bundle


def inspect_bundle(bundle: Path, as_json: bool, layers: bool = False) -> None:
    """Show what a bundle holds: tensors, operators, cost, hashes, what its engines are made of.

    `layers`: every layer of the engines that the lint finds, too.
    """
    from frcrn_export.runtime.bundle.layer_lint import lint
    from frcrn_export.runtime.bundle.layer_report import census, layer_report, memory
    from frcrn_export.runtime.bundle.reader import open_bundle

    opened = open_bundle(bundle)
    costs = _costs(opened)
    engines = [entry for entry in opened.manifest.files if entry.engine is not None]
    reports = {entry.path: layer_report(opened, entry) for entry in engines}
    findings = {entry.path: lint(reports[entry.path], entry.precision) for entry in engines}
    if as_json:
        print_json(
            {
                "manifest": msgspec.to_builtins(opened.manifest),
                "graphs": {path: asdict(cost) for path, cost in costs.items()},
                "census": {path: census(report) for path, report in reports.items()},
                "lint": msgspec.to_builtins(findings),
                "memory": {path: memory(report) for path, report in reports.items()},
            }
        )
        return
    _print_facts(opened.manifest)
    _print_files(opened.manifest)
    print_streaming(opened.manifest)
    print_quantization(opened.manifest)
    print_float32_layers(opened.manifest)
    for path, cost in costs.items():
        _print_cost(path, cost)
    for entry in engines:
        print_engine(entry, reports[entry.path])
        if layers:
            print_findings(entry.path, findings[entry.path])
    if layers and not engines:
        build = first_engine(opened.path, opened.manifest, "fp16", "tensorrt-rtx")
        print_line(f"No engine in this bundle, and so no layers of one; build one: {build}")
    if find_spec("onnx") is None:
        click.echo('For operators and cost: pip install "frcrn-export[export]"')


def _costs(bundle: "Bundle") -> "dict[str, GraphCost]":
    """The cost of one second of audio, by ONNX file; empty without the onnx package."""
    if find_spec("onnx") is None:
        return {}
    from frcrn_export.runtime.bundle.audio_cost import graph_costs

    return {entry.path: cost for entry, cost in graph_costs(bundle)}


def _print_facts(manifest: "Manifest") -> None:
    stft = manifest.stft
    segments = manifest.segments
    facts: list[tuple[str, Any]] = [
        ("model", manifest.model),
        ("weights", f"{manifest.weights.name} ({manifest.weights.source})"),
        ("weights sha256", manifest.weights.sha256 or "-"),
        ("state dict", manifest.weights.state_dict or "the only one"),
        *((name, value) for name, value in manifest.variant.items() if name != "level"),
        ("sample rate", f"{manifest.sample_rate} Hz"),
        ("high-pass", _high_pass(manifest)),
        ("level", manifest.level),
        (
            "STFT",
            f"{stft.window} window {stft.window_length}, hop {stft.hop_length}, "
            f"FFT {stft.fft_length}" + f", centred ({stft.pad_mode})" * stft.center
            if stft
            else "none",
        ),
        (
            "whole up to",
            f"{segments.above / manifest.sample_rate:g} s, then windows of "
            f"{segments.length / manifest.sample_rate:g} s",
        ),
        *(("made with " + name, found) for name, found in manifest.tools.items()),
    ]
    print_table(("What", "Value"), ((name, str(value)) for name, value in facts))
    if manifest.assumptions:
        print_table(
            ("Assumed", "Value", "Why"),
            ((one.setting, one.value, one.reason) for one in manifest.assumptions),
        )


def _high_pass(manifest: "Manifest") -> str:
    filters = manifest.high_pass
    if filters is None:
        return "none"
    return f"{filters.cutoff_hz:g} Hz, in streams {filters.streaming_cutoff_hz:g} Hz"


def _print_files(manifest: "Manifest") -> None:
    print_table(
        ("File", "Input", "Output", "Precision", ">MB", "sha256"),
        (
            (
                f.path,
                _tensors(f, "inputs"),
                _tensors(f, "outputs"),
                f.precision + (f", input up to {f.input_limit:.3g}" if f.input_limit else ""),
                f"{f.bytes / 1e6:.2f}",
                f.sha256[:16],
            )
            for f in manifest.files
        ),
    )


def _tensors(entry: "FileEntry", side: str) -> str:
    return ", ".join(
        f"{tensor.name} [{', '.join(map(str, tensor.shape))}] {tensor.dtype}"
        for tensor in getattr(entry, side)
    )


def _print_cost(path: str, cost: "GraphCost") -> None:
    operators = ", ".join(f"{count} {name}" for name, count in cost.operators.items())
    flop = "unknown" if cost.flop is None else f"{cost.flop / 1e9:.2f} GFLOP"
    print_table(
        ("What", "Value"),
        (
            ("operators", operators),
            ("values in the file", f"{cost.parameters / 1e6:.2f} million"),
            ("per second of audio", flop),
        ),
        title=path,
    )
