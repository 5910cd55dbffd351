import hashlib
from pathlib import Path

import msgspec
import pytest

from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import BundleError
from frcrn_export.runtime.pack.contents import Contents, contents_of
from tests.bundles import STFT, write_manifest
from tests.int8_standins import add_int8, scaled
from tests.runtime.pack.bundles import (
    ABOVE_FRAMES,
    add_stub,
    open_unchecked,
    results,
    write_full_bundle,
)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    path = write_full_bundle(tmp_path / "bundle")
    add_int8(path, lambda model: scaled(model, 1.001))
    compared = {
        "core.onnx": "core.noise",
        "core.onnx (onnxruntime)": "reference.core.2-frames",
        "pre.onnx": "pre.silence",
        "stft (numpy)": "pre.silence",
        "level (numpy)": "stream.speech",
        "high-pass (numpy)": "high_pass.recording",
    }
    described = msgspec.structs.replace(open_unchecked(path), parity=results(compared))
    write_manifest(path, described)
    return open_bundle(path)


def named(bundle: Bundle, *names: str) -> list[FileEntry]:
    return [entry for entry in bundle.manifest.files if entry.path in names]


def packed(bundle: Bundle, *names: str) -> Contents:
    return contents_of(bundle, named(bundle, *names))


def test_the_manifest_lists_what_is_there(bundle: Bundle) -> None:
    contents = packed(bundle, "core.onnx", "core.long.onnx")
    members = dict(contents.members())
    assert list(members) == [
        *("LICENCE.txt", "SHA256SUMS", "core.long.onnx", "core.onnx", "manifest.json"),
        "parity.npz",
    ]
    for entry in contents.manifest.files:
        content = members[entry.path]
        assert (entry.sha256, entry.bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    for file in contents.files:
        assert file.sha256 == hashlib.sha256(members[file.path]).hexdigest()
        assert file.bytes == len(members[file.path])
    assert members["manifest.json"] == contents.manifest.to_json()
    whole, part = bundle.manifest, contents.manifest
    assert msgspec.structs.replace(part, files=whole.files, parity=whole.parity) == whole


def test_results_of_files_that_are_left_out_go(bundle: Bundle) -> None:
    kept = [result.artifact for result in packed(bundle, "core.onnx").manifest.parity]
    around = ["stft (numpy)", "high-pass (numpy)"]
    assert kept == ["core.onnx", "core.onnx (onnxruntime)", *around]
    kept = [result.artifact for result in packed(bundle, "core.streaming.onnx").manifest.parity]
    assert kept == ["stft (numpy)", "level (numpy)"]


def test_without_the_long_core_int8_is_cut_where_it_was(bundle: Bundle) -> None:
    """`denoiser.enhance` takes four times the length of the long core whole, and windows beyond."""
    above = packed(bundle, "core.int8.cpu.onnx").manifest.segments.above
    assert above == STFT.samples(4 * ABOVE_FRAMES)
    assert above < bundle.manifest.segments.above
    for names in (("core.onnx", "core.long.onnx"), ("core.streaming.onnx",)):
        assert packed(bundle, *names).manifest.segments == bundle.manifest.segments


def test_a_file_that_changes_meanwhile_is_not_packed(bundle: Bundle) -> None:
    contents = packed(bundle, "core.onnx")
    (bundle.path / "core.onnx").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"core\.onnx: changed while it was packed; pack"):
        dict(contents.members())
    (bundle.path / "core.onnx").unlink()
    with pytest.raises(BundleError, match=r"core\.onnx: cannot be read \(No such file"):
        dict(contents.members())


def test_a_file_with_the_name_of_a_note_is_refused(bundle: Bundle) -> None:
    add_stub(bundle.path, "SHA256SUMS", "core")
    with pytest.raises(BundleError, match="SHA256SUMS is a file of a role in it"):
        packed(open_bundle(bundle.path), "SHA256SUMS")
