"""The file-system calls of a bundle's transaction, one method each, so that tests can fail them."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


class FileSystem:
    """Every call that reads or changes the disk. All of them raise OSError."""

    def exists(self, path: Path) -> bool:
        """Whether a path exists; links are followed."""
        return path.exists()

    def names(self, folder: Path) -> list[str]:
        """The names in a folder, sorted; none where there is no folder."""
        try:
            return sorted(path.name for path in folder.iterdir())
        except FileNotFoundError:
            return []

    def read(self, path: Path) -> bytes | None:
        """The content of a file; None where there is none."""
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def mode(self, path: Path) -> int | None:
        """The permission bits of a file; None where there is none."""
        try:
            return path.stat().st_mode & 0o777
        except FileNotFoundError:
            return None

    def make_folder(self, path: Path) -> bool:
        """Make a folder in an existing one; False if it exists already.

        Raises FileExistsError for anything else of this name, including links to folders.
        """
        try:
            path.mkdir()
        except FileExistsError:
            with suppress(FileNotFoundError):  # removed since
                if not stat.S_ISDIR(path.lstat().st_mode):
                    raise
            return False
        return True

    def create(self, path: Path) -> int:
        """Create a file and open it for writing."""
        return os.open(path, _CREATE, 0o666)

    def write(self, handle: int, content: memoryview) -> int:
        """Write once; gives the number of bytes written."""
        return os.write(handle, content)

    def sync(self, handle: int) -> None:
        """Wait until a file's content is on the disk."""
        os.fsync(handle)

    def close(self, handle: int) -> None:
        """Close a file, which releases its lock."""
        os.close(handle)

    def set_mode(self, path: Path, mode: int) -> None:
        """Set the permission bits of a file."""
        path.chmod(mode)

    def sync_folder(self, folder: Path) -> None:
        """Wait until the names in a folder are on the disk, where the system supports that."""
        if os.name == "nt":
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno != errno.EINVAL:  # network and FUSE file systems that cannot
                raise
        finally:
            os.close(handle)

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file or folder atomically; an existing file is replaced."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """Remove a file if it exists."""
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder."""
        path.rmdir()

    def open_lock(self, path: Path) -> int:
        """Open a file to lock it; creates it if needed."""
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def lock(self, handle: int, *, wait: bool) -> None:
        """Lock an open file; the lock ends with the process.

        Without `wait`, raises BlockingIOError where another process, or thread, holds it.
        """
        try:
            import fcntl
        except ImportError:
            self._lock_on_windows(handle, wait)
            return
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)

    def is_at(self, handle: int, path: Path) -> bool:
        """Whether an open file is still the file at this path."""
        try:
            return os.path.samestat(os.fstat(handle), path.stat())
        except FileNotFoundError:
            return False

    def _lock_on_windows(self, handle: int, wait: bool) -> None:
        import msvcrt

        locking, at_once, waiting = (
            getattr(msvcrt, name) for name in ("locking", "LK_NBLCK", "LK_LOCK")
        )
        while True:
            try:
                locking(handle, waiting if wait else at_once, 1)
            except OSError as error:
                if wait and error.errno == errno.EDEADLOCK:  # it gives up after ten seconds
                    continue
                raise BlockingIOError(error.errno, error.strerror) from error
            return
