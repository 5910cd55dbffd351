"""The user's cache folder, for what costs time to make anew and nothing else."""

import os
import sys
from pathlib import Path

CACHE_VARIABLE = "FRCRN_EXPORT_CACHE"


def cache_dir() -> Path:
    """`FRCRN_EXPORT_CACHE`, or the folder for this program in the user's cache folder."""
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "frcrn-export"
