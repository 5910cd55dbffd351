"""Opening a bundle: a directory with a manifest, artifacts and parity vectors."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from frcrn_export.runtime.bundle.manifest import (
    COMMIT_NAME,
    EXPORT_AGAIN,
    MANIFEST_NAME,
    QUANTIZED,
    TRANSACTION_NAME,
    FileEntry,
    Manifest,
)
from frcrn_export.runtime.bundle.parse import parse_manifest
from frcrn_export.runtime.bundle.remedies import export_to, make_again
from frcrn_export.runtime.errors import BundleError, reading
from frcrn_export.runtime.text import quoted

_CHUNK_BYTES = 1 << 20
_MAX_MANIFEST_BYTES = 16 << 20
_LEAVES = "a link that leaves the bundle"
_ATTEMPTS = 5  # of reading a bundle that another command is changing


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its files match its manifest.

    `staged` maps files to their place in an unfinished transaction. `trusted`: this process wrote
    the bundle, so TorchScript may be opened without being named.
    """

    path: Path
    manifest: Manifest
    staged: Mapping[str, Path] = field(default_factory=dict)
    trusted: bool = False

    def file(self, entry: FileEntry) -> Path:
        """The path of a file of the manifest."""
        staged = self.staged.get(entry.path)
        return staged if staged is not None and staged.exists() else self.path / entry.path


def path_of(bundle: Bundle | Path | str) -> Path:
    """The folder of a bundle, opened or not."""
    return bundle.path if isinstance(bundle, Bundle) else Path(bundle)


def open_bundle(path: Path | str, *, engines: bool = True, int8: bool = True) -> Bundle:
    """Read a bundle and check every file against the manifest: present, inside, size, sha256.

    Example:
        >>> bundle = frcrn_export.open_bundle("wave")
        >>> bundle.manifest.sample_rate
        16000

    Args:
        path: The bundle's folder.
        engines: Check the engines and the files beside them; False where one is to be built
            again.
        int8: Check the INT8 and FP8 files and their reports; False where one is to be made again.

    Returns:
        The bundle, its manifest read.

    Raises:
        BundleError: A file is missing, was altered or leads out of the bundle, or the manifest
            cannot be read.
    """
    root = Path(path)
    for attempt in range(_ATTEMPTS):
        with reading(root / MANIFEST_NAME, "cannot be read", EXPORT_AGAIN):
            content = _read_manifest(root)
            manifest = parse_manifest(content, str(root / MANIFEST_NAME))
        checked = [entry for entry in manifest.files if _is_checked(entry, engines, int8)]
        try:
            located = {entry.path: _locate(root, manifest, entry) for entry in checked}
            break
        except BundleError:
            # Another command may have changed the bundle while it was read.
            if attempt == _ATTEMPTS - 1 or _read_manifest(root) == content:
                raise
    staged = {name: found for name, found in located.items() if found != root / name}
    return Bundle(root, manifest, staged)


def _read_manifest(root: Path) -> bytes:
    path = root / MANIFEST_NAME
    if not path.is_file():
        if root.is_file() and (root.parent / MANIFEST_NAME).is_file():
            raise BundleError(f"{root}: a file of a bundle; give its folder: {quoted(root.parent)}")
        raise BundleError(
            f"{root}: no bundle here (no {MANIFEST_NAME}); make one: {export_to(root)}"
        )
    if path.stat().st_size > _MAX_MANIFEST_BYTES:
        raise BundleError(f"{path}: too large for a manifest; {EXPORT_AGAIN}")
    return path.read_bytes()


def _is_checked(entry: FileEntry, engines: bool, int8: bool) -> bool:
    is_engine = entry.format == "engine" or entry.role in ("layers", "context")
    is_int8 = entry.precision in QUANTIZED and not is_engine
    return (engines or not is_engine) and (int8 or not is_int8)


def _locate(root: Path, manifest: Manifest, entry: FileEntry) -> Path:
    """The path of a file that matches the manifest: in its place, or in the commit folder."""
    staged = root / TRANSACTION_NAME / COMMIT_NAME / entry.path
    path = root / entry.path

    def again() -> str:
        return f"copy it again, or run: {make_again(root, manifest, entry)}"

    with reading(path, "cannot be read", again):
        if staged.exists() and _problem(root, staged, entry) is None:
            return staged
        problem = _problem(root, path, entry)
    if problem is None:
        return path
    if problem == _LEAVES:
        raise BundleError(f"{path}: {problem}; refusing to open it")
    raise BundleError(f"{path}: {problem}; {again()}")


def _problem(root: Path, path: Path, entry: FileEntry) -> str | None:
    """How a file differs from the manifest, or None."""
    if not path.is_file():
        return "listed in the manifest but missing"
    if not path.resolve().is_relative_to(root.resolve()):
        return _LEAVES
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            return f"{size} bytes, the manifest says {entry.bytes}"
        altered = sha256_of(path) != entry.sha256
    except FileNotFoundError:  # moved since
        return "listed in the manifest but missing"
    return "its sha256 is not the manifest's: the file was altered" if altered else None


def sha256_of(path: Path) -> str:
    """The sha256 of a file as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
