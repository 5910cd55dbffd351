"""Files that are being written: hidden beside their outputs, and renamed when complete."""

import os
from pathlib import Path

_MAX_NAME_BYTES = 200  # of the 255 that file systems allow


def partial_of(path: Path) -> Path:
    """The file to write before it gets the name `path`; another one in each process."""
    return path.with_name(f".{kept_name(path)}.{os.getpid()}.partial")


def kept_name(path: Path) -> str:
    """What of the name stands in that of the partial file."""
    name = path.name
    while len(os.fsencode(name)) > _MAX_NAME_BYTES:
        name = name[:-1]
    return name
