import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from frcrn_export.runtime.bundle.entries import file_entry
from frcrn_export.runtime.bundle.manifest import MANIFEST_NAME
from frcrn_export.runtime.bundle.reader import open_bundle, sha256_of
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.errors import BundleError, UserError
from frcrn_export.runtime.pack.pack import pack
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from frcrn_export.runtime.verify.engine_status import record_runs
from frcrn_export.runtime.verify.parity import check_bundle
from tests.bundles import write_manifest
from tests.runtime.pack.bundles import enter, open_unchecked, write_full_bundle
from tests.standin.gpu import SimulatedGpu
from tests.standin.install import add_engine

TEXTS = {"LICENCE.txt", "SHA256SUMS", "manifest.json"}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_full_bundle(tmp_path_factory.mktemp("full") / "bundle")


def unpacked(path: Path) -> Path:
    shutil.unpack_archive(path, path.parent, filter="data" if path.suffix != ".zip" else None)
    return path.parent / path.name.partition(".")[0]


@pytest.mark.parametrize("name", ["part.tar", "part.tar.gz", "part.zip", "part"])
def test_a_pack_is_a_bundle_that_verifies_as_before(name: str, full: Path, tmp_path: Path) -> None:
    packed = pack(full, "cpu", tmp_path / name, streaming=True)
    folder = unpacked(packed.output) if packed.suffix else packed.output
    assert folder.name == packed.folder.name == "part"
    assert {p.name for p in folder.iterdir()} == {*TEXTS, "core.streaming.onnx", "parity.npz"}
    checked = subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=folder, check=False)
    assert checked.returncode == 0
    opened = open_bundle(folder)
    assert opened.manifest == packed.manifest
    apart = ("core.onnx", "core.long.onnx", "pre.onnx", "post.onnx", "core.pt")
    before = open_bundle(full)
    of_these = tuple(entry for entry in before.manifest.files if entry.path not in apart)
    whole = msgspec.structs.replace(before.manifest, files=of_these)
    results = list(check_bundle(opened))
    assert results == list(check_bundle(type(before)(full, whole)))
    assert {result.case for result in results} >= {"streaming.noise", "pre.silence"}


def test_sizes(full: Path, tmp_path: Path) -> None:
    packed = pack(full, "cpu", tmp_path / "part", offline=True)
    assert packed.bytes == sum(p.stat().st_size for p in packed.output.iterdir())
    assert packed.bundle_bytes == sum(p.stat().st_size for p in full.iterdir())


