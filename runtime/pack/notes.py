"""The text files in a pack that its manifest does not list: the licence, and the hashes."""

from collections.abc import Mapping

from frcrn_export.runtime.bundle.manifest import Manifest, Weights
from frcrn_export.runtime.text import printable


def licence_text(manifest: Manifest) -> str:
    """Where the weights come from, and their licence and attribution as the manifest has them."""
    weights = manifest.weights
    facts = {
        "Model": manifest.model,
        "Weights": weights.name,
        "SHA-256 of the weights": weights.sha256 or "none",
        "Licence of the weights": weights.licence or _unknown(weights),
        "Attribution": weights.attribution or "none is stated",
    }
    lines = [f"{name}: {printable(value)}" for name, value in facts.items()]
    return "\n".join([*lines, "", "Exported by frcrn-export. The files here hold the weights.", ""])


def _unknown(weights: Weights) -> str:
    if weights.are_random:
        return "none, they are random numbers"
    return "not stated; ask whoever trained them before you pass them on"


def sums_text(hashes: Mapping[str, str]) -> str:
    """SHA-256 hashes by file, as `sha256sum -c` and tools that sign take them."""
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
