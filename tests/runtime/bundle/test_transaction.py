from pathlib import Path

import pytest

from frcrn_export.runtime.bundle.transaction import replace_file, staged_bundle
from frcrn_export.runtime.errors import UserError


def make_bundle(path: Path, **files: str) -> None:
    path.mkdir()
    for name, content in {"manifest.json": "{}", **files}.items():
        (path / name).write_text(content)


def test_appears_whole(tmp_path: Path) -> None:
    with staged_bundle(tmp_path / "sub" / "out", force=False) as folder:
        (folder / "core.onnx").write_text("new")
        assert not (tmp_path / "sub" / "out").exists()
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["out"]
    assert (tmp_path / "sub" / "out" / "core.onnx").read_text() == "new"


def test_an_error_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    make_bundle(tmp_path / "out", old="kept")
    with pytest.raises(RuntimeError), staged_bundle(tmp_path / "out", force=True) as folder:
        (folder / "core.onnx").write_text("half")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["manifest.json", "old"]


def test_existing_bundle_needs_force(tmp_path: Path) -> None:
    make_bundle(tmp_path / "out", old="kept")
    with (
        pytest.raises(UserError, match="exists; add --force"),
        staged_bundle(tmp_path / "out", force=False),
    ):
        pass
    with staged_bundle(tmp_path / "out", force=True) as folder:
        (folder / "new").touch()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["new"]


def test_keep_starts_from_what_is_there(tmp_path: Path) -> None:
    make_bundle(tmp_path / "out", old="kept")
    with staged_bundle(tmp_path / "out", force=False, keep=True) as folder:
        (folder / "new").touch()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["manifest.json", "new", "old"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_bundle_is_never_replaced(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "thesis"
    if kind == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "chapter1").write_text("mine")
    with (
        pytest.raises(UserError, match="is no bundle"),
        staged_bundle(target, force=True),
    ):
        pass
    assert target.exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="cannot write there"),
        staged_bundle(tmp_path / "file" / "out", force=False),
    ):
        pass


def test_a_file_is_replaced_whole_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "a" / "b"
    replace_file(path, b"first")
    replace_file(path, b"second")
    assert path.read_bytes() == b"second"
    path.chmod(0o640)
    replace_file(path, b"second")
    assert path.stat().st_mode & 0o777 == 0o640

    def fail(self: Path, target: Path) -> None:
        raise OSError("full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="full"):
        replace_file(path, b"third")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]
