"""The report on an INT8 or FP8 file for people: tables, a Markdown page and pictures."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from frcrn_export.calibration.int8_gates import LIMITS
from frcrn_export.calibration.int8_report import Report, SearchPoint, TensorRange, WorstClip
from frcrn_export.calibration.quality.tables import METRICS as TITLES
from frcrn_export.calibration.quality_scores import METRICS
from frcrn_export.runtime.audio.spectrogram import spectrogram_dbfs
from frcrn_export.runtime.commands.inspect_tables import gate_words
from frcrn_export.runtime.drawing import require_matplotlib
from frcrn_export.runtime.tables import Table, markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_RANGE_DB = 80.0
_DPI = 120
# More names are not readable under an axis.
_MOST_NAMES = 40


def draw(report: Report, worst: WorstClip) -> Iterator[tuple[str, bytes]]:
    """The report's pictures, each with its kind. Raises UserError."""
    require_matplotlib("the report")
    yield "worst", worst_clip(worst, _titles(report, worst.name))
    if report.ranges:
        yield "ranges", ranges(report.ranges)
    if len(report.search) > 1:  # a single point is no search
        yield "search", search(report.search)


def worst_clip(clip: WorstClip, titles: Sequence[str]) -> bytes:
    """Spectrograms of noisy, FP32, 8 bits and their difference, on one scale; a title for each."""
    parts = (clip.noisy, clip.float32, clip.int8, clip.float32 - clip.int8)
    levels = [spectrogram_dbfs(part, clip.sample_rate) for part in parts]
    top = max(-20.0, 5.0 * np.ceil(max(float(level.max()) for level in levels) / 5.0))
    figure = _figure(11, 12)
    axes = figure.subplots(len(parts), 1, sharex=True, sharey=True)
    for axis, level, title in zip(axes, levels, titles, strict=True):
        image = axis.imshow(
            level,
            origin="lower",
            aspect="auto",
            interpolation="bilinear",
            cmap="magma",
            extent=(0.0, len(clip.noisy) / clip.sample_rate, 0.0, clip.sample_rate / 2000.0),
            vmin=top - _RANGE_DB,
            vmax=top,
        )
        axis.set_title(title, loc="left", fontsize=11)
        axis.set_ylabel("Frequency (kHz)")
    axes[-1].set_xlabel("Time (s)")
    figure.colorbar(image, ax=list(axes), label="Level (dBFS)", pad=0.01)
    return _png(figure)


def ranges(tensors: Sequence[TensorRange]) -> bytes:
    """The extremes of each tensor in the graph's order, and its quantization range."""
    figure = _figure(11, 6)
    axis = figure.subplots()
    places = np.arange(len(tensors))
    low, high = (np.array([getattr(t, name) for t in tensors]) for name in ("low", "high"))
    chosen = [np.array([getattr(t, f"chosen_{name}") for t in tensors]) for name in ("low", "high")]
    axis.bar(places, high - low, 0.8, low, color="tab:orange", alpha=0.4, label="extremes")
    axis.bar(places, chosen[1] - chosen[0], 0.4, chosen[0], color="tab:blue", label="8 bits")
    smallest = min(t.chosen_high - t.chosen_low for t in tensors)
    axis.set_yscale("symlog", linthresh=max(smallest / 2, 1e-6))
    axis.set_ylabel("Value")
    axis.set_xlim(-1, len(tensors))
    if len(tensors) <= _MOST_NAMES:
        axis.set_xticks(places, [t.tensor for t in tensors], rotation=90, fontsize=7)
    else:
        axis.set_xlabel("Quantized tensor, in the order of the graph")
    axis.set_title("Activations on the calibration recordings", loc="left", fontsize=11)
    axis.legend()
    axis.grid(alpha=0.3, axis="y")
    return _png(figure)


def search(points: Sequence[SearchPoint]) -> bytes:
    """Core SNR and PESQ drop of each candidate over its share in 8 bits, with the gates."""
    figure = _figure(9, 7)
    snr, pesq = figure.subplots(2, 1, sharex=True)
    _candidates(snr, [(p, p.core_snr_db) for p in points], LIMITS["core_snr"])
    snr.set_ylabel("Mean core SNR (dB)")
    _candidates(pesq, [(p, p.pesq_drop) for p in points], LIMITS["pesq"])
    pesq.set_ylabel("Mean PESQ drop")
    pesq.set_xlabel("Share of the multiplications in 8 bits (%)")
    snr.legend(loc="best")
    return _png(figure)


def _candidates(
    axis: Any, points: Sequence[tuple[SearchPoint, float | None]], limit: float
) -> None:
    there = [(point, value) for point, value in points if value is not None]
    for passed, colour, label in (
        (True, "tab:green", "passes the gates of quality"),
        (False, "tab:red", "fails one"),
    ):
        some = [(100 * point.share, value) for point, value in there if point.passed is passed]
        axis.plot(*np.array(some).reshape(-1, 2).T, "o", color=colour, label=label)
    chosen = [(100 * point.share, value) for point, value in there if point.chosen]
    rings = np.array(chosen).reshape(-1, 2).T
    axis.plot(*rings, "o", markersize=13, fillstyle="none", color="black", label="chosen")
    axis.axhline(limit, color="black", linestyle="--", linewidth=1, label=f"gate: {limit:g}")
    axis.grid(alpha=0.3)


