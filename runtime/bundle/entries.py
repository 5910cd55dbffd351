"""Manifest entries: of new files, and merged with those of an existing bundle."""

import hashlib

import msgspec

from frcrn_export.runtime.bundle.manifest import (
    FileEntry,
    Format,
    Manifest,
    Precision,
    Role,
    TensorSpec,
    Weights,
)
from frcrn_export.runtime.bundle.parse import is_inside, named_files


def file_entry(
    content: bytes,
    path: str,
    role: Role,
    format: Format,
    precision: Precision = "fp32",
    inputs: tuple[TensorSpec, ...] = (),
    outputs: tuple[TensorSpec, ...] = (),
) -> FileEntry:
    """Describe a file that is to be written."""
    return FileEntry(
        path=path,
        role=role,
        format=format,
        precision=precision,
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        inputs=inputs,
        outputs=outputs,
    )


class _Path(msgspec.Struct):
    path: str


class _Listing(msgspec.Struct):
    """The part of a manifest that every version has."""

    files: tuple[_Path, ...] = ()


def listed_files(manifest: bytes | None) -> set[str]:
    """The files that a manifest of any version lists in its bundle; none if it is damaged."""
    try:
        listing = msgspec.json.decode(manifest or b"{}", type=_Listing)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return set()
    return {file.path for file in listing.files if is_inside(file.path)}


def with_files(present: Manifest, added: tuple[FileEntry, ...]) -> Manifest:
    """The manifest with these files, without those that they replace.

    Their results go with them, and what was read with them and is named by no file any more.
    """
    paths = {entry.path for entry in added}
    kept = [entry for entry in present.files if entry.path not in paths]
    replaced = [entry for entry in present.files if entry.path in paths]
    files = (*kept, *added)
    named = {name for entry in files for name in named_files(entry)}
    gone = {name for entry in replaced for name in named_files(entry)} - named - paths
    return msgspec.structs.replace(
        present,
        files=tuple(entry for entry in files if entry.path not in gone),
        parity=tuple(r for r in present.parity if r.artifact.split(" ")[0] not in paths),
    )


def same_weights(one: Weights, other: Weights) -> bool:
    """Whether two bundles have the same weights, whatever the files are called."""
    return (one.sha256, one.seed, one.state_dict) == (other.sha256, other.seed, other.state_dict)


def same_origin(one: Manifest, other: Manifest) -> bool:
    """Whether files made for one bundle fit into the other."""
    names = ("model", "variant", "domain", "sample_rate", "stft", "level", "padding")
    same = same_weights(one.weights, other.weights)
    return same and all(getattr(one, n) == getattr(other, n) for n in names)
