"""What people see of an engine: what it is for, its shapes, and which precision ran where."""

from frcrn_export.runtime.console import print_table
from frcrn_export.runtime.manifest import FileEntry

Census = dict[str, dict[str, int]]


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


def _reach(hardware_compatible: bool) -> str:
    return " and later" if hardware_compatible else ""