@pytest.mark.parametrize("name", ["part.tar", "part.zip", "part"])
def test_a_pack_of_a_pack_is_the_same(name: str, full: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "first" / name, tmp_path / "again" / name
    for path in (first, again):
        path.parent.mkdir()
    pack(full, "cpu", first)
    folder = unpacked(first) if first.suffix else first
    pack(folder, "arm64", again)
    assert contents(again) == contents(first)


def contents(path: Path) -> dict[str, str]:
    files = path.iterdir() if path.is_dir() else [path]
    return {file.name: sha256_of(file) for file in files}


@pytest.mark.parametrize("name", ["part.tar", "part"])
def test_what_is_there_needs_force(name: str, full: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    pack(full, "cpu", path, streaming=True)
    before = contents(path)
    with pytest.raises(UserError, match="part.* exists; add --force to replace it"):
        pack(full, "cpu", path, offline=True)
    assert contents(path) == before
    pack(full, "cpu", path, offline=True, force=True)
    after = contents(path)
    pack(full, "cpu", tmp_path / "new" / name if path.is_dir() else path, offline=True, force=True)
    assert contents(path) == after != before
    assert "core.streaming.onnx" not in after


def test_the_bundle_itself_is_never_replaced(full: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(full, tmp_path / "bundle"))
    (tmp_path / "link").symlink_to(path)
    before = contents(path)
    for output in (path, tmp_path / "link"):
        with pytest.raises(UserError, match="is the bundle itself; choose another -o"):
            pack(path, "cpu", output, force=True)
    assert contents(path) == before


def test_what_is_no_bundle_is_never_replaced(full: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").touch()
    with pytest.raises(UserError, match="mine exists and is no bundle"):
        pack(full, "cpu", tmp_path / "mine", force=True)
    (tmp_path / "folder.tar").mkdir()
    with pytest.raises(UserError, match=r"folder\.tar: is a folder; give a file"):
        pack(full, "cpu", tmp_path / "folder.tar", force=True)
    with pytest.raises(UserError, match="no such folder; make it"):
        pack(full, "cpu", tmp_path / "gone" / "a.tar")
    with pytest.raises(UserError, match=r"cannot be written \(File name too long\)"):
        pack(full, "cpu", tmp_path / f"{'a' * 300}.tar")


def test_an_error_leaves_nothing(full: Path, tmp_path: Path) -> None:
    for name in ("part.tar", "part"):
        with pytest.raises(BundleError, match="no int8 ONNX file"):
            pack(full, "cpu", tmp_path / name, precision="int8")
        with pytest.raises(BundleError, match="no bundle here"):
            pack(tmp_path / "gone", "cpu", tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_a_subfolder_goes_into_an_archive_alone(full: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(full, tmp_path / "bundle"))
    described = open_unchecked(path)
    (path / "sub").mkdir()
    (path / "core.streaming.onnx").rename(path / "sub" / "core.onnx")
    files = tuple(
        msgspec.structs.replace(e, path="sub/core.onnx") if e.role == "core_streaming" else e
        for e in described.files
    )
    write_manifest(path, msgspec.structs.replace(described, files=files))
    with pytest.raises(BundleError, match=r"sub/core\.onnx: a file in a subfolder; take an arch"):
        pack(path, "cpu", tmp_path / "part", streaming=True)
    assert not (tmp_path / "part").exists()
    pack(path, "cpu", tmp_path / "part.tar", streaming=True)
    assert open_bundle(unpacked(tmp_path / "part.tar")).manifest.files[0].path == "sub/core.onnx"


def test_links_that_leave_the_bundle_are_not_followed(full: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(full, tmp_path / "bundle"))
    (path / "core.onnx").rename(tmp_path / "secret")
    (path / "core.onnx").symlink_to(tmp_path / "secret")
    with pytest.raises(BundleError, match="a link that leaves the bundle; refusing to open it"):
        pack(path, "cpu", tmp_path / "part.tar")
    assert not (tmp_path / "part.tar").exists()


def test_names_and_notes_that_are_not_listed_stay_behind(full: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(full, tmp_path / "bundle"))
    (path / "LICENCE.txt").write_text("another")
    (path / "private").write_text("not listed")
    (path / "report.json").write_text("{}")
    enter(path, file_entry(b"", "report.json", "report", "json"))
    pack(path, "cpu", tmp_path / "part")
    pack(full, "cpu", tmp_path / "other")
    assert contents(tmp_path / "part") == contents(tmp_path / "other")
    assert (tmp_path / "part" / MANIFEST_NAME).is_file()


def test_a_pack_for_a_gpu_runs_and_records_its_engines(
    gpu: SimulatedGpu, full: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(full, tmp_path / "bundle"))
    shape = (1, 2, 321, 2)  # of a call of the streaming core
    for source, high in (("core.onnx", (1, 2, 321, 600)), ("core.streaming.onnx", shape)):
        add_engine(path, "tensorrt-rtx", low=shape, best=shape, high=high, source=source)
    packed = pack(path, "tensorrt-rtx:sm89", tmp_path / "part")
    assert {entry.format for entry in packed.manifest.files} == {"engine", "json", "npz"}
    opened = open_bundle(packed.output)
    results = list(check_bundle(opened, ("tensorrt-rtx",)))
    assert len({result.artifact for result in results if "engine" in result.artifact}) == 2
    assert all(result.passed for result in results)
    record_runs(opened, results, "this GPU")
    engines = [e.engine for e in open_bundle(packed.output).manifest.files if e.engine is not None]
    assert {engine.verified_on for engine in engines} == {"this GPU"}
    assert StreamingDenoiser.open(packed.output).sample_rate == 16_000
    assert Denoiser.open(packed.output).session.backend == "tensorrt-rtx"
