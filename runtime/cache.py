"""The user's cache folder for what can be recreated: weights, kernels, measurements."""

import os
import sys
from pathlib import Path

from frcrn_export.runtime.errors import UserError

CACHE_VARIABLE = "FRCRN_EXPORT_CACHE"
_APP = "frcrn-export"


def cache_dir() -> Path:
    """`FRCRN_EXPORT_CACHE`, or this program's place in the user's cache folder of this platform.

    That is `$XDG_CACHE_HOME/frcrn-export` or `~/.cache/frcrn-export` on Linux,
    `~/Library/Caches/frcrn-export` on macOS, `%LOCALAPPDATA%\\frcrn-export\\Cache` on Windows.
    Raises UserError for a user without a home folder.
    """
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given)
    if sys.platform == "win32":
        return (_absolute("LOCALAPPDATA") or _home() / "AppData" / "Local") / _APP / "Cache"
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches" / _APP
    return (_absolute("XDG_CACHE_HOME") or _home() / ".cache") / _APP


def _absolute(variable: str) -> Path | None:
    """The folder that a variable names; relative paths are ignored, as XDG requires."""
    path = Path(os.environ.get(variable, ""))
    return path if path.is_absolute() else None


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:  # a container's user without an entry and without HOME
        raise UserError(
            f"this user has no home folder to keep a cache in; set {CACHE_VARIABLE} to a folder"
        ) from error
