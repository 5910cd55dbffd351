"""Small bundles to pack: gains and delays in every role, and vectors for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from frcrn_export.runtime.bundle.entries import file_entry
from frcrn_export.runtime.bundle.manifest import FileEntry, Format, ParityResult, Role
from frcrn_export.runtime.bundle.reader import open_bundle
from tests.bundles import core_entry, write_gain_onnx, write_manifest
from tests.checked_streams import write_checked_bundle
from tests.streaming_bundles import Core

ABOVE_FRAMES = 40


def write_full_bundle(path: Path) -> Path:
    """An STFT network's bundle: core, long core, streaming core, transforms, TorchScript, vectors.

    What only has to lie there holds its own name.
    """
    write_checked_bundle(path, Core("delay", 2, 3))
    stft = open_bundle(path).manifest.stft
    long = msgspec.structs.replace(
        core_entry(stft, path="core.long.onnx", role="core_long"), above_frames=ABOVE_FRAMES
    )
    write_gain_onnx(path / long.path, long, 1.0)
    enter(path, long)
    add_stub(path, "pre.onnx", "pre")
    add_stub(path, "post.onnx", "post")
    add_stub(path, "core.pt", "core", "torchscript")
    spec = np.random.default_rng(1).standard_normal((1, 2, 321, 9)).astype(np.float32)
    wave = np.zeros(640, np.float32)
    add_vectors(
        path,
        {
            "core.noise": (spec, spec),
            "core_long.noise": (spec, spec),
            "pre.silence": (wave[None], np.zeros((1, 2, 321, 1), np.float32)),
            "post.silence": (np.zeros((1, 2, 321, 1), np.float32), wave[None]),
        },
    )
    return path


def add_stub(path: Path, name: str, role: Role, format: Format = "onnx") -> None:
    """Enter a file that nobody opens."""
    (path / name).write_bytes(name.encode())
    enter(path, file_entry(b"", name, role, format))


def add_vectors(path: Path, cases: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Add inputs and outputs, by "stage.case", to a bundle's vectors."""
    arrays = dict(np.load(path / "parity.npz"))
    for name, (given, expected) in cases.items():
        arrays |= {f"{name}.input": given, f"{name}.output": expected}
    save_vectors(path, arrays)


def save_vectors(path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(path / "parity.npz", allow_pickle=False, **arrays)
    enter(path, file_entry(b"", "parity.npz", "parity", "npz"))


def enter(path: Path, *entries: FileEntry) -> None:
    """Put files into the manifest, with their sizes and hashes, in place of those of the name."""
    described = open_unchecked(path)
    measured = tuple(
        msgspec.structs.replace(
            entry,
            sha256=file_entry((path / entry.path).read_bytes(), "", "core", "onnx").sha256,
            bytes=(path / entry.path).stat().st_size,
        )
        for entry in entries
    )
    names = {entry.path for entry in entries}
    kept = tuple(entry for entry in described.files if entry.path not in names)
    write_manifest(path, msgspec.structs.replace(described, files=(*kept, *measured)))


def open_unchecked(path: Path):  # type: ignore[no-untyped-def]
    from frcrn_export.runtime.bundle.manifest import MANIFEST_NAME
    from frcrn_export.runtime.bundle.parse import parse_manifest

    return parse_manifest((path / MANIFEST_NAME).read_bytes())


def results(compared: Mapping[str, str]) -> tuple[ParityResult, ...]:
    """A result of each artifact in its case."""
    return tuple(
        ParityResult(artifact=name, case=case, snr_db=120, max_abs=0, floor_db=90, passed=True)
        for name, case in compared.items()
    )
