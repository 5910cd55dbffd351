"""What values the tensors of a float core take on calibration clips; kept by data and model."""

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from time import monotonic
from zipfile import BadZipFile

import msgspec
import numpy as np
import onnx

from frcrn_export.calibration.clips import ClipSet, read_clip
from frcrn_export.calibration.feeds import calls
from frcrn_export.calibration.histogram import BINS, Histogram, merge
from frcrn_export.calibration.observation import Observer
from frcrn_export.runtime.bundle.manifest import FileEntry, Manifest
from frcrn_export.runtime.bundle.transaction import replace_file
from frcrn_export.runtime.cache import cache_dir
from frcrn_export.runtime.errors import CheckFailed

Ranges = Mapping[str, Histogram]
Progress = Callable[[int, int], None]

# Of each clip the loudest part, as long as windows of FRCRN fit without padding. 64 of them are
# 8000 frames of FRCRN.
OBSERVED_SECONDS = 2.5
# Of each tensor so many values are counted in a call. A stream has a hundred calls or more.
_COUNTED, _COUNTED_STREAMING = 1 << 15, 1 << 8
_SAVE_SECONDS = 15.0  # between two saves
# Counts up with every change of what is measured or how it is kept.
_VERSION = 1


@dataclass(frozen=True)
class _Partial:
    """The histograms of the first `done` clips."""

    done: int
    ranges: Ranges


def observe(
    model: onnx.ModelProto | Path,
    tensors: Sequence[str],
    manifest: Manifest,
    entry: FileEntry,
    clips: ClipSet,
    *,
    threads: int | None = None,
    progress: Progress = lambda done, total: None,
) -> dict[str, Histogram]:
    """Run a float core on the clips and measure tensors: inputs, or what its nodes compute.

    `model` is called as the file `entry` of the bundle is. `progress` is told how many clips of how
    many are done. What was interrupted goes on where it was; what is done is read from the cache.
    Raises ValueError for a tensor that is not there, AudioError for a clip that changed,
    BackendError where ONNX Runtime cannot load the model, CheckFailed where a value is not finite.
    """
    tensors = list(dict.fromkeys(tensors))
    content = model.read_bytes() if isinstance(model, Path) else model.SerializeToString()
    cache = cache_dir() / "calibration" / f"{_key(content, tensors, manifest, entry, clips)}.npz"
    total = len(clips.clips)
    partial = _load(cache, tensors)
    progress(partial.done, total)
    if partial.done < total:
        loaded = onnx.load(model) if isinstance(model, Path) else model
        counted = _COUNTED if entry.streaming is None else _COUNTED_STREAMING
        observer = Observer(loaded, tensors, counted, threads)
        del loaded
        saved, saved_at = partial, monotonic()
        try:
            while partial.done < total:
                partial = _with_next(partial, observer, manifest, entry, clips)
                progress(partial.done, total)
                if monotonic() - saved_at > _SAVE_SECONDS:
                    _save(cache, partial)
                    saved, saved_at = partial, monotonic()
        finally:
            if partial is not saved:
                _save(cache, partial)
    return dict(partial.ranges)


def _with_next(
    partial: _Partial, observer: Observer, manifest: Manifest, entry: FileEntry, clips: ClipSet
) -> _Partial:
    clip = clips.clips[partial.done]
    audio = read_clip(clip, clips.sample_rate)
    observer.begin(seed=partial.done)
    for _ in calls(manifest, entry, audio, observer.run, OBSERVED_SECONDS):
        pass
    try:
        found = observer.histograms()
    except CheckFailed as error:
        raise CheckFailed(
            f"{clip.path}: {error} in {entry.path}; remove this recording from the calibration "
            "folder, or check the bundle: frcrn-export verify BUNDLE"
        ) from error
    if partial.ranges:
        found = {name: merge([partial.ranges[name], found[name]]) for name in found}
    return _Partial(partial.done + 1, found)


def _key(
    content: bytes, tensors: Sequence[str], manifest: Manifest, entry: FileEntry, clips: ClipSet
) -> str:
    """Of all that decides what is measured."""
    parts = (
        (_VERSION, OBSERVED_SECONDS, _COUNTED, _COUNTED_STREAMING, BINS),
        hashlib.sha256(content).hexdigest(),
        tensors,
        (manifest.sample_rate, manifest.stft, manifest.level, manifest.padding, manifest.segments),
        (entry.inputs, entry.outputs, entry.streaming),
        clips.sha256,
    )
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def _save(path: Path, partial: _Partial) -> None:
    histograms = list(partial.ranges.values())
    stream = BytesIO()
    np.savez_compressed(
        stream,
        done=partial.done,
        extremes=np.array([(each.low, each.high, each.limit) for each in histograms]),
        counts=np.stack([each.counts for each in histograms]),
    )
    replace_file(path, stream.getvalue())


def _load(path: Path, tensors: Sequence[str]) -> _Partial:
    """What was kept, or nothing where there is nothing that can be read."""
    try:
        with np.load(path) as kept:
            done, extremes, counts = int(kept["done"]), kept["extremes"], kept["counts"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
        return _Partial(0, {})
    ranges = {
        name: Histogram(float(low), float(high), float(limit), each)
        for name, (low, high, limit), each in zip(tensors, extremes, counts, strict=True)
    }
    return _Partial(done, ranges)
