"""The output of `frcrn-export verify --layers`: a file against float32, layer by layer."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from frcrn_export.runtime.bundle.manifest import Precision
from frcrn_export.runtime.commands.console import print_json, print_line, print_table, status
from frcrn_export.runtime.verify.layers import LayerReport, require_layers

_NAMED = 8  # layers without a counterpart


def verify_layers(path: Path, precision: Precision | None, as_json: bool) -> None:
    """Compare the ONNX cores of a bundle layer by layer and show the results.

    Raises as `check_layers`, and CheckFailed where an output missed its floor.
    """
    from frcrn_export.exporters.layer_parity import check_layers
    from frcrn_export.runtime.bundle.reader import open_bundle

    with status() as step:
        step("checking the files")
        reports = check_layers(open_bundle(path), precision, step)
    show_layers(path, reports, as_json)


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
