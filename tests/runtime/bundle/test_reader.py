from pathlib import Path

import msgspec
import pytest

from frcrn_export.runtime.bundle.manifest import MANIFEST_NAME
from frcrn_export.runtime.bundle.parse import parse_manifest
from frcrn_export.runtime.bundle.reader import open_bundle, sha256_of
from frcrn_export.runtime.errors import BundleError
from tests.bundles import manifest, write_bundle, write_manifest
from tests.int8_standins import add_int8


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def test_a_good_bundle_opens(root: Path) -> None:
    bundle = open_bundle(root)
    assert bundle.path == root
    entry = bundle.manifest.file("core", "onnx")
    assert entry is not None
    assert bundle.file(entry) == root / "core.onnx"
    assert bundle.manifest.file("core", "torchscript") is None


@pytest.mark.parametrize("make", ["missing", "empty folder", "weights", "recording"])
def test_what_is_no_bundle_says_how_to_make_one(tmp_path: Path, make: str) -> None:
    path = tmp_path / {"weights": "best.pth", "recording": "noisy.wav"}.get(make, "here")
    if make == "empty folder":
        path.mkdir()
    elif make != "missing":
        path.write_bytes(b"")
    with pytest.raises(BundleError) as raised:
        open_bundle(path)
    # Pasted, the command must not be refused because something is there.
    options = {
        "weights": f"--checkpoint {path} -o NEW_BUNDLE",
        "recording": "-o NEW_BUNDLE",
    }.get(make, f"-o {path}")
    assert str(raised.value).endswith(f"make one: frcrn-export onnx {options}")


def test_a_file_of_a_bundle_in_its_place(root: Path) -> None:
    with pytest.raises(BundleError, match="a file of a bundle; give its folder: "):
        open_bundle(root / "core.onnx")


def test_a_missing_file_is_named(root: Path) -> None:
    (root / "core.onnx").unlink()
    with pytest.raises(BundleError, match=r"core\.onnx: listed in the manifest but missing"):
        open_bundle(root)


def test_a_resized_file_is_named(root: Path) -> None:
    with (root / "core.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match=r"core\.onnx: \d+ bytes, the manifest says \d+"):
        open_bundle(root)


def test_an_altered_file_is_named(root: Path) -> None:
    content = bytearray((root / "core.onnx").read_bytes())
    content[-1] ^= 1
    (root / "core.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"core\.onnx: its sha256 is not the manifest's"):
        open_bundle(root)


def test_a_link_out_of_the_bundle_is_refused(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    (root / "core.onnx").rename(outside)
    (root / "core.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match="a link that leaves the bundle"):
        open_bundle(root)


def test_a_linked_folder_out_of_the_bundle_is_refused(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "core.onnx").rename(outside / "core.onnx")
    (root / "models").symlink_to(outside)
    _rename_core(root, "models/core.onnx")
    with pytest.raises(BundleError, match="a link that leaves the bundle"):
        open_bundle(root)


def test_a_link_within_the_bundle_and_a_linked_bundle_open(root: Path, tmp_path: Path) -> None:
    (root / "core.onnx").rename(root / "real.onnx")
    (root / "core.onnx").symlink_to("real.onnx")
    (tmp_path / "link").symlink_to(root)
    assert open_bundle(tmp_path / "link").manifest.model == "gain"


def test_a_path_with_dots_is_refused_before_it_is_read(root: Path, tmp_path: Path) -> None:
    (root / "core.onnx").rename(tmp_path / "core.onnx")
    _rename_core(root, "../core.onnx")
    with pytest.raises(BundleError, match=r"'\.\./core\.onnx' leaves the bundle"):
        open_bundle(root)


def test_a_broken_manifest_is_named(root: Path) -> None:
    (root / MANIFEST_NAME).write_bytes(b"{")
    with pytest.raises(BundleError, match=r"manifest\.json: not a manifest"):
        open_bundle(root)
    with (root / MANIFEST_NAME).open("wb") as file:
        file.truncate(17 << 20)
    with pytest.raises(BundleError, match="too large"):
        open_bundle(root)


def test_sha256_is_that_of_the_whole_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 3_000_000)
    (tmp_path / "b").write_bytes(b"a" * 2_999_999 + b"b")
    assert sha256_of(tmp_path / "a") != sha256_of(tmp_path / "b")
    (tmp_path / "c").write_bytes(b"abc")
    assert sha256_of(tmp_path / "c").startswith("ba7816bf8f01cfea")


def test_a_bundle_without_files_opens(tmp_path: Path) -> None:
    write_manifest(tmp_path, manifest())
    assert open_bundle(tmp_path).manifest.files == ()


def _rename_core(root: Path, path: str) -> None:
    described = parse_manifest((root / MANIFEST_NAME).read_bytes())
    entry = msgspec.structs.replace(described.files[0], path=path)
    write_manifest(root, msgspec.structs.replace(described, files=(entry,)))


def test_int8_files_that_are_to_be_made_anew_may_be_broken(tmp_path: Path) -> None:
    root = write_bundle(tmp_path / "b")
    entry = add_int8(root, lambda model: model)
    (root / entry.path).write_bytes(b"altered")
    with pytest.raises(BundleError, match=r"run: frcrn-export calibrate \S+ --for cpu .* --force$"):
        open_bundle(root)
    assert open_bundle(root, int8=False).manifest.files[1] == entry
    (root / "core.onnx").write_bytes(b"altered")
    with pytest.raises(BundleError, match=r"core\.onnx: "):
        open_bundle(root, int8=False)
