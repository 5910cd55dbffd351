"""Partial files that a killed process left beside its outputs."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from frcrn_export.runtime.audio.partial import kept_name

# As `partial_of` names them.
_PARTIAL = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)\.partial", re.DOTALL)


def sweep_partials(outputs: Iterable[Path]) -> None:
    """Remove what dead processes of this machine left of these outputs."""
    names = defaultdict[Path, set[str]](set)
    for path in outputs:
        names[path.parent].add(kept_name(path))
    for folder, wanted in names.items():
        with suppress(OSError):  # it may not exist yet, and a partial file does no harm
            for entry in os.scandir(folder):
                found = _PARTIAL.fullmatch(entry.name)
                if found and found["name"] in wanted and not _is_alive(int(found["process"])):
                    Path(entry.path).unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # signal 0 ends a process there; an open file cannot be removed
        return process == os.getpid()
    with suppress(OSError, IndexError):  # killed, but not yet reaped; not on every system
        if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
