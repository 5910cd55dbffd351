"""What people see of an engine: what it is for, its shapes, and which precision ran where."""

from collections.abc import Mapping

from frcrn_export.runtime.bundle.manifest import FileEntry, Precision
from frcrn_export.runtime.commands.console import print_table

Census = dict[str, dict[str, int]]

# What the builder calls the precisions of quantized files.
_WORDS: dict[Precision, str] = {"int8": "Int8", "fp8": "FP8"}


def print_engine(entry: FileEntry, counts: Census) -> None:
    """Tables of one engine of a bundle: its facts, and the census of its ONNX nodes."""
    engine = entry.engine
    assert engine is not None
    shapes = {name: getattr(engine.profile, name) for name in ("min", "opt", "max")}
    print_table(
        ("What", "Value"),
        (
            ("for", f"{engine.gpu} (SM {engine.sm / 10:.1f}{_reach(engine.hardware_compatible)})"),
            ("built by", f"{engine.flavor} {engine.version} from {engine.source}"),
            ("size", f"{entry.bytes / 1e6:.1f} MB"),
            *((f"{name} shape", str(list(shape))) for name, shape in shapes.items()),
            ("refittable", "yes" if engine.refittable else "no"),
            ("proof", engine.proof),
        ),
        title=entry.path,
    )
    kinds = sorted({kind for row in counts.values() for kind in row})
    print_table(
        ("ONNX operator", *(f">{kind}" for kind in kinds)),
        ((name, *(str(row.get(kind, "")) for kind in kinds)) for name, row in counts.items()),
        title="Precision census: ONNX nodes",
    )


def said_of_quantized(quantized: Mapping[str, str], precision: Precision) -> str:
    """One line: how many quantized layers run in the file's precision, and which do not.

    `quantized` holds the data type that each runs in, by name; see layer_report.py.
    """
    wanted = _WORDS[precision]
    others = [f"{name} ({dtype})" for name, dtype in quantized.items() if dtype != wanted]
    if not others:
        return f"All {len(quantized)} layers that the file quantizes run in {wanted}."
    return (
        f"Of {len(quantized)} layers that the file quantizes {len(quantized) - len(others)} run in "
        f"{wanted}; not: {', '.join(others)}."
    )


def _reach(hardware_compatible: bool) -> str:
    return " and later" if hardware_compatible else ""
