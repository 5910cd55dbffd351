"""The transaction: the only way to create or change a bundle.

Whatever happens (a kill at any point, a full disk, two commands at once), a bundle is as before or
as after. The manifest guarantees this: a reader trusts `manifest.json` and takes a file only if its
sha256 matches, and one rename replaces the manifest. Files that it lists under existing names
cannot be replaced in the same step; they follow it:

1. New files are written into a folder of their own, `.transaction/ID/`. All long work happens here,
   without a lock.
2. Under the lock the manifest is read again, changed and written into that folder; then the folder
   is renamed `.transaction/commit/`.
3. `commit/manifest.json` is renamed `manifest.json`: from here on the bundle is the new one.
4. The files move from `commit/` to their places, and the notes of a pack (NOTE_NAMES) with them;
   those listed no more are removed, then `commit/`.

`open_bundle` looks for each file in `commit/` first, then in its place. So it finds all files even
after a kill between 3 and 4, without writing anything. The next command that writes finishes the
transaction: it drops a `commit/` that still has its manifest, and else moves its files.

The bundle's folder is never replaced: links to it, its mode, mounts and unrelated files in it stay.
Locks are `flock`s, which end with their process: `.transaction/lock` is held during 2 to 4,
`.transaction/ID.lock` from 1 on, which tells leftovers of dead processes from files of living ones.
Both are removed with the transaction.
"""

import errno
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from frcrn_export.runtime.bundle.entries import listed_files, same_origin, with_files
from frcrn_export.runtime.bundle.filesystem import FileSystem
from frcrn_export.runtime.bundle.manifest import (
    COMMIT_NAME,
    MANIFEST_NAME,
    NOTE_NAMES,
    TRANSACTION_NAME,
    FileEntry,
    Manifest,
    ParityResult,
)
from frcrn_export.runtime.bundle.parse import parse_manifest
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.errors import UserError

logger = logging.getLogger(__name__)

DISK = FileSystem()

_LOCK_NAME = "lock"
_PREVIOUS_NAME = ".previous.json"  # the manifest that the new one replaces, beside it
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def require_free(destination: Path, *, force: bool) -> None:
    """Raise UserError where a path is taken; replacing a bundle needs `force`.

    Anything but a bundle is never replaced.
    """
    with _explained(destination):
        root = _real(destination)
        if DISK.exists(root / MANIFEST_NAME):
            if not force:
                raise UserError(
                    f"{destination} exists; add --force to replace it, or choose another -o"
                )
        elif DISK.exists(root) and not (root.is_dir() and _is_empty(root)):
            raise UserError(f"{destination} exists and is no bundle; choose another path with -o")


@contextmanager
def transaction(destination: Path) -> Iterator["Transaction"]:
    """A transaction for the bundle at `destination`; its files are dropped if it is not committed.

    Raises UserError where nothing can be written there, or the disk is full.
    """
    root = _real(destination)
    with _explained(destination):
        work, made = _begin(destination, root)
    try:
        yield work
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _no_room(destination, error) from error
        raise
    finally:
        work.end()
        for folder in made:
            with suppress(OSError):
                DISK.remove_folder(folder)  # fails if a bundle exists now


