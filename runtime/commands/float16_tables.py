"""The layers that float16 files keep in float32, as tables."""

from typing import TYPE_CHECKING

from frcrn_export.runtime.commands.console import print_table

if TYPE_CHECKING:
    from frcrn_export.runtime.bundle.manifest import Manifest


def print_float32_layers(manifest: "Manifest") -> None:
    """A table for each float16 file of a bundle that keeps some; nothing for others."""
    for entry in manifest.files:
        if (kept := entry.float32_layers) is None:
            continue
        print_table(
            ("What", "Value"),
            (
                ("layers in float32", f"{len(kept.layers)} of {kept.candidates}"),
                ("which, the most sensitive first", ", ".join(kept.layers)),
                ("they add", f"{kept.added_bytes / 1e6:.2f} of {entry.bytes / 1e6:.2f} MB"),
                *((("floor", f"{entry.floor_db:g} dB"),) if entry.floor_db is not None else ()),
            ),
            title=f"{entry.path}: float32 where float16 would miss its floor",
        )
