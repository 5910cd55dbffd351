"""Archives: the same files give the same bytes, and the file is there whole or not at all."""

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

from frcrn_export.runtime.audio.partial import partial_of
from frcrn_export.runtime.bundle.parse import is_inside
from frcrn_export.runtime.errors import UserError, reason
from frcrn_export.runtime.files.partials import sweep_partials

# A member: its path in the archive, and its content.
Member = tuple[str, bytes]
File = IO[bytes] | gzip.GzipFile

_MODE = 0o644
_TIME = 315_532_800  # 1980, the first that a zip can hold
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3  # the system whose modes a zip holds


def _write_tar(file: File, members: Iterable[Member]) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)  # of owner 0, without names
            info.size, info.mtime, info.mode = len(content), _TIME, _MODE
            archive.addfile(info, io.BytesIO(content))


def _write_tar_gz(file: IO[bytes], members: Iterable[Member]) -> None:
    with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        _write_tar(packed, members)


def _write_zip(file: IO[bytes], members: Iterable[Member]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.create_system, info.external_attr = _UNIX, _MODE << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)


# By the suffix of their names.
_WRITERS: Mapping[str, Callable[[IO[bytes], Iterable[Member]], None]] = MappingProxyType(
    {".tar": _write_tar, ".tar.gz": _write_tar_gz, ".zip": _write_zip}
)
# Archives that are not written.
_OTHERS = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")


def archive_suffix(path: Path) -> str | None:
    """The suffix of an archive's name, in lower case; None for a folder.

    Raises UserError for an archive of a kind that is not written, and for a name that gives no name
    to the folder inside: that is what is in front of the suffix.
    """
    name = path.name.lower()
    suffix = next((suffix for suffix in _WRITERS if name.endswith(suffix)), None)
    if suffix is None and name.endswith(_OTHERS):
        raise UserError(f"{path}: no such archive is written; take {', '.join(_WRITERS)}")
    if suffix is not None:
        folder = folder_in(path, suffix)
        if not (is_inside(folder) and folder.isprintable()):
            raise UserError(f"{path}: unpacking makes no folder of this name; take bundle{suffix}")
    return suffix


def folder_in(path: Path, suffix: str) -> str:
    """The name of the folder that unpacking an archive makes: its own without the suffix."""
    return path.name[: -len(suffix)]


def write_archive(path: Path, suffix: str, members: Iterable[Member]) -> None:
    """Write an archive, or replace it, in one step. Raises UserError where that fails.

    What a killed process left of it is removed first.
    """
    sweep_partials([path])
    partial = partial_of(path)
    try:
        partial.unlink(missing_ok=True)
        with partial.open("xb") as file:
            _WRITERS[suffix](file, members)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({reason(error)}); make room or choose another -o"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