class Transaction:
    """Files written beside a bundle, and the step that adds them to it."""

    def __init__(self, destination: Path, root: Path, name: str, lock: int) -> None:
        self._destination = destination
        self._root = root
        self._folder = root / TRANSACTION_NAME / name
        self._lock = lock
        self._staged: dict[str, FileEntry] = {}

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """The files written so far."""
        return tuple(self._staged.values())

    def write(self, content: bytes, entry: FileEntry) -> None:
        """Write a file, in place of one of this transaction. Raises UserError where it cannot."""
        with _explained(self._destination):
            if entry.path in self._staged:
                (self._folder / entry.path).unlink()
            _write(self._folder / entry.path, content)
        self._staged[entry.path] = entry

    def note(self, content: bytes, name: str) -> None:
        """Write a file that no manifest lists. Raises UserError where it cannot."""
        assert name in NOTE_NAMES
        with _explained(self._destination):
            _write(self._folder / name, content)

    def preview(self, manifest: Manifest) -> Bundle:
        """The bundle as it would be with this manifest, for checks before the commit."""
        return Bundle(
            self._destination, manifest, {path: self._folder / path for path in self._staged}
        )

    def create(self, manifest: Manifest, *, force: bool) -> Bundle:
        """Make these files a bundle; `force` replaces an existing one.

        Raises UserError as `require_free`, and where the disk is full.
        """

        def instead(present: bytes | None) -> Manifest:
            require_free(self._destination, force=force)
            return manifest

        return self._commit(instead)

    def update(self, change: Callable[[Manifest], Manifest]) -> Bundle:
        """Add these files to the existing bundle; `change` makes its new manifest from the current.

        Raises UserError where the bundle is gone or the disk is full, and as `change`.
        """

        def changed(present: bytes | None) -> Manifest:
            if present is None:
                raise _changed(self._destination)
            return change(parse_manifest(present, str(self._destination / MANIFEST_NAME)))

        return self._commit(changed)

    def add(
        self,
        base: Manifest,
        results: Iterable[ParityResult] = (),
        *,
        needs: Iterable[FileEntry] = (),
        force: bool = False,
    ) -> Bundle:
        """Add these files to the existing bundle; `results` are their parity results.

        They were made from the manifest `base` and its files `needs`. Files that another command
        added since then stay. Raises UserError where the bundle now has another origin, lacks a
        file of `needs`, or has files of these names (unless `force`).
        """

        def joined(present: Manifest) -> Manifest:
            if not same_origin(present, base) or any(e not in present.files for e in needs):
                raise _changed(self._destination)
            taken = [entry.path for entry in present.files if entry.path in self._staged]
            if taken and not force:
                raise UserError(f"{self._destination / taken[0]} exists; add --force to replace it")
            return with_files(present, self.files).with_parity(results)

        return self.update(joined)

    def end(self) -> None:
        """Release the lock, and drop what was not committed."""
        with suppress(OSError):
            _remove_tree(self._folder)
        _give_back(self._lock, self._folder.with_suffix(".lock"))
        with suppress(OSError):
            DISK.remove_folder(self._folder.parent)  # fails while it holds other transactions

    def _commit(self, change: Callable[[bytes | None], Manifest]) -> Bundle:
        with _explained(self._destination), _locked(self._destination, self._root):
            _settle(self._root)
            before = DISK.read(self._root / MANIFEST_NAME)
            manifest = change(before)
            _write(self._folder / MANIFEST_NAME, manifest.to_json())
            if before is not None:
                _write(self._folder / _PREVIOUS_NAME, before)
            for name in (MANIFEST_NAME, *self._staged):
                mode = DISK.mode(self._root / name)
                if mode is not None:
                    DISK.set_mode(self._folder / name, mode)
            DISK.sync_folder(self._folder)
            self._swap()
        return Bundle(self._destination, manifest)

    def _swap(self) -> None:
        commit = self._root / TRANSACTION_NAME / COMMIT_NAME
        DISK.rename(self._folder, commit)
        try:
            DISK.sync_folder(commit.parent)
            DISK.rename(commit / MANIFEST_NAME, self._root / MANIFEST_NAME)
        except BaseException:
            with suppress(OSError):
                _settle(self._root)
            raise
        try:
            DISK.sync_folder(self._root)
            _settle(self._root)
        except OSError as error:  # the bundle is the new one already
            logger.warning(
                "%s: written, but its files still lie in %s (%s); the next command that writes to "
                "it moves them",
                self._destination,
                commit,
                error.strerror,
            )


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file atomically. Raises OSError.

    The next write overwrites what a killed process left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    lock = _lock_file(partial, partial)
    try:
        os.ftruncate(lock, 0)
        _write_all(lock, content)
        mode = DISK.mode(path)
        if mode is not None:
            DISK.set_mode(partial, mode)
        if os.name == "nt":  # which renames no open file
            DISK.close(lock)
        DISK.rename(partial, path)
    except BaseException:
        DISK.unlink(partial)
        raise
    finally:
        with suppress(OSError):
            DISK.close(lock)


def _begin(destination: Path, root: Path) -> tuple[Transaction, list[Path]]:
    """A new transaction with its folder, and the parent folders that were created for it."""
    missing: list[Path] = []
    for folder in (root, *root.parents):
        if DISK.exists(folder):
            break
        missing.append(folder)
    made: list[Path] = []
    try:
        for folder in reversed(missing):
            if DISK.make_folder(folder):
                made.insert(0, folder)
        with _locked(destination, root):
            _settle(root)
            _sweep(root / TRANSACTION_NAME)
            name = secrets.token_hex(8)
            folder = root / TRANSACTION_NAME / name
            path = folder.with_suffix(".lock")
            lock = _lock_file(path, destination)
            try:
                DISK.make_folder(folder)
            except BaseException:
                _give_back(lock, path)
                raise
            return Transaction(destination, root, name, lock), made
    except BaseException:
        for folder in made:
            with suppress(OSError):
                DISK.remove_folder(folder)
        raise


