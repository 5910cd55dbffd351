"""The pictures of a result, as SVG: latency's distribution, its quality, its cost."""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from frcrn_export.runtime.bench.result import CapacityRow, Result, Roofline, Row
from frcrn_export.runtime.text import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LAYERS = 15
_NEAR_THE_PEAK = 0.7
_BEST_DB = 140.0  # better is the order of sums


def pictures(result: Result) -> Iterator[tuple[str, str]]:
    """The pictures that the result has rows for, each with its title, as SVG elements."""
    timed = [row for row in result.rows if row.summary is not None]
    if timed:
        yield "Latency: the share of calls that took at most this long", _distribution(timed)
    worst = _worst_parity(result)
    if points := [row for row in timed if row.path in worst]:
        yield "Quality against time", _quality(points, worst)
    offline = [row for row in timed if row.kind == "offline"]
    if len({row.audio_seconds for row in offline}) > 1:
        yield "Cost against length", _lengths(offline)
    hops = [row for row in timed if row.kind in ("hop", "hops")]
    if len({row.batch for row in hops}) > 1:
        yield "Cost against streams", _streams(hops)
    if held := [row for row in result.capacity if row.streams]:
        yield "Delay, processor time and quality of streams", _front(held)
    for roofline in result.rooflines:
        yield f"Layers of {roofline.path}: time, and share of what is attainable", _layers(roofline)


def _distribution(rows: Sequence[Row]) -> str:
    figure = _figure(9, 4.5)
    axis = figure.subplots()
    for row in rows:
        samples = np.sort(row.samples) / 1e3 / row.audio_seconds
        shares = np.linspace(0, 100, len(samples)) if len(samples) > 1 else [50]
        axis.step(samples, shares, "-" if len(samples) > 1 else "o", where="post", label=row.label)
    axis.set_xscale("log")
    axis.set_xlabel("Time for a second of audio (s)")
    axis.set_ylabel("Calls (%)")
    return _finished(figure, axis)


def _worst_parity(result: Result) -> dict[str, float]:
    worst: dict[str, float] = {}
    for each in result.parity:
        worst[each.artifact] = min(each.snr_db, worst.get(each.artifact, _BEST_DB))
    return worst


def _quality(rows: Sequence[Row], worst: dict[str, float]) -> str:
    figure = _figure(9, 4.5)
    axis = figure.subplots()
    for row in rows:
        assert row.real_time_factor is not None
        axis.plot(row.real_time_factor, worst[row.path], "o", label=row.label)
    axis.set_xscale("log")
    axis.set_xlabel("Time for a second of audio (s)")
    axis.set_ylabel("Worst SNR against the reference (dB)")
    axis.set_ylim(0, _BEST_DB)
    return _finished(figure, axis)


def _lengths(rows: Sequence[Row]) -> str:
    figure = _figure(9, 4.5)
    axis = figure.subplots()
    for name, group in _groups(rows, _line):
        group.sort(key=lambda row: row.audio_seconds)
        times = [row.summary.median / 1e3 for row in group if row.summary]
        axis.plot([row.audio_seconds for row in group], times, "o-", label=name)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("Recording (s)")
    axis.set_ylabel("Time (s)")
    return _finished(figure, axis)


def _streams(rows: Sequence[Row]) -> str:
    figure = _figure(9, 4.5)
    axis = figure.subplots()
    for name, group in _groups(rows, _line):
        group.sort(key=lambda row: row.batch)
        times = [row.summary.median / row.batch for row in group if row.summary]
        axis.plot([row.batch for row in group], times, "o-", label=name)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("Streams in a call")
    axis.set_ylabel("Time of a hop for one stream (ms)")
    axis.set_ylim(bottom=0)
    return _finished(figure, axis)


def _front(rows: Sequence[CapacityRow]) -> str:
    """A point for each way of running; those on the front have a ring, colours are the SNR."""
    figure = _figure(9, 4.5)
    axis = figure.subplots()
    shares = [100 * row.processor_share for row in rows]
    delays = [row.delay_ms for row in rows]
    dots = axis.scatter(delays, shares, c=[row.snr_db for row in rows], s=60, cmap="viridis")
    on_front = [index for index, row in enumerate(rows) if row.on_front]
    axis.plot(
        [delays[index] for index in on_front],
        [shares[index] for index in on_front],
        "o",
        markersize=14,
        fillstyle="none",
        color="tab:red",
        label="on the front",
    )
    for row, share in zip(rows, shares, strict=True):
        name = f" {row.precision}, {row.threads} x {row.workers}: {row.streams}"
        axis.annotate(name, (row.delay_ms, share), fontsize=7)
    figure.colorbar(dots, ax=axis, label="Worst SNR against the reference (dB)")
    axis.set_xlabel("Algorithmic delay (ms)")
    axis.set_ylabel("Of one processor, a stream (%)")
    axis.set_yscale("log")
    return _finished(figure, axis)


def _groups(rows: Sequence[Row], name: Callable[[Row], str]) -> Iterator[tuple[str, list[Row]]]:
    """The rows by name, in the order of their first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(name(row), []).append(row)
    yield from groups.items()


def _layers(roofline: Roofline) -> str:
    """A bar for each of the layers that take the most time, and how near the peak it is."""
    layers = roofline.layers[:_MOST_LAYERS][::-1]
    figure = _figure(9, 1 + 0.25 * len(layers))
    axis = figure.subplots()
    colours = ["tab:green" if layer.reached > _NEAR_THE_PEAK else "tab:red" for layer in layers]
    axis.barh(range(len(layers)), [layer.ms for layer in layers], color=colours)
    names = [f"{layer.operator} {layer.shapes}" for layer in layers]
    axis.set_yticks(range(len(layers)), names, fontsize=7)
    for place, layer in enumerate(layers):
        axis.text(layer.ms, place, f" {layer.attained}", va="center", fontsize=7)
    axis.set_xlabel(
        f"Time (ms), of {roofline.total_ms:.3g}; green: above 70 % of what is attainable"
    )
    axis.margins(x=0.12)
    return _svg(figure)


def _line(row: Row) -> str:
    return f"{row.path}, {counted(row.threads, 'thread')}"


def _finished(figure: "Figure", axis: "Axes") -> str:
    """With a grid, and a legend below the axes, where it hides nothing."""
    axis.grid(alpha=0.3)
    figure.legend(fontsize=7, loc="outside lower center", ncols=2)
    return _svg(figure)


def _figure(width: float, height: float) -> "Figure":
    """A figure without pyplot, which would need a display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: "Figure") -> str:
    """The figure as an SVG element, without the prolog of a file."""
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.fonttype": "none"}):  # text as text: to be found, and smaller
        figure.savefig(text, format="svg", metadata={"Date": None})
    return re.sub(r"(?s)^.*?(?=<svg)", "", text.getvalue())
