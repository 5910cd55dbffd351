from pathlib import Path

import numpy as np
import pytest

from frcrn_export.runtime.bundle.manifest import FileEntry, Role
from frcrn_export.runtime.bundle.npz import read_arrays
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.errors import BundleError
from frcrn_export.runtime.pack.vectors import reduced_vectors
from tests.bundles import write_bundle
from tests.runtime.pack.bundles import save_vectors, write_full_bundle

STAGES = (
    *("core.a", "core_long.a", "core_static.a", "pre.a", "post.a", "pipeline.a", "levelled.a"),
    *("streaming.a", "stream.a", "high_pass.recording", "high_pass.stream", "unknown.a"),
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_full_bundle(tmp_path_factory.mktemp("full") / "bundle")
    save_vectors(path, {f"{stage}.input": np.ones(3, np.float32) for stage in STAGES})
    return path


def entries(path: Path, *roles: Role) -> list[FileEntry]:
    files = open_bundle(path).manifest.files
    return [e for e in files if e.role in roles and e.format == "onnx"]


@pytest.mark.parametrize(
    ("roles", "stages"),
    [
        (("core",), "core.a levelled.a pipeline.a high_pass.recording"),
        (("core_long",), "core_long.a"),
        (("core_streaming",), "streaming.a stream.a high_pass.stream"),
    ],
)
def test_a_file_has_its_own_vectors_and_those_of_the_transform(
    bundle: Path, roles: tuple[Role, ...], stages: str, tmp_path: Path
) -> None:
    reduced = reduced_vectors(open_bundle(bundle), entries(bundle, *roles))
    assert reduced is not None
    (tmp_path / "reduced.npz").write_bytes(reduced)
    found = {name.removesuffix(".input") for name in read_arrays(tmp_path / "reduced.npz", 10**6)}
    assert found == {*stages.split(), "pre.a", "post.a"}
    assert reduced == reduced_vectors(open_bundle(bundle), entries(bundle, *roles))


def test_vectors_that_are_all_needed_stay_as_they_are(bundle: Path, tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "wave")
    save_vectors(path, {"core.a.input": np.ones(3, np.float32)})
    assert reduced_vectors(open_bundle(path), entries(path, "core")) is None


def test_a_bundle_without_vectors_is_not_packed(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "bare")
    with pytest.raises(BundleError, match="no parity vectors; run: frcrn-export onnx"):
        reduced_vectors(open_bundle(path), entries(path, "core"))


def test_damaged_vectors_are_one_line(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "bundle")
    save_vectors(path, {})
    bundle = open_bundle(path)
    (path / "parity.npz").write_bytes(b"PK")
    with pytest.raises(BundleError, match="not parity vectors"):
        reduced_vectors(bundle, bundle.manifest.files)
