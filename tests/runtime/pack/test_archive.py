import gzip
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from frcrn_export.runtime.errors import UserError
from frcrn_export.runtime.pack.archive import Member, archive_suffix, folder_in, write_archive

SUFFIXES = (".tar", ".tar.gz", ".zip")
MEMBERS = (("a/one", b"1"), ("a/sub/two", b"2" * 100_000), ("a/none", b""))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_files_give_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    one, other = (tmp_path / f"{name}{suffix}" for name in ("one", "other"))
    write_archive(one, suffix, MEMBERS)
    os.utime(one, (0, 0))
    write_archive(other, suffix, iter(MEMBERS))
    assert one.read_bytes() == other.read_bytes()


def test_a_tar_shows_nothing_of_who_packed_it(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.tar", ".tar", MEMBERS)
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert {m.name: archive.extractfile(m).read() for m in archive} == dict(MEMBERS)  # type: ignore[union-attr]
        for member in archive:
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
            assert (member.mode, member.mtime) == (0o644, 315_532_800)


def test_a_compressed_tar_is_that_tar(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.tar", ".tar", MEMBERS)
    write_archive(tmp_path / "a.tar.gz", ".tar.gz", MEMBERS)
    packed = (tmp_path / "a.tar.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "a.tar").read_bytes()
    assert packed[3:8] == bytes(5)  # no name, no time


def test_a_zip_has_modes_and_no_times(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip", ".zip", MEMBERS)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == dict(MEMBERS)
        for info in archive.infolist():
            assert (info.date_time, info.external_attr >> 16) == ((1980, 1, 1, 0, 0, 0), 0o644)


@pytest.mark.parametrize(
    ("name", "suffix", "folder"),
    [
        ("a.tar", ".tar", "a"),
        ("A.B.TAR.GZ", ".tar.gz", "A.B"),
        ("a b.Zip", ".zip", "a b"),
        ("folder", None, ""),
        ("v1.2", None, ""),
    ],
)
def test_the_name_says_what_is_written(name: str, suffix: str | None, folder: str) -> None:
    assert archive_suffix(Path("x") / name) == suffix
    if suffix is not None:
        assert folder_in(Path(name), suffix) == folder


@pytest.mark.parametrize("name", ["a.tgz", "a.tar.xz", "a.tar.bz2", "a.gz", "a.7z", "a.RAR"])
def test_other_archives_are_no_folders(name: str) -> None:
    with pytest.raises(UserError, match=rf"{name}: no such archive .*take \.tar, \.tar\.gz, \.zip"):
        archive_suffix(Path(name))


@pytest.mark.parametrize("name", [".tar", "..tar", "...tar", "a\n.zip", "a\\b.zip", "c:.tar.gz"])
def test_a_name_that_would_unpack_elsewhere(name: str) -> None:
    with pytest.raises(UserError, match=r"take bundle\.(tar|zip)"):
        archive_suffix(Path(name))


def failing() -> Iterator[Member]:
    yield from MEMBERS
    raise KeyboardInterrupt


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_fails_leaves_nothing(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    for before in (None, b"before"):
        if before is not None:
            path.write_bytes(before)
        with pytest.raises(KeyboardInterrupt):
            write_archive(path, suffix, failing())
        assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if before is None else [before])


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"before")
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from frcrn_export.runtime.pack.archive import write_archive\n"
        "def members():\n"
        "    yield 'a', bytes(100_000)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_archive(Path(sys.argv[1]), '.tar', members())\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 2
    write_archive(path, ".tar", MEMBERS)
    assert list(tmp_path.iterdir()) == [path]
    assert tarfile.is_tarfile(path)


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "a.tar").symlink_to("mine")
    write_archive(tmp_path / "a.tar", ".tar", MEMBERS)
    assert not (tmp_path / "a.tar").is_symlink()
    assert (tmp_path / "mine").read_bytes() == b"mine"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: real(Path("/dev/full"), "wb"))
    with pytest.raises(UserError, match=r"a\.tar: cannot be written \(No space left on device\)"):
        write_archive(tmp_path / "a.tar", ".tar", MEMBERS)
    assert list(tmp_path.iterdir()) == []
