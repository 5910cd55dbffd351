"""What a pack holds: some files of a bundle, their manifest, and the texts beside it."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from frcrn_export.runtime.bundle.entries import file_entry
from frcrn_export.runtime.bundle.manifest import (
    LICENCE_NAME,
    MANIFEST_NAME,
    NOTE_NAMES,
    SUMS_NAME,
    FileEntry,
    Manifest,
    ParityResult,
    Segments,
)
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.denoiser import WHOLE_WITHOUT_LONG
from frcrn_export.runtime.errors import BundleError, reading
from frcrn_export.runtime.pack.notes import licence_text, sums_text
from frcrn_export.runtime.pack.vectors import reduced_vectors, vectors_of
from frcrn_export.runtime.text import shown

_AGAIN = "pack it again"
# What the files are that no manifest lists.
_ROLES: Mapping[str, str] = MappingProxyType(
    {MANIFEST_NAME: "manifest", LICENCE_NAME: "licence", SUMS_NAME: "hashes"}
)


@dataclass(frozen=True)
class PackedFile:
    """One file of a pack.

    `role` is that of the manifest; "manifest", "licence" or "hashes" where no manifest lists it.
    """

    path: str
    role: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Contents:
    """All files of a pack.

    Attributes:
        manifest: The manifest inside.
        texts: The content of the files that it does not list, by name, itself included.
    """

    manifest: Manifest
    texts: Mapping[str, bytes]
    _bundle: Bundle
    _vectors: bytes | None

    @property
    def files(self) -> tuple[PackedFile, ...]:
        """All files, sorted by name."""
        listed = (PackedFile(e.path, e.role, e.bytes, e.sha256) for e in self.manifest.files)
        texts = (
            PackedFile(name, _ROLES[name], len(text), _sha256(text))
            for name, text in self.texts.items()
        )
        return tuple(sorted((*listed, *texts), key=lambda file: file.path))

    def read(self, entry: FileEntry) -> bytes:
        """The content of a file of the manifest. Raises BundleError where it has changed since."""
        if entry.role == "parity" and self._vectors is not None:
            return self._vectors
        path = self._bundle.file(entry)
        with reading(path, "cannot be read", _AGAIN):
            content = path.read_bytes()
        if _sha256(content) != entry.sha256:
            raise BundleError(f"{path}: changed while it was packed; {_AGAIN}")
        return content

    def members(self) -> Iterator[tuple[str, bytes]]:
        """The names and contents of all files, sorted by name, one at a time."""
        entries = {entry.path: entry for entry in self.manifest.files}
        for file in self.files:
            text = self.texts.get(file.path)
            yield file.path, self.read(entries[file.path]) if text is None else text


def contents_of(bundle: Bundle, selected: Iterable[FileEntry]) -> Contents:
    """The pack of the selected files of a bundle.

    Raises BundleError where its parity vectors cannot be read, and where a file has the name of one
    that a pack has besides.
    """
    files = tuple(selected)
    vectors = reduced_vectors(bundle, files)
    entry = bundle.manifest.file("parity", "npz")
    assert entry is not None  # it was read
    if vectors is not None:
        entry = file_entry(vectors, entry.path, "parity", "npz")
    for file in files:
        if file.path in NOTE_NAMES:
            raise BundleError(
                f"{bundle.path}: {shown(file.path)} is a file of a role in it, and a pack has "
                "another of that name; export the bundle again"
            )
    manifest = _part(bundle.manifest, (*files, entry))
    return Contents(manifest, _texts(manifest), bundle, vectors)


def _part(manifest: Manifest, files: tuple[FileEntry, ...]) -> Manifest:
    """The manifest of some of its files, with the parity results that are theirs."""
    kept = {entry.path for entry in files}
    all_paths = {entry.path for entry in manifest.files}
    vectors = vectors_of(manifest, files)

    def stays(result: ParityResult) -> bool:
        artifact, *_ = result.artifact.split(" ")
        if artifact in all_paths:
            return artifact in kept
        return f"{result.case}.".startswith(vectors)  # the runtime's STFT and the like

    return msgspec.structs.replace(
        manifest,
        files=files,
        parity=tuple(filter(stays, manifest.parity)),
        segments=_segments(manifest, files),
    )


def _segments(manifest: Manifest, files: tuple[FileEntry, ...]) -> Segments:
    """The segments, with what a runtime takes from the entry of a long core that is left out.

    Beside one, a core in lower precision takes utterances whole up to a multiple of its
    `above_frames`.
    """
    long = manifest.file("core_long", "onnx")
    has_core = any((entry.role, entry.format) == ("core", "onnx") for entry in files)
    if long is None or long in files or not has_core:
        return manifest.segments
    frames = WHOLE_WITHOUT_LONG * long.above_frames
    samples = manifest.stft.samples(frames) if manifest.stft else frames
    above = min(manifest.segments.above, samples)
    return msgspec.structs.replace(manifest.segments, above=above)


def _texts(manifest: Manifest) -> dict[str, bytes]:
    texts = {MANIFEST_NAME: manifest.to_json(), LICENCE_NAME: licence_text(manifest).encode()}
    hashes = {entry.path: entry.sha256 for entry in manifest.files}
    hashes |= {name: _sha256(text) for name, text in texts.items()}
    return texts | {SUMS_NAME: sums_text(hashes).encode()}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