@contextmanager
def _locked(destination: Path, root: Path) -> Iterator[None]:
    """Hold the bundle's lock. The lock file exists only while a process holds or wants it."""
    home = root / TRANSACTION_NAME
    path = home / _LOCK_NAME
    while True:
        try:
            DISK.make_folder(home)
            lock = _lock_file(path, destination)
            break
        except FileNotFoundError:  # another command just removed it
            if not DISK.exists(root):
                raise
    try:
        yield
    finally:
        _give_back(lock, path)
        with suppress(OSError):
            DISK.remove_folder(home)  # fails while other transactions lie in it


def _lock_file(path: Path, destination: Path) -> int:
    """Open and lock a file, created if needed; wait for its holder."""
    while True:
        handle = DISK.open_lock(path)
        try:
            try:
                DISK.lock(handle, wait=False)
            except BlockingIOError:
                logger.warning("%s: waiting for another command that writes to it", destination)
                DISK.lock(handle, wait=True)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                logger.warning(
                    "%s: no locks on this file system (%s): run one command at a time",
                    destination,
                    error.strerror,
                )
            if DISK.is_at(handle, path):
                return handle
        except BaseException:
            DISK.close(handle)
            raise
        DISK.close(handle)  # its holder removed it meanwhile


def _give_back(lock: int, path: Path) -> None:
    with suppress(OSError):
        DISK.unlink(path)
    with suppress(OSError):
        DISK.close(lock)


def _settle(root: Path) -> None:
    """Finish an interrupted transaction; the caller holds the lock."""
    home = root / TRANSACTION_NAME
    commit = home / COMMIT_NAME
    if not DISK.exists(commit) or commit.is_symlink():  # a transaction creates no links
        return
    if not DISK.exists(commit / MANIFEST_NAME):  # committed: go on
        listed = listed_files(DISK.read(root / MANIFEST_NAME))
        for name in DISK.names(commit):
            if name in listed or name in NOTE_NAMES:
                DISK.rename(commit / name, root / name)
        for path in listed_files(DISK.read(commit / _PREVIOUS_NAME)) - listed:
            if (root / path).parent.resolve().is_relative_to(root):
                DISK.unlink(root / path)
        DISK.sync_folder(root)
    # Rename first: half removed, without its manifest, it would look committed.
    dropped = home / secrets.token_hex(8)
    DISK.rename(commit, dropped)
    with suppress(OSError):
        _remove_tree(dropped)


def _sweep(home: Path) -> None:
    """Remove leftovers of dead processes; the caller holds the bundle's lock."""
    ids = {name.removesuffix(".lock") for name in DISK.names(home)}
    for name in sorted(ids - {_LOCK_NAME, COMMIT_NAME}):
        path = home / f"{name}.lock"
        with suppress(OSError):  # BlockingIOError: it lives
            lock = DISK.open_lock(path)
            try:
                DISK.lock(lock, wait=False)
                _remove_tree(home / name)
                DISK.unlink(path)
            finally:
                DISK.close(lock)


def _remove_tree(folder: Path) -> None:
    """Remove a folder of files; links are removed, not followed."""
    if folder.is_symlink():
        DISK.unlink(folder)
        return
    for name in DISK.names(folder):
        DISK.unlink(folder / name)
    with suppress(FileNotFoundError):
        DISK.remove_folder(folder)


def _write(path: Path, content: bytes) -> None:
    """Write a new file and sync it to the disk."""
    handle = DISK.create(path)
    try:
        _write_all(handle, content)
        DISK.sync(handle)
    finally:
        DISK.close(handle)


def _write_all(handle: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[DISK.write(handle, rest) :]


def _is_empty(folder: Path) -> bool:
    return set(DISK.names(folder)) <= {TRANSACTION_NAME}


def _real(destination: Path) -> Path:
    """The folder that a link leads to."""
    return Path(os.path.realpath(destination))


def _changed(destination: Path) -> UserError:
    return UserError(f"{destination}: changed while it was used; run the command again")


def _no_room(destination: Path, error: OSError) -> UserError:
    kept = ", what was there is unchanged" if (destination / MANIFEST_NAME).exists() else ""
    return UserError(f"{destination}: {error.strerror}{kept}; make room or choose another path")


@contextmanager
def _explained(destination: Path) -> Iterator[None]:
    """Turn OSError into one line that says why a path cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _no_room(destination, error) from error
        raise UserError(f"{destination}: cannot write there ({error.strerror})") from error
