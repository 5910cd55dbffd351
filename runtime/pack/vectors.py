"""The parity vectors of some files of a bundle."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from frcrn_export.runtime.bundle.manifest import FileEntry, Manifest, Role
from frcrn_export.runtime.bundle.npz import write_arrays
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.verify.parity import parity_arrays

# What the arrays begin with, STAGE.CASE.FIELD, that a file of a role is compared with.
_OFFLINE = ("pipeline.", "levelled.", "high_pass.recording.")
_PREFIXES: Mapping[Role, tuple[str, ...]] = MappingProxyType(
    {
        "core": ("core.", *_OFFLINE),
        "core_long": ("core_long.",),
        "core_streaming": ("streaming.", "stream.", "high_pass.stream."),
        "pipeline": _OFFLINE,
    }
)
_TRANSFORM = ("pre.", "post.")  # which a runtime does itself, around the core


def vectors_of(manifest: Manifest, files: Iterable[FileEntry]) -> tuple[str, ...]:
    """What the names of the arrays begin with that these files are verified with."""
    prefixes = tuple(prefix for file in files for prefix in _PREFIXES.get(file.role, ()))
    return prefixes if manifest.stft is None else prefixes + _TRANSFORM


def reduced_vectors(bundle: Bundle, files: Iterable[FileEntry]) -> bytes | None:
    """The bundle's `parity.npz` with what these files need; None where that is all of it.

    Raises BundleError where it is missing or damaged.
    """
    prefixes = vectors_of(bundle.manifest, files)
    arrays = parity_arrays(bundle)
    kept = {name: array for name, array in arrays.items() if name.startswith(prefixes)}
    return None if len(kept) == len(arrays) else write_arrays(kept)
