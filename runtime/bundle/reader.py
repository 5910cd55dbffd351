"""Opening a bundle: a directory with a manifest, artifacts and parity vectors."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from frcrn_export.runtime.bundle.manifest import (
    EXPORT_AGAIN,
    MANIFEST_NAME,
    QUANTIZED,
    FileEntry,
    Manifest,
)
from frcrn_export.runtime.bundle.parse import parse_manifest
from frcrn_export.runtime.bundle.remedies import export_to, make_again
from frcrn_export.runtime.errors import BundleError, reading

_CHUNK_BYTES = 1 << 20
_MAX_MANIFEST_BYTES = 16 << 20


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest was read and whose files were found to match it.

    `trusted`: this process wrote it, so code in it may run: TorchScript is opened without being
    asked for.
    """

    path: Path
    manifest: Manifest
    trusted: bool = False

    def file(self, entry: FileEntry) -> Path:
        """Where a file of the manifest lies."""
        return self.path / entry.path


def open_bundle(path: Path | str, *, engines: bool = True, int8: bool = True) -> Bundle:
    """Read a bundle and check every file against the manifest: present, inside, size, sha256.

    Without `engines`, or `int8` (FP8 too), these and their reports are not checked: where one is to
    be made anew. Raises BundleError naming the file and what is wrong with it.
    """
    root = Path(path)
    with reading(root / MANIFEST_NAME, "cannot be read", EXPORT_AGAIN):
        manifest = _read_manifest(root)
        for entry in manifest.files:
            is_engine = entry.format == "engine" or entry.role == "layers"
            is_int8 = entry.precision in QUANTIZED and not is_engine
            if (engines or not is_engine) and (int8 or not is_int8):
                _check_file(root, manifest, entry)
    return Bundle(root, manifest)


def _read_manifest(root: Path) -> Manifest:
    path = root / MANIFEST_NAME
    if not path.is_file():
        raise BundleError(
            f"{root}: no bundle here (no {MANIFEST_NAME}); make one: {export_to(root)}"
        )
    if path.stat().st_size > _MAX_MANIFEST_BYTES:
        raise BundleError(f"{path}: too large for a manifest; {EXPORT_AGAIN}")
    return parse_manifest(path.read_bytes(), str(path))


def _check_file(root: Path, manifest: Manifest, entry: FileEntry) -> None:
    path = root / entry.path
    again = f"copy it again, or run: {make_again(root, manifest, entry)}"
    with reading(path, "cannot be read", again):
        if not path.is_file():
            raise BundleError(f"{path}: listed in the manifest but missing; {again}")
        if not path.resolve().is_relative_to(root.resolve()):
            raise BundleError(f"{path}: a link that leaves the bundle; refusing to open it")
        size = path.stat().st_size
        if size != entry.bytes:
            raise BundleError(f"{path}: {size} bytes, the manifest says {entry.bytes}; {again}")
        if sha256_of(path) != entry.sha256:
            raise BundleError(
                f"{path}: its sha256 is not the manifest's: the file was altered; {again}"
            )


def sha256_of(path: Path) -> str:
    """The sha256 of a file as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
