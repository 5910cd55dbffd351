"""Written beside its destination, moved there in one step or not at all: a bundle, or a file."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frcrn_export.runtime.bundle.manifest import MANIFEST_NAME
from frcrn_export.runtime.errors import UserError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def staged_bundle(destination: Path, *, force: bool, keep: bool = False) -> Iterator[Path]:
    """A folder that becomes `destination` when the block ends without an error.

    With `keep`, it starts as a copy of the bundle that is there. Raises UserError if something is
    in the way: a bundle needs `force` (or `keep`), anything else is never replaced; or if the disk
    is full.
    """
    destination = destination.absolute()
    exists = destination.exists() and not _is_empty_folder(destination)
    if exists and not (destination / MANIFEST_NAME).is_file():
        raise UserError(f"{destination} exists and is no bundle; choose another path with -o")
    if exists and not (force or keep):
        raise UserError(f"{destination} exists; add --force to replace it, or choose another -o")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    except OSError as error:
        raise UserError(f"{destination}: cannot write there ({error.strerror})") from error
    try:
        if exists and keep:
            shutil.copytree(destination, staging, dirs_exist_ok=True)
        yield staging
        staging.chmod(0o777 & ~_umask())
        _replace(destination, staging)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        kept = ", what was there is unchanged" if exists else ""
        raise UserError(
            f"{destination}: {error.strerror}{kept}; make room or choose another path"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whoever else reads or writes it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _replace(destination: Path, staging: Path) -> None:
    if not destination.exists():
        staging.rename(destination)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{destination.name}.old.", dir=destination.parent))
    destination.rename(old / destination.name)
    staging.rename(destination)
    shutil.rmtree(old, ignore_errors=True)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
