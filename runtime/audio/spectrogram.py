"""A picture of a recording before and after denoising: two spectrograms on one colour scale."""

from pathlib import Path

import numpy as np

from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.file import FileSource
from frcrn_export.runtime.audio.partial import partial_of
from frcrn_export.runtime.drawing import require_matplotlib
from frcrn_export.runtime.errors import UserError, reading
from frcrn_export.runtime.text import shown

# The length drawn of a long recording, and its resolution.
MAX_SECONDS = 60.0
_MAX_COLUMNS = 2000
_WINDOW_SECONDS = 0.032
_RANGE_DB = 80.0


def plot_before_after(before: Path, after: Path, picture: Path) -> None:
    """Draw the first channel of two audio files, at most their first minute, into a PNG file.

    Raises AudioError for files that cannot be read and UserError where matplotlib is missing.
    """
    require_matplotlib("--plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sources = [FileSource(path, warn=False) for path in (before, after)]
    levels = [spectrogram_dbfs(_start_of(source), source.sample_rate) for source in sources]
    top = max(-20.0, 5.0 * np.ceil(max(float(level.max()) for level in levels) / 5.0))
    figure = Figure(figsize=(11, 6.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 1, sharex=True, sharey=True)
    for axis, source, level, title in zip(axes, sources, levels, ("Before", "After"), strict=True):
        seconds = min(source.frames / source.sample_rate, MAX_SECONDS)
        image = axis.imshow(
            level,
            origin="lower",
            aspect="auto",
            interpolation="bilinear",
            cmap="magma",
            extent=(0.0, seconds, 0.0, source.sample_rate / 2000.0),
            vmin=top - _RANGE_DB,
            vmax=top,
        )
        name = shown(source.path.name)
        axis.set_title(f"{title}: {name}", loc="left", fontsize=11, parse_math=False)
        axis.set_ylabel("Frequency (kHz)")
    axes[1].set_xlabel("Time (s)")
    figure.colorbar(image, ax=list(axes), label="Level (dBFS)", pad=0.01)
    partial = partial_of(picture)
    with reading(picture, "cannot be written", "leave out --plot, or make room", UserError):
        try:
            picture.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(partial, format="png")
            partial.replace(picture)
        finally:
            partial.unlink(missing_ok=True)


def spectrogram_dbfs(samples: Float32Array, sample_rate: int) -> Float32Array:
    """Levels [F, columns] in dBFS (full-scale sine 0) of samples [N] at `sample_rate` Hz.

    Hann windows of 32 ms, centred; at most 2000 columns, spread evenly.
    """
    length = 2 * round(_WINDOW_SECONDS * sample_rate / 2)
    hop = max(length // 4, len(samples) // _MAX_COLUMNS + 1)
    window = np.hanning(length + 1)[:length]
    centred = np.pad(samples, length // 2)
    frames = np.lib.stride_tricks.sliding_window_view(centred, length)[::hop]
    amplitude = np.abs(np.fft.rfft(frames * window)).T * (2.0 / window.sum())
    level: Float32Array = (20.0 * np.log10(np.maximum(amplitude, 1e-7))).astype(np.float32)
    return level


def _start_of(source: FileSource) -> Float32Array:
    wanted = int(MAX_SECONDS * source.sample_rate)
    parts: list[Float32Array] = []
    for block in source.blocks():
        parts.append(block[0, :wanted])
        wanted -= len(parts[-1])
        if wanted <= 0:
            break
    return np.concatenate(parts)
