"""The transaction by itself: what it keeps, what it refuses, what it leaves."""

import errno
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from frcrn_export.runtime.bundle import transaction as module
from frcrn_export.runtime.bundle.entries import file_entry
from frcrn_export.runtime.bundle.filesystem import FileSystem
from frcrn_export.runtime.bundle.manifest import (
    MANIFEST_NAME,
    TRANSACTION_NAME,
    Manifest,
    ParityResult,
    Weights,
)
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.bundle.transaction import (
    Transaction,
    replace_file,
    require_free,
    transaction,
)
from frcrn_export.runtime.errors import UserError
from tests.bundles import manifest


def put(work: Transaction, name: str, content: bytes = b"content") -> None:
    work.write(content, file_entry(content, name, "report", "json"))


def make(path: Path, *names: str, force: bool = False, content: bytes = b"content") -> Manifest:
    with transaction(path) as work:
        for name in names:
            put(work, name, content)
        described = msgspec.structs.replace(manifest(), files=work.files)
        return work.create(described, force=force).manifest


def add(path: Path, name: str, content: bytes = b"added", *, force: bool = False) -> None:
    base = open_bundle(path).manifest
    with transaction(path) as work:
        put(work, name, content)
        work.add(base, force=force)


def listing(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


def test_a_bundle_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "out"
    with transaction(path) as work:
        put(work, "a")
        described = msgspec.structs.replace(manifest(), files=work.files)
        assert work.preview(described).file(work.files[0]).read_bytes() == b"content"
        assert not (path / "a").exists()
        bundle = work.create(described, force=False)
    assert listing(path) == ["a", MANIFEST_NAME]
    assert bundle == open_bundle(path)


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), transaction(tmp_path / "sub" / "out") as work:
        put(work, "a")
        raise RuntimeError
    assert listing(tmp_path) == []


def test_an_error_keeps_what_was_there(tmp_path: Path) -> None:
    make(tmp_path / "out", "a")
    with pytest.raises(RuntimeError), transaction(tmp_path / "out") as work:
        put(work, "a", b"other")
        raise RuntimeError
    assert listing(tmp_path / "out") == ["a", MANIFEST_NAME]
    assert (tmp_path / "out" / "a").read_bytes() == b"content"
    open_bundle(tmp_path / "out")


def test_a_bundle_that_is_there_needs_force(tmp_path: Path) -> None:
    path = tmp_path / "out"
    make(path, "a", "b")
    (path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="exists; add --force to replace it, or choose another -o"):
        require_free(path, force=False)
    with pytest.raises(UserError, match="exists; add --force"):
        make(path, "c")
    assert listing(path) == ["a", "b", MANIFEST_NAME, "notes.txt"]
    make(path, "b", "c", force=True)
    # What the former manifest listed is gone, what somebody else put there is not.
    assert listing(path) == ["b", "c", MANIFEST_NAME, "notes.txt"]
    open_bundle(path)


@pytest.mark.parametrize(
    "former",
    [b"{", b'{"schema": 1, "files": [{"path": "old"}, {"path": "../out.txt"}, {"path": "x/y"}]}'],
)
def test_force_replaces_a_bundle_that_cannot_be_read(former: bytes, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.mkdir()
    (path / MANIFEST_NAME).write_bytes(former)
    (path / "old").touch()
    (tmp_path / "out.txt").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "y").touch()
    (path / "x").symlink_to(tmp_path / "elsewhere")
    make(path, "a", force=True)
    assert listing(path) == ["a", MANIFEST_NAME, *(["old"] if former == b"{" else []), "x"]
    assert (tmp_path / "out.txt").exists()
    assert (tmp_path / "elsewhere" / "y").exists()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_bundle_is_never_replaced(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "thesis"
    if kind == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "chapter1").write_text("mine")
    with pytest.raises(UserError, match="exists and is no bundle; choose another path with -o"):
        require_free(target, force=True)
    with pytest.raises(UserError, match="is no bundle|cannot write there"):
        make(target, "a", force=True)
    assert listing(tmp_path) == ["thesis"]
    assert kind == "file" or listing(target) == ["chapter1"]


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o700)
    require_free(tmp_path / "out", force=False)
    make(tmp_path / "out", "a")
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"out: cannot write there \(Not a directory\)"):
        make(tmp_path / "file" / "out", "a")


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link(there: bool, tmp_path: Path) -> None:
    link, real = tmp_path / "link", tmp_path / "real"
    if there:
        make(real, "a")
    link.symlink_to(real)
    make(link, "b", force=True)
    add(link, "c")
    assert link.is_symlink()
    assert listing(real) == ["b", "c", MANIFEST_NAME]
    assert listing(tmp_path) == ["link", "real"]


