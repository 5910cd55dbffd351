"""The output of `frcrn-export verify --layers`: a file against float32, layer by layer."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

import msgspec

from frcrn_export.runtime.bundle.manifest import Precision, TensorrtBackend
from frcrn_export.runtime.commands.console import print_json, print_line, print_table, status
from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.verify.layers import LayerReport, require_layers

_NAMED = 8  # layers without a counterpart
_ONNX = "onnxruntime-cpu"


def verify_layers(
    path: Path, backends: Sequence[str], precision: Precision | None, as_json: bool
) -> None:
    """Compare the cores of a bundle layer by layer and show the results.

    The ONNX files where no backend is given, else what the backends run. Raises as `check_layers`
    and `check_engine_layers`, UserError for other backends, and CheckFailed where an output missed
    its floor.
    """
    from frcrn_export.exporters.layer_parity import check_layers
    from frcrn_export.runtime.bundle.reader import open_bundle

    chosen = list(map(_served, dict.fromkeys(backends or (_ONNX,))))
    reports: list[LayerReport] = []
    with status() as step:
        step("checking the files")
        bundle = open_bundle(path)
        for backend in chosen:
            if backend is None:
                reports += check_layers(bundle, precision, step)
            else:
                from frcrn_export.engines.layer_outputs import check_engine_layers

                reports += check_engine_layers(bundle, backend, precision, step)
    show_layers(path, reports, as_json)


def _served(backend: str) -> TensorrtBackend | None:
    """The backend of engines, or None for the one of ONNX files. Raises UserError for others."""
    if backend == _ONNX:
        return None
    if backend not in get_args(TensorrtBackend):
        raise UserError(
            f"--backend {backend}: layers are compared in {_ONNX}, "
            f"{' and '.join(get_args(TensorrtBackend))}; give one of them"
        )
    return cast(TensorrtBackend, backend)


def show_layers(path: Path, reports: Sequence[LayerReport], as_json: bool) -> None:
    """Show reports. Raises CheckFailed where an output missed its floor."""
    if as_json:
        print_json({"bundle": str(path), "files": [_facts(report) for report in reports]})
    else:
        for report in reports:
            _print(report)
    require_layers(reports)


def _facts(report: LayerReport) -> dict[str, object]:
    worst = report.worst
    return {
        "artifact": report.artifact,
        "reference": report.reference,
        "case": report.case,
        "layers": msgspec.to_builtins(report.layers),
        "largest_drop": None if worst is None else worst.layer,
        "output": msgspec.to_builtins(report.output),
        "unmatched": list(report.unmatched),
        "further": list(report.further),
        "remark": report.remark,
    }


def _print(report: LayerReport) -> None:
    output, worst = report.output, report.worst
    rows = [
        (
            layer.layer,
            layer.operator,
            f"{layer.snr_db:.1f}",
            f"{layer.drop_db:.1f}" if layer.drop_db >= 0.05 else "",
            "largest drop" if layer is worst else "",
        )
        for layer in report.layers
    ]
    passed = "" if output.passed else f"below the floor of {output.floor_db:.0f} dB"
    rows.append(("output", "", f"{output.snr_db:.1f}", "", passed))
    print_table(
        ("Layer", "Operator", ">SNR dB", ">Drop dB", "Note"),
        rows,
        title=f"{report.artifact} against {report.reference}, {report.case}",
    )
    for where, names in ((report.reference, report.unmatched), (report.artifact, report.further)):
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            print_line(f"Only in {where}: {', '.join(names[:_NAMED])}{more}")
    if report.remark:
        print_line(f"{report.artifact}: {report.remark}.")
