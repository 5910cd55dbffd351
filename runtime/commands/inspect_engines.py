"""The tables of `inspect --layers` and `inspect --against`."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from frcrn_export.runtime.bundle.layer_lint import Finding, Kind
from frcrn_export.runtime.commands.console import print_json, print_line, print_table
from frcrn_export.runtime.commands.engine_comparison import Row, compare_engines, find_pairs

_TITLES: dict[Kind, str] = {
    "precision": "outside the precision",
    "conversion": "only converts",
    "channels": "narrow channels",
}


def print_findings(path: str, findings: Sequence[Finding]) -> None:
    """The lint of an engine's layers as a table."""
    if not findings:
        print_line(f"{path}: all layers run in its precision, without conversions between them")
        return
    print_table(
        ("What", "Layer", "Operator", ">Work", "Why"),
        (
            (
                _TITLES[each.kind],
                each.name,
                each.operator,
                "-" if each.share is None else f"{100 * each.share:.2f} %",
                each.detail,
            )
            for each in findings
        ),
        title=f"{path}: layers to look at",
    )


def compare(a: Path, b: Path, as_json: bool) -> None:
    """Print how the engines of two paths differ."""
    pairs = [(one, other, compare_engines(one, other)) for one, other in find_pairs(a, b)]
    if as_json:
        print_json(
            [
                {"a": str(one.path), "b": str(other.path), **msgspec.to_builtins(found)}
                for one, other, found in pairs
            ]
        )
        return
    for one, other, found in pairs:
        columns = ("What", str(one.path), str(other.path))
        if found.different:
            print_table(columns, _cells(found.different), title="What differs")
        else:
            print_line(f"{one.path} and {other.path} differ in nothing that is listed here")
        if found.nodes:
            print_table(
                ("ONNX node", "Operator", "First runs it in", "Second runs it in"),
                ((row.node, row.operator, row.a or "-", row.b or "-") for row in found.nodes),
                title="Nodes in different types, those with the most work first",
            )
        if found.same:
            print_table(columns, _cells(found.same), title="The same in both")


def _cells(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    return [(row.what, row.a, row.b) for row in rows]