def test_modes_stay(tmp_path: Path) -> None:
    path = tmp_path / "out"
    make(path, "a")
    path.chmod(0o700)
    (path / MANIFEST_NAME).chmod(0o640)
    (path / "a").chmod(0o600)
    inode = path.stat().st_ino
    add(path, "a", force=True)
    add(path, "b")
    assert path.stat().st_mode & 0o777 == 0o700
    assert (path / MANIFEST_NAME).stat().st_mode & 0o777 == 0o640
    assert (path / "a").stat().st_mode & 0o777 == 0o600
    make(path, "a", force=True)
    assert path.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_ino == inode


def result(artifact: str, case: str = "core.a", snr_db: float = 99.0) -> ParityResult:
    return ParityResult(
        artifact=artifact, case=case, snr_db=snr_db, max_abs=0.0, floor_db=90, passed=True
    )


def test_what_another_command_added_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "out"
    base = make(path, "a")
    with transaction(path) as first, transaction(path) as second:
        put(first, "b")
        put(second, "c")
        first.add(base, [result("b")])
        second.add(base, [result("c"), result("c (onnxruntime-cpu)")])
    found = open_bundle(path).manifest
    assert [entry.path for entry in found.files] == ["a", "b", "c"]
    assert [r.artifact for r in found.parity] == ["b", "c", "c (onnxruntime-cpu)"]

    with transaction(path) as work:
        put(work, "c", b"again")
        work.add(base, [result("c", snr_db=91.0)], force=True)
    parity = open_bundle(path).manifest.parity  # what was measured of the former c is gone
    assert parity == (result("b"), result("c", snr_db=91.0))


def _other_weights(m: Manifest) -> Manifest:
    return msgspec.structs.replace(m, weights=Weights(source="random", name="gain", seed=7))


def _other_variant(m: Manifest) -> Manifest:
    return msgspec.structs.replace(m, variant={"causal": False})


@pytest.mark.parametrize("change", [_other_weights, _other_variant])
def test_a_bundle_that_became_another_is_left_alone(
    change: Callable[[Manifest], Manifest], tmp_path: Path
) -> None:
    path = tmp_path / "out"
    base = make(path, "a")
    with transaction(path) as work:
        put(work, "b")
        with transaction(path) as other:
            now = other.update(change).manifest
        with pytest.raises(UserError, match="out: changed while it was used; run the command a"):
            work.add(base)
    assert open_bundle(path).manifest == now
    assert listing(path) == ["a", MANIFEST_NAME]


def test_the_same_weights_under_another_name_are_the_same(tmp_path: Path) -> None:
    base = make(tmp_path / "out", "a")
    renamed = msgspec.structs.replace(base.weights, name="other.pt")
    with transaction(tmp_path / "out") as work:
        put(work, "b")
        work.add(msgspec.structs.replace(base, weights=renamed))
    assert open_bundle(tmp_path / "out").manifest.weights == base.weights


def test_a_file_that_is_needed_and_another_now(tmp_path: Path) -> None:
    path = tmp_path / "out"
    base = make(path, "a")
    with transaction(path) as work:
        put(work, "b")
        add(path, "a", b"another", force=True)
        with pytest.raises(UserError, match="changed while it was used"):
            work.add(base, needs=base.files)


def test_a_bundle_that_is_gone(tmp_path: Path) -> None:
    base = make(tmp_path / "out", "a")
    with transaction(tmp_path / "out") as work:
        put(work, "b")
        (tmp_path / "out" / MANIFEST_NAME).unlink()
        with pytest.raises(UserError, match="changed while it was used"):
            work.add(base)


def test_a_name_that_was_taken_meanwhile(tmp_path: Path) -> None:
    base = make(tmp_path / "out", "a")
    with transaction(tmp_path / "out") as work:
        put(work, "b", b"mine")
        add(tmp_path / "out", "b", b"theirs")
        with pytest.raises(UserError, match=r"out/b exists; add --force to replace it"):
            work.add(base)
    assert (tmp_path / "out" / "b").read_bytes() == b"theirs"


