"""Commands on a small bundle in child processes that die, or run side by side; see the tests.

    python -m tests.runtime.bundle.interrupted killed|parallel FOLDER COMMAND…

Run as a program of its own: forks of a process without threads are cheap and safe.
"""

import logging
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from frcrn_export.runtime.bundle import transaction as module
from frcrn_export.runtime.bundle.entries import file_entry
from frcrn_export.runtime.bundle.filesystem import FileSystem
from frcrn_export.runtime.bundle.manifest import (
    COMMIT_NAME,
    MANIFEST_NAME,
    NOTE_NAMES,
    TRANSACTION_NAME,
    Manifest,
)
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.bundle.transaction import transaction
from frcrn_export.runtime.errors import UserError
from tests.bundles import manifest

CALLS = frozenset(name for name in vars(FileSystem) if not name.startswith("_"))


class Quick(FileSystem):
    """Does not wait for the disk: processes are killed here, no power is cut."""

    def sync(self, handle: int) -> None:
        pass

    def sync_folder(self, folder: Path) -> None:
        pass


class Failing(Quick):
    """Does something else instead of the call number `at`, counted from 1; `calls` were made."""

    def __init__(self, at: int, fail: Callable[[], None]) -> None:
        self.at = at
        self.fail = fail
        self.calls = 0

    def __getattribute__(self, name: str) -> Any:
        attribute = super().__getattribute__(name)
        if name not in CALLS:
            return attribute

        def call(*args: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self.at:
                if name == "write":
                    attribute(args[0], args[1][: len(args[1]) // 2])
                if name == "close":
                    attribute(*args)  # a close that fails has closed
                self.fail()
            return attribute(*args, **options)

        return call


def _create(
    path: Path, names: str, *, content: bytes, force: bool = False, notes: bool = False
) -> None:
    with transaction(path) as work:
        for name in names:
            work.write(content, file_entry(content, name, "report", "json"))
        for name in sorted(NOTE_NAMES) if notes else ():
            work.note(content, name)
        work.create(msgspec.structs.replace(manifest(), files=work.files), force=force)


def _add(path: Path, name: str, content: bytes, *, force: bool = False) -> None:
    base = open_bundle(path).manifest
    with transaction(path) as work:
        work.write(content, file_entry(content, name, "report", "json"))
        work.add(base, force=force)


def _note(path: Path, key: str) -> None:
    def noted(present: Manifest) -> Manifest:
        return msgspec.structs.replace(present, tools={**present.tools, key: "1"})

    with transaction(path) as work:
        work.update(noted)


def start(path: Path) -> None:
    _create(path, "abc", content=b"before")


# Each on the bundle that `start` makes, but for `new`.
COMMANDS: dict[str, Callable[[Path], None]] = {
    "new": lambda path: _create(path, "abc", content=b"after"),
    "again": lambda path: _create(path, "bcd", content=b"after", force=True),
    "pack": lambda path: _create(path, "bcd", content=b"after", force=True, notes=True),
    "add": lambda path: _add(path, "e", b"after"),
    "add-another": lambda path: _add(path, "f", b"after"),
    "replace": lambda path: _add(path, "b", b"after", force=True),
    "note": lambda path: _note(path, "x"),
}


def state(path: Path) -> dict[str, bytes] | None:
    """What a reader finds in a bundle, who must not have to write; None where there is none."""
    before = _tree(path)
    if not (path / MANIFEST_NAME).exists():
        return None
    bundle = open_bundle(path)
    found = {entry.path: bundle.file(entry).read_bytes() for entry in bundle.manifest.files}
    commit = path / TRANSACTION_NAME / COMMIT_NAME
    folders = (path,) if (commit / MANIFEST_NAME).exists() else (path, commit)
    notes = [folder / name for folder in folders for name in NOTE_NAMES]
    found |= {note.name: note.read_bytes() for note in notes if note.exists()}
    assert _tree(path) == before
    return {**found, MANIFEST_NAME: bundle.manifest.to_json()}


def _tree(path: Path) -> dict[Path, bytes | None]:
    return {p: p.read_bytes() if p.is_file() else None for p in sorted(path.rglob("*"))}


def ends(folder: Path, command: str) -> list[dict[str, bytes] | None]:
    """The states before and after a command, made in a folder."""
    path = folder / "ends"
    if command != "new":
        start(path)
    before = state(path)
    COMMANDS[command](path)
    after = state(path)
    shutil.rmtree(path)
    return [before, after]


def check_next(path: Path, expected: dict[str, bytes] | None) -> None:
    """The next command finds that state, does its work, and leaves nothing of the dead one."""
    if expected is None:
        COMMANDS["new"](path)
        found = state(path)
        assert found is not None
        listed = set(found)
    else:
        _add(path, "z", b"next")
        found = state(path)
        assert found is not None
        contents = {name: found[name] for name in found if name not in (MANIFEST_NAME, "z")}
        assert contents == {n: c for n, c in expected.items() if n != MANIFEST_NAME}
        listed = {*expected, "z"}
    assert {p.name for p in path.iterdir()} == listed, sorted(path.rglob("*"))


def killed(folder: Path, command: str) -> None:
    """Kill a command before each of its calls; the bundle is as before or as after."""
    expected = ends(folder, command)
    seen = set()
    for at in range(1, 1000):
        path = folder / str(at)
        if command != "new":
            start(path)
        child = os.fork()
        if child == 0:
            module.DISK = Failing(at, lambda: os.kill(os.getpid(), signal.SIGKILL))
            _run(command, path)
        _, status = os.waitpid(child, 0)
        found = state(path)
        assert found in expected, (at, found)
        if status == 0:
            assert found == expected[1]
            assert seen == {0, 1}
            sys.stdout.write(f"{at - 1} kills\n")
            return
        assert os.WTERMSIG(status) == signal.SIGKILL, (at, status)
        seen.add(expected.index(found))
        check_next(path, found)
    raise AssertionError("no end")


def parallel(folder: Path, *commands: str) -> None:
    """Run pairs of commands at once: both take effect, in one order or the other."""
    chance = random.Random(1)
    for round_ in range(120):
        path = folder / str(round_)
        start(path)
        pair = chance.sample(commands, 2)
        children = []
        for command in pair:
            child = os.fork()
            if child == 0:
                _run(command, path)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert set(codes) <= {0, 2}, (pair, codes)
        found = state(path)
        assert found is not None
        assert {p.name for p in path.iterdir()} == set(found), sorted(path.rglob("*"))
        if not {"again", "pack"}.intersection(pair):  # which drop what others added
            assert codes == [0, 0], pair
            assert {"add": "e", "add-another": "f"}.get(pair[0], "a") in found
            assert {"add": "e", "add-another": "f"}.get(pair[1], "a") in found
            assert ("note" in pair) == (b'"x"' in found[MANIFEST_NAME])
            assert (found["b"] == b"after") == ("replace" in pair)


def _run(command: str, path: Path) -> None:
    """In a child: run, and leave with the exit code of the command line."""
    logging.disable()
    code = 1
    try:
        COMMANDS[command](path)
        code = 0
    except UserError as error:
        sys.stderr.write(f"{command}: {error}\n")
        code = 2
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    module.DISK = Quick()
    {"killed": killed, "parallel": parallel}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
