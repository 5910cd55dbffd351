"""A file that a command writes as a whole: checked before the work, replaced at its end."""

import os
from pathlib import Path

from frcrn_export.runtime.bundle.transaction import replace_file
from frcrn_export.runtime.errors import UserError


def check_output(path: Path) -> None:
    """Raise UserError where `write_output` would fail."""
    parent = path.absolute().parent
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give a file")
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: is a device or a pipe, which is not replaced; give a file")
    if not parent.is_dir():
        what = "is no folder" if parent.exists() else "no such folder"
        raise UserError(f"{path}: cannot be written, {parent}: {what}; make it or give another")
    for blocked in (parent, path):
        if blocked.exists() and not os.access(blocked, os.W_OK):
            raise UserError(f"{path}: cannot be written, no permission for {blocked}; give another")


def write_output(path: Path, text: str) -> None:
    """Replace the file atomically. Raises UserError."""
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; make room or give another file") from error