def test_two_that_make_the_same_bundle(tmp_path: Path) -> None:
    with transaction(tmp_path / "out") as work:
        put(work, "a", b"late")
        make(tmp_path / "out", "a", content=b"early")
        described = msgspec.structs.replace(manifest(), files=work.files)
        with pytest.raises(UserError, match="exists; add --force"):
            work.create(described, force=False)
    assert (tmp_path / "out" / "a").read_bytes() == b"early"
    assert listing(tmp_path / "out") == ["a", MANIFEST_NAME]


def test_whoever_waits_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "out"
    make(path, "a")
    inside, go_on = threading.Event(), threading.Event()

    class Slow(FileSystem):
        def rename(self, source: Path, target: Path) -> None:
            if threading.current_thread() is slow and not inside.is_set():
                inside.set()
                assert go_on.wait(60)
            super().rename(source, target)

    monkeypatch.setattr(module, "DISK", Slow())
    slow = threading.Thread(target=add, args=(path, "b"))
    slow.start()
    assert inside.wait(60)
    threading.Timer(0.2, go_on.set).start()
    with caplog.at_level(logging.WARNING, "frcrn_export"):
        add(path, "c")
    slow.join()
    assert f"{path}: waiting for another command that writes to it" in caplog.messages
    assert listing(path) == ["a", "b", "c", MANIFEST_NAME]


def test_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class NoLocks(FileSystem):
        def lock(self, handle: int, *, wait: bool) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module, "DISK", NoLocks())
    make(tmp_path / "out", "a")
    with transaction(tmp_path / "out") as living:
        put(living, "b")
        add(tmp_path / "out", "c")
        living.add(open_bundle(tmp_path / "out").manifest)  # whether it lives cannot be told
    assert listing(tmp_path / "out") == ["a", "b", "c", MANIFEST_NAME]
    assert "run one command at a time" in caplog.text


def test_what_lives_is_not_swept(tmp_path: Path) -> None:
    path = tmp_path / "out"
    base = make(path, "a")
    dead = path / TRANSACTION_NAME / "0123"
    dead.mkdir(parents=True)
    (dead / "b").touch()
    (path / TRANSACTION_NAME / "4567.lock").touch()
    with transaction(path) as living:
        put(living, "b")
        add(path, "c")
        assert not dead.exists()
        assert len(listing(path / TRANSACTION_NAME)) == 2  # its folder and its lock
        living.add(base)
    assert listing(path) == ["a", "b", "c", MANIFEST_NAME]


@pytest.mark.parametrize("name", [TRANSACTION_NAME, f"{TRANSACTION_NAME}/commit"])
def test_links_in_place_of_the_folders_are_not_followed(name: str, tmp_path: Path) -> None:
    path, mine = tmp_path / "out", tmp_path / "mine"
    make(path, "a")
    (mine / "commit").mkdir(parents=True)
    for file in (mine / "a", mine / "commit" / "a", mine / "0123.lock"):
        file.write_text("mine")
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).symlink_to(mine)
    with pytest.raises(UserError, match="cannot write there"):
        add(path, "b")
    assert listing(mine) == ["0123.lock", "a", "commit"]
    assert listing(mine / "commit") == ["a"]
    open_bundle(path)


def test_a_bundle_that_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system says it to anybody but root, who may write everywhere."""
    make(tmp_path / "out", "a")

    class ReadOnly(FileSystem):
        def make_folder(self, path: Path) -> bool:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(module, "DISK", ReadOnly())
    with pytest.raises(UserError, match=r"cannot write there \(Permission denied\)"):
        add(tmp_path / "out", "b")
    open_bundle(tmp_path / "out")


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

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="full"):
            replace_file(path, b"third")
    assert path.read_bytes() == b"second"
    assert listing(path.parent) == ["b"]

    path.with_name(".b.partial").write_bytes(b"what a killed process had written of it")
    replace_file(path, b"fourth")
    assert path.read_bytes() == b"fourth"
    assert listing(path.parent) == ["b"]


def test_a_file_that_many_replace(tmp_path: Path) -> None:
    contents = [bytes([65 + i]) * 200_000 for i in range(4)]

    def write(content: bytes) -> None:
        for _ in range(20):
            replace_file(tmp_path / "f", content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "f").read_bytes() in contents
    assert listing(tmp_path) == ["f"]
