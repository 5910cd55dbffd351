"""A file in a process of its own: how long it takes to open, and what memory it takes.

`python -m frcrn_export.runtime.bench.cold BUNDLE FILE BACKEND THREADS` prints one line of JSON.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence

from frcrn_export.runtime.bench.machine import peak_bytes
from frcrn_export.runtime.bench.result import Cold
from frcrn_export.runtime.bundle.manifest import FileEntry
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import BackendError, FrcrnExportError
from frcrn_export.runtime.gpu import free_memory
from frcrn_export.runtime.text import shown

_SECONDS = 1.0  # of audio, where the file takes recordings
_LIMIT_SECONDS = 300.0


def start_cold(bundle: Bundle, entry: FileEntry, backend: str, threads: int) -> Cold:
    """Open a file in a new process and run it once, on a second of audio or a hop.

    Raises BackendError where the process fails.
    """
    words = (str(bundle.path.resolve()), entry.path, backend, str(threads))
    command = (sys.executable, "-m", "frcrn_export.runtime.bench.cold", *words)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        raise BackendError(
            f"{bundle.path / entry.path}: not open after {_LIMIT_SECONDS:g} s; "
            "run: frcrn-export doctor"
        ) from None
    try:
        said = json.loads(done.stdout)
    except ValueError:
        said = {"error": done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"}
    if "error" in said:
        raise BackendError(f"{entry.path}: {shown(said['error'])}")
    return Cold(path=entry.path, backend=backend, **said)


def main(words: Sequence[str]) -> None:
    """Open and run a file, and print what that took, or {"error": ...}."""
    folder, path, backend, threads = words
    said: dict[str, float | str | None]
    try:
        said = {**_measure(open_bundle(folder), path, backend, int(threads))}
    except FrcrnExportError as error:
        said = {"error": str(error)}
    sys.stdout.write(json.dumps(said) + "\n")


def _measure(bundle: Bundle, path: str, backend: str, threads: int) -> dict[str, float | None]:
    # Imported here: `cases` needs what this process is to import before memory is looked at.
    from frcrn_export.runtime.bench.cases import Case, hop_of, speech_of
    from frcrn_export.runtime.sessions.registry import require_backend
    from frcrn_export.runtime.streaming.session import rows_of

    (entry,) = (entry for entry in bundle.manifest.files if entry.path == path)
    require_backend(backend)
    speech = speech_of(bundle)
    if entry.streaming is None:
        case = Case(entry, backend, "offline", threads, 1, _SECONDS)
    else:
        case = hop_of(bundle.manifest, entry, backend, threads, rows_of(entry))
    before = peak_bytes()
    started = time.perf_counter()
    # In the time to open: it makes CUDA's context, which would be made there anyway.
    free = free_memory() if entry.engine else None
    call = case.open(bundle, speech)
    opened = time.perf_counter()
    call()
    done = time.perf_counter()
    peak = peak_bytes()
    taken = None if free is None else max(0, free - free_memory())
    return {
        "load_ms": 1e3 * (opened - started),
        "first_ms": 1e3 * (done - opened),
        "peak_bytes": peak,
        "added_bytes": None if peak is None or before is None else max(0, peak - before),
        "device_bytes": taken,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