def _titles(report: Report, name: str) -> tuple[str, ...]:
    index = [clip.name for clip in report.int8.clips].index(name)
    scores = report.scores(index)
    titles = []
    precision = report.precision.upper()
    for kind, title in (("noisy", "Noisy"), ("fp32", "FP32"), (report.precision, precision)):
        pesq = scores[kind].values.get("pesq")
        titles.append(f"{title}: {name}" + ("" if pesq is None else f", PESQ {pesq:.2f}"))
    snr = report.core_snrs(index)[report.precision]
    core = "" if snr is None else f", core SNR {snr:.1f} dB"
    return *titles, f"FP32 minus {precision}{core}"


def _figure(width: float, height: float) -> "Figure":
    """A figure without pyplot, which would need a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: "Figure") -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


_NAMES = {"noisy": "noisy", "fp32": "FP32", "fp16": "FP16", "int8": "INT8", "fp8": "FP8"}
_CAPTIONS = {
    "worst": "The clip with the least core SNR",
    "ranges": "Ranges of activations",
    "search": "Quality against the share in 8 bits",
}


def markdown(report: Report, images: Iterable[str] = ()) -> str:
    """The Markdown page; `images` are the names of the pictures beside it."""
    text = "\n\n".join((f"# {report.file}", *facts(report), *_notes(report))) + "\n"
    text += "".join(markdown_table(table) for table in tables(report))
    return text + "".join(f"\n![{_CAPTIONS[name.split('.')[-2]]}]({name})\n" for name in images)


def facts(report: Report) -> Iterator[str]:
    """Lines on how the file was made, and its speed."""
    made, weights = report.quantization, report.weights
    yield f"{report.model}, weights: {weights.name} ({weights.source})."
    yield (
        f"{made.layers} of {made.candidates} layers that gain by it compute in "
        f"{_NAMES[report.precision]}, {100 * made.share:.1f} % of the multiplications. Ranges: "
        f"{made.method}, of {made.clips} recordings (sha256 {made.clips_sha256[:16]}, "
        f"seed {made.seed})."
    )
    if speed := report.speed:
        threads = f"{speed.threads} threads" if speed.threads else "all threads"
        yield (
            f"{speed.seconds:g} s of audio through the core: {speed.float32_ms:.2f} ms in float32, "
            f"{speed.int8_ms:.2f} ms in INT8, {speed.ratio:.2f} times as fast (quartiles "
            f"{speed.low:.2f} to {speed.high:.2f} of {speed.repetitions} repetitions, {threads})."
        )
    else:
        yield "Its speed was not measured."


def tables(report: Report) -> list[Table]:
    """Tables of gates, clips, layers and missing values."""
    found = [_gate_table(report), _clip_table(report)]
    if report.layers:
        found.append(_layer_table(report))
    if rows := tuple(_missing(report)):
        found.append(Table("Without a value", ("Clip", "Of", "Metric", "Because"), rows))
    return found


def _notes(report: Report) -> Iterator[str]:
    if report.weights.are_random:
        yield (
            "Random weights: the output is no speech, so PESQ, SI-SDR and STOI of it say nothing."
        )
    if report.quantization.kept_slower:
        yield "It is not faster, and was kept by request (`--allow-slower`)."
    yield from report.warnings


def _gate_table(report: Report) -> Table:
    gates = [gate_words(gate) for gate in report.quantization.gates]
    rows = tuple((words.what, words.value, words.limit, words.verdict) for words in gates)
    return Table("Gates", ("Gate", ">Value", "Limit", "Verdict"), rows)


def _clip_table(report: Report) -> Table:
    rows = []
    for index, clip in enumerate(report.int8.clips):
        snrs = report.core_snrs(index)
        for kind, scores in report.scores(index).items():
            rows.append(_clip_row(clip.name, kind, scores.values, snrs.get(kind)))
    for kind, values in report.means().items():
        rows.append(_clip_row("mean", kind, values, values.get("core_snr_db")))
    headings = (f">{TITLES[metric].heading}" for metric in METRICS)
    return Table("Held-out clips", ("Clip", "Of", *headings, ">Core SNR (dB)"), tuple(rows))


def _clip_row(
    clip: str, kind: str, values: Mapping[str, float | None], core_snr: float | None
) -> tuple[str, ...]:
    cells = (_cell(values.get(metric), TITLES[metric].digits) for metric in METRICS)
    return clip, _NAMES[kind], *cells, _cell(core_snr)


def _layer_table(report: Report) -> Table:
    rows = tuple(
        (
            layer.name,
            _NAMES[report.precision] if layer.int8 else "kept",
            f"{100 * layer.share:.2f}",
            _cell(layer.sensitivity_db),
            layer.reason,
        )
        for layer in report.layers
    )
    alone = f">Core SNR alone in {_NAMES[report.precision]} (dB)"
    columns = ("Layer", "Computes", ">Share (%)", alone, "Kept because")
    return Table("Layers", columns, rows)


def _missing(report: Report) -> Iterator[tuple[str, ...]]:
    for index, clip in enumerate(report.int8.clips):
        for kind, scores in report.scores(index).items():
            for metric, reason in scores.missing.items():
                yield clip.name, _NAMES[kind], TITLES[metric].title, reason


def _cell(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
