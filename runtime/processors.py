"""How many processors this process may use: its affinity, and the quota of its container."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def usable_processors(root: Path = _ROOT, own: Path = _OWN) -> int:
    """The number of processors for threads that compute, at least 1.

    `os.cpu_count` is that of the machine. More threads than a quota pays for are put to sleep
    together until its next period.

    Args:
        root: Where the control groups are mounted.
        own: The file that names those of this process.
    """
    try:
        found = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        found = os.cpu_count() or 1
    quotas = (math.ceil(quota) for quota in _quotas(root, own))
    return max(1, min((found, *quotas)))


def _quotas(root: Path, own: Path) -> Iterator[float]:
    """The limits of this process's groups and of those around them, in processors."""
    for folder in _folders(root, own):
        words = [*_words(folder / "cpu.max")]  # version 2
        if not words:
            words = [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
            yield int(words[0]) / int(words[1])


def _folders(root: Path, own: Path) -> Iterator[Path]:
    """The folders of the groups, from each group outwards.

    In a container the name of a group may be one outside it; the root is always looked at.
    """
    try:
        lines = own.read_text().splitlines()
    except (OSError, ValueError):
        lines = []
    for line in lines or ["0::/"]:
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        inside = PurePosixPath(name.lstrip("/"))
        for mounted in (root / controllers, root / "cpu") if controllers else (root,):
            for part in (inside, *inside.parents):
                if ".." not in part.parts:
                    yield mounted / part


def _words(file: Path) -> Iterator[str]:
    try:
        yield from file.read_text().split()
    except (OSError, ValueError):
        return
