"""Audio in folders: which files are audio."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from frcrn_export.runtime.audio.formats import audio_suffixes

logger = logging.getLogger(__name__)

# Audio that libsndfile does not read: reported, where other files are ignored in silence.
_FOREIGN = {
    *(".3gp", ".aac", ".ac3", ".aax", ".amr", ".ape", ".dff", ".dsf", ".dts", ".m4a", ".m4b"),
    *(".mka", ".mkv", ".mov", ".mp4", ".mpc", ".ra", ".spx", ".tta", ".webm", ".wma", ".wv"),
}


@dataclass(frozen=True)
class AudioFolder:
    """The audio files in a folder and its subfolders, sorted by path.

    `left_out` counts the other files that look like audio, by reason.
    """

    files: tuple[Path, ...]
    left_out: Mapping[str, int]

    def but(self) -> str:
        """The end of an error "no audio": what was left out and why, or which formats are read."""
        return f" but {_said(self.left_out)}" if self.left_out else " (WAV, FLAC, OGG, MP3, ...)"


def find_audio(folder: Path, except_in: Path | None = None) -> AudioFolder:
    """Find the audio in a folder, and log in one line what is left out.

    Takes every file with a suffix that libsndfile reads. Follows links, and visits each folder
    once. Leaves out hidden files and folders (".name"; "._name" are macOS's resource forks) and the
    folder `except_in`.
    """
    left_out: Counter[str] = Counter()
    files = tuple(sorted(_walk(folder, except_in, left_out)))
    found = AudioFolder(files, left_out)
    if left_out:
        logger.warning("%s: left out %s", folder, _said(left_out))
    return found


def _walk(folder: Path, except_in: Path | None, left_out: Counter[str]) -> Iterator[Path]:
    seen = {_identity(except_in)} if except_in is not None and except_in.is_dir() else set()
    waiting, links = [folder], list[Path]()
    while waiting or links:
        # Links come last: a file in the folder itself keeps its own path.
        current, linked = (waiting.pop(), False) if waiting else (links.pop(0), True)
        try:
            identity = _identity(current)
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError:
            left_out["folders that cannot be read"] += 1
            continue
        if identity in seen:
            if linked:
                left_out["linked folders that are looked through already"] += 1
            continue
        seen.add(identity)
        for entry in entries:
            path = Path(entry.path)
            if _holds(entry.is_dir):
                if entry.name.startswith("."):
                    left_out["hidden folders"] += 1
                else:
                    (links if entry.is_symlink() else waiting).append(path)
            elif why := _why_not(path):
                left_out[why] += 1
            elif path.suffix.lower() in audio_suffixes():
                yield path


def _why_not(path: Path) -> str:
    """Why a file that looks like audio is not taken; empty for all other files."""
    suffix = path.suffix.lower()
    if suffix not in _FOREIGN | audio_suffixes().keys():
        return ""
    if path.name.startswith("."):
        return "hidden files"
    if suffix in _FOREIGN - audio_suffixes().keys():
        return f"{suffix} files, which libsndfile does not read (convert them to WAV or FLAC)"
    return "" if _holds(path.is_file) else "links or devices without a file"


def _holds(check: Callable[[], bool]) -> bool:
    """The answer of a check; False where it raises, as for links in circles."""
    try:
        return check()
    except OSError:
        return False


def _said(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {why}" for why, count in sorted(left_out.items()))


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
