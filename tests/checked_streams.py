"""Small bundles that can check their own streams: an offline core, a streaming one, and speech."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from frcrn_export.runtime.bundle.manifest import FileEntry, StftSpec
from frcrn_export.runtime.bundle.reader import open_bundle, sha256_of
from tests.bundles import STFT, core_entry, write_gain_onnx, write_manifest
from tests.streaming_bundles import Core, write_streaming_bundle

SAMPLES = 24_000


def write_checked_bundle(
    path: Path,
    core: Core,
    *,
    gain: float = 1.0,
    less_ahead: bool = False,
    stft: StftSpec | None = STFT,
) -> Path:
    """A streaming bundle whose offline core multiplies by `gain`.

    The stored streams are what the offline core gives; with `less_ahead` they are what was given,
    as if the streaming core were one with another result.
    """
    write_streaming_bundle(path, core, stft)
    random = np.random.default_rng(0)
    wave = (0.1 * random.standard_normal(SAMPLES)).astype(np.float32)
    shape = (1, 1, 9 * core.chunk) if stft is None else (1, 2, stft.bins, 9 * core.chunk)
    given = random.standard_normal(shape).astype(np.float32)
    vectors = {
        "pipeline.speech.input": wave,
        "pipeline.speech.output": np.float32(gain) * wave,
        "streaming.noise.input": given,
        "streaming.noise.output": given if less_ahead else np.float32(gain) * given,
    }
    np.savez(path / "parity.npz", allow_pickle=False, **vectors)
    offline = core_entry(stft)
    write_gain_onnx(path / offline.path, offline, gain)
    parity = FileEntry(
        path="parity.npz", role="parity", format="npz", precision="fp32", sha256="0" * 64, bytes=0
    )
    described = [
        msgspec.structs.replace(
            entry, sha256=sha256_of(path / entry.path), bytes=(path / entry.path).stat().st_size
        )
        for entry in (offline, parity)
    ]
    manifest = open_bundle(path).manifest
    files = (*manifest.files, *described)
    write_manifest(path, msgspec.structs.replace(manifest, files=files))
    return path


def with_lookahead(path: Path, lookahead: int) -> Path:
    """Let the manifest say another look-ahead than the streaming core has."""
    manifest = open_bundle(path).manifest
    core, *others = manifest.files
    assert core.streaming is not None
    streaming = msgspec.structs.replace(core.streaming, lookahead=lookahead)
    files = (msgspec.structs.replace(core, streaming=streaming), *others)
    write_manifest(path, msgspec.structs.replace(manifest, files=files))
    return path
