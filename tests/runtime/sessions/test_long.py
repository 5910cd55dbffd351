from pathlib import Path

import msgspec
import numpy as np
import pytest

from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import open_bundle, sha256_of
from frcrn_export.runtime.sessions.long import SessionByLength
from frcrn_export.runtime.sessions.registry import open_session
from tests.bundles import (
    STFT,
    GainSession,
    core_entry,
    manifest,
    write_bundle,
    write_gain_onnx,
    write_manifest,
)

ABOVE = 20


def long_entry() -> FileEntry:
    entry = core_entry(STFT, path="core.long.onnx", role="core_long")
    return msgspec.structs.replace(entry, above_frames=ABOVE)


def spec(batch: int, frames: int) -> np.ndarray:
    return np.ones((batch, 2, STFT.bins, frames), np.float32)


def test_one_long_utterance_goes_to_the_long_session() -> None:
    core, long = GainSession(core_entry(STFT), gain=2), GainSession(long_entry(), gain=3)
    opened = []

    def open_long() -> GainSession:
        opened.append(long)
        return long

    session = SessionByLength(core, long_entry(), open_long)
    assert (session.backend, session.device, session.entry) == ("test", "cpu", core.entry)
    for batch, frames in ((1, ABOVE), (2, ABOVE + 1)):
        np.testing.assert_array_equal(session.run(spec(batch, frames)), 2)
    assert opened == []
    for _ in range(2):
        np.testing.assert_array_equal(session.run(spec(1, ABOVE + 1)), 3)
    assert opened == [long]


@pytest.mark.parametrize("backend", ["auto", "onnxruntime-cpu"])
def test_a_bundle_with_a_long_core(tmp_path: Path, backend: str) -> None:
    root = write_bundle(tmp_path / "bundle", manifest(stft=STFT), gain=2)
    path = root / "core.long.onnx"
    write_gain_onnx(path, long_entry(), 3)
    described = open_bundle(root).manifest
    added = msgspec.structs.replace(long_entry(), sha256=sha256_of(path), bytes=path.stat().st_size)
    write_manifest(root, msgspec.structs.replace(described, files=(*described.files, added)))
    session = open_session(open_bundle(root), backend, threads=1)
    np.testing.assert_array_equal(session.run(spec(1, ABOVE)), 2)
    np.testing.assert_array_equal(session.run(spec(1, ABOVE + 1)), 3)
