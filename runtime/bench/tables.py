"""A result as tables for people."""

from collections.abc import Iterator

from frcrn_export.runtime.bench.anchor import MUCH_SLOWER, slowed_by
from frcrn_export.runtime.bench.capacity import recommended
from frcrn_export.runtime.bench.gpu_state import GpuCourse
from frcrn_export.runtime.bench.result import (
    CapacityRow,
    Cold,
    FileCounters,
    Result,
    Roofline,
    Row,
    Slope,
)
from frcrn_export.runtime.bench.scaling import thread_gains
from frcrn_export.runtime.bench.summary import CERTAINTY, FEWEST_ROUNDS, is_certain
from frcrn_export.runtime.tables import Table
from frcrn_export.runtime.text import counted

_MOST_OPERATORS = 6
_MOST_LAYERS = 15


def result_tables(result: Result) -> Iterator[Table]:
    """Times, streams at their pace, cold starts and counters."""
    if offline := [row for row in result.rows if row.kind in ("offline", "core")]:
        yield Table("Recordings", _OFFLINE, tuple(map(_offline, offline)), _OFFLINE_MINOR)
    if hops := [row for row in result.rows if row.kind in ("hop", "hops")]:
        yield Table("Streams, hop by hop", _HOPS, tuple(map(_hop, hops)), _HOPS_MINOR)
    if parts := [row for row in result.rows if row.parts is not None]:
        yield Table("Parts of a call on the GPU", _PARTS, tuple(map(_parts, parts)))
    if result.slopes:
        yield Table("How the cost grows", _SLOPES, tuple(map(_slope, result.slopes)), _SLOPES_MINOR)
    if gains := list(thread_gains(result.rows)):
        yield Table("Threads", _GAINS, tuple(map(_gain, gains)))
    if result.capacity:
        rows = sorted(result.capacity, key=lambda row: -row.streams)
        title = "Streams that this machine holds"
        yield Table(title, _CAPACITY, tuple(map(_capacity, rows)), _CAPACITY_MINOR)
    for roofline in result.rooflines:
        yield _layers_table(roofline)
    if result.cold:
        yield Table("In a new process", _COLD, tuple(map(_cold, result.cold)), _COLD_MINOR)
    if not (result.capacity or result.slopes or result.rooflines):
        yield Table(
            "Exact counters", _COUNTERS, tuple(map(_counters, result.files)), _COUNTERS_MINOR
        )


def result_notes(result: Result) -> Iterator[str]:
    """Lines on the machine, on what was left out and on what failed."""
    machine = result.machine
    versions = ", ".join(f"{name} {each}" for name, each in machine.versions.items())
    gpu = f"; {machine.gpu}, driver for CUDA {machine.cuda}" if machine.gpu else "; no GPU"
    yield (
        f"{result.model}, weights {result.weights}; {machine.processor}, {machine.usable} of "
        f"{machine.cores} cores, {machine.system}{gpu}; Python {machine.python}, {versions}"
    )
    if result.rows:
        yield f"measured in {result.seconds:.0f} s; the interval is that of the median, 95 %"
    timed = [row for row in result.rows if row.summary is not None]
    if unsure := [row for row in timed if not is_certain(row.rounds, CERTAINTY)]:
        yield (
            f"{len(unsure)} of {len(timed)} rows are not certain to {100 * CERTAINTY:g} %: give "
            "more time (--seconds), on a machine that does nothing else"
        )
    if (slower := slowed_by(result.anchor_ms)) > MUCH_SLOWER:
        yield (
            f"the machine was {100 * slower:.0f} % slower in one half of the run than in the "
            "other; measure again when it is quiet"
        )
    if result.stolen is not None and result.stolen > 0.01:
        yield f"{100 * result.stolen:.0f} % of the processors' time went to other machines"
    if result.gpu is not None:
        yield from _gpu_notes(result.gpu)
    if result.capacity:
        best = recommended(result.capacity)
        yield (
            "no way of running held one stream here just now; end other work, and run it again"
            if best is None
            else f"recommended, for {best.streams} streams at {number(best.delay_ms)} ms of delay: "
            f"{best.command}"
        )
    failed = [parity for parity in result.parity if not parity.passed]
    for each in failed:
        yield (
            f"{each.artifact}, {each.case}: {each.snr_db:.1f} dB, below its floor of "
            f"{each.floor_db:g} dB"
        )
    if result.parity and not failed:
        yield f"parity: all {len(result.parity)} comparisons hold their floors"
    for row in result.rows:
        if row.failed:
            yield f"{row.label}: {row.failed}"
    for path, why in result.left_out.items():
        yield f"{path} was not timed: {why}"


def _gpu_notes(gpu: GpuCourse) -> Iterator[str]:
    clocks, degrees = (
        " and ".join("unknown" if value is None else f"{value:.0f}" for value in values)
        for values in zip(*((e.sm_mhz, e.celsius) for e in (gpu.before, gpu.after)), strict=True)
    )
    yield f"the GPU before and after: clocks of {clocks} MHz, {degrees} degrees Celsius"
    if reasons := [f"{100 * share:.0f} % {why}" for why, share in gpu.throttled.items()]:
        yield f"the GPU was throttled, of the run: {', '.join(reasons)}; times are longer for it"


_OFFLINE = (
    "file",
    "backend",
    "call",
    ">threads",
    ">calls",
    ">median ms",
    ">interval",
    ">p99",
    ">CPU ms",
    ">RTF",
    ">x real time",
)
# What a narrow terminal may leave out, the least important first.
_OFFLINE_MINOR = (">calls", ">CPU ms", ">p99", ">interval", ">x real time", "backend")
_HOPS = (
    "file",
    "backend",
    "call",
    ">threads",
    ">calls",
    ">p50 ms",
    ">interval",
    ">p90",
    ">p99",
    ">max",
    ">CPU ms",
    ">of real time",
    ">at pace: p50",
    ">at pace: p99",
    ">done after, at most",
    ">late",
)
_HOPS_MINOR = (
    *(">CPU ms", ">calls", ">p90", ">max", ">at pace: p50", ">done after, at most"),
    *(">interval", ">at pace: p99", ">p99", "backend", ">threads"),
)


_PARTS = ("file", "call", ">H2D ms", ">compute ms", ">D2H ms", ">enqueue ms")
_COLD = (
    *("file", "backend", ">open ms", ">first run ms", ">peak MB", ">of it added MB"),
    ">GPU MB",
)
_COLD_MINOR = (">of it added MB", ">GPU MB", "backend")
_COUNTERS = (
    *("file", "precision", ">MB", ">nodes", ">GFLOP a second of audio", ">calls", ">state kB"),
    *(">activation MB", "as run here"),
)
_COUNTERS_MINOR = ("as run here", ">activation MB", ">calls", ">state kB", ">nodes")


_SLOPES = ("file", "along", ">threads", ">from", ">to", ">exponent", ">each one more, ms")
_SLOPES_MINOR = (">from", ">to")
_GAINS = ("file", "call", ">threads", ">1 thread, ms", ">ms", ">times as fast")
_CAPACITY = (
    *("bundle", "file", "precision", ">threads x workers", ">streams", ">p99 of a call, ms"),
    *(">hop, ms", ">late at real-time pace", ">delay, ms", ">of a processor a stream", ">SNR dB"),
    "worth it",
)
_CAPACITY_MINOR = (
    *(">p99 of a call, ms", ">hop, ms", ">late at real-time pace", "precision"),
    *(">of a processor a stream", ">SNR dB"),
)
_LAYERS = ("node", "operator", "shapes", ">ms", ">share", ">GFLOP/s", ">GB/s", ">of attainable")
_LAYERS_MINOR = ("shapes", ">GB/s", ">GFLOP/s")


def _slope(each: Slope) -> tuple[str, ...]:
    unit = " s" if each.along == "length" else ""
    return (
        each.path,
        each.along,
        str(each.threads),
        f"{each.least:g}{unit}",
        f"{each.most:g}{unit}",
        f"{each.exponent:.2f}",
        number(each.each_ms),
    )


def _gain(each: tuple[Row, Row, float]) -> tuple[str, ...]:
    one, more, gain = each
    times = (row.summary.median for row in (one, more) if row.summary)
    return (more.path, more.what, str(more.threads), *map(number, times), f"{gain:.2f}")


def _capacity(row: CapacityRow) -> tuple[str, ...]:
    start = (row.bundle, row.path, row.precision, f"{row.threads} x {row.workers}")
    if row.failed and not row.streams:
        return (*start, "failed", *["-"] * 6, row.failed)
    if not row.streams:
        none = ("0", number(row.p99_ms), number(row.hop_ms), "-", number(row.delay_ms), "-")
        return (*start, *none, f"{row.snr_db:.1f}", "")
    return (
        *start,
        str(row.streams),
        number(row.p99_ms),
        number(row.hop_ms),
        f"{row.missed} of {row.hops}",
        number(row.delay_ms),
        f"{100 * row.processor_share:.2f} %",
        f"{row.snr_db:.1f}",
        "on the front" if row.on_front else "",
    )


def _layers_table(roofline: Roofline) -> Table:
    """The layers that take most of the time, and the rest as one row."""
    shown = roofline.layers[:_MOST_LAYERS]
    rows = [
        (
            layer.name,
            layer.operator,
            layer.shapes,
            number(layer.ms),
            f"{100 * layer.share:.1f} %",
            f"{layer.gflops:.1f}" if layer.gflops else "-",
            f"{layer.gbytes:.1f}",
            layer.attained,
        )
        for layer in shown
    ]
    if rest := roofline.layers[_MOST_LAYERS:]:
        share = f"{100 * sum(layer.share for layer in rest):.1f} %"
        ms = number(sum(layer.ms for layer in rest))
        rows.append((f"{len(rest)} others", "", "", ms, share, "-", "-", "-"))
    title = (
        f"{roofline.path}, {counted(roofline.threads, 'thread')}: "
        f"{number(roofline.total_ms)} ms in layers; this machine: "
        f"{roofline.peak_gflops:.0f} GFLOP/s, in 8 bits {roofline.peak_int8_gops:.0f}, "
        f"{roofline.bandwidth_gbytes:.0f} GB/s"
    )
    if roofline.cache_gbytes:
        title += f", in a cache {roofline.cache_gbytes:.0f}"
    return Table(title, _LAYERS, tuple(rows), _LAYERS_MINOR)


def _cold(each: Cold) -> tuple[str, ...]:
    return (
        each.path,
        each.backend,
        f"{each.load_ms:.0f}",
        f"{each.first_ms:.1f}",
        _megabytes(each.peak_bytes),
        _megabytes(each.added_bytes),
        _megabytes(each.device_bytes),
    )


def _interval(row: Row) -> str:
    """The interval of the median; fewer than six rounds have none."""
    if row.summary is None or 0 < len(row.rounds) < FEWEST_ROUNDS:
        return "-"
    return f"{number(row.summary.low)} to {number(row.summary.high)}"


def _percentile(row: Row, value: float, share: int) -> str:
    """A percentile in ms, of as many calls as it needs to be one."""
    return number(value) if len(row.samples) * (100 - share) >= 100 or not row.rounds else "-"


def _offline(row: Row) -> tuple[str, ...]:
    found, factor = row.summary, row.real_time_factor
    start = (row.path, row.backend, row.what, str(row.threads))
    if found is None or factor is None:
        return (*start, "failed", *["-"] * 6)
    return (
        *start,
        str(len(row.samples)),
        number(found.median),
        _interval(row),
        _percentile(row, found.p99, 99),
        number(row.processor_ms),
        f"{factor:.4f}",
        f"{1 / factor:,.0f}",
    )


def _hop(row: Row) -> tuple[str, ...]:
    found, factor = row.summary, row.real_time_factor
    start = (row.path, row.backend, row.what, str(row.threads))
    if found is None or factor is None:
        return (*start, "failed", *["-"] * 11)
    paced = row.paced
    kept = (
        ("-", "-", "-", "-")
        if paced is None
        else (
            number(paced.p50_ms),
            number(paced.p99_ms),
            number(paced.latest_ms),
            f"{paced.missed} of {paced.hops}",
        )
    )
    return (
        *start,
        str(len(row.samples)),
        number(found.median),
        _interval(row),
        _percentile(row, found.p90, 90),
        _percentile(row, found.p99, 99),
        number(found.max),
        number(row.processor_ms),
        f"{100 * factor:.1f} %",
        *kept,
    )


def _parts(row: Row) -> tuple[str, ...]:
    assert row.parts is not None
    values = (row.parts.h2d, row.parts.compute, row.parts.d2h, row.parts.enqueue)
    return (row.path, row.what, *map(number, values))


def _counters(each: FileCounters) -> tuple[str, ...]:
    nodes = sum(each.operators.values()) or sum(sum(c.values()) for c in each.layers.values())
    return (
        each.path,
        each.precision,
        f"{each.bytes / 1e6:.2f}",
        str(nodes or "-"),
        "-" if each.flop is None else f"{each.flop / 1e9:.3f}",
        f"{each.calls:g}",
        f"{each.state_bytes / 1e3:.1f}" if each.state_bytes else "-",
        _megabytes(each.activation_bytes),
        _operators(each.optimised) if each.optimised else _layers(each),
    )


def _operators(counts: dict[str, int]) -> str:
    most = sorted(counts.items(), key=lambda item: -item[1])[:_MOST_OPERATORS]
    named = ", ".join(f"{count} {name.rpartition('.')[2]}" for name, count in most)
    rest = sum(counts.values()) - sum(count for _, count in most)
    return f"{sum(counts.values())} nodes: {named}" + (f", {rest} others" if rest else "")


def _layers(each: FileCounters) -> str:
    by_type: dict[str, int] = {}
    for counts in each.layers.values():
        for dtype, count in counts.items():
            by_type[dtype] = by_type.get(dtype, 0) + count
    return ", ".join(f"{count} {dtype}" for dtype, count in sorted(by_type.items())) or "-"


def _megabytes(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:.0f}"


def number(value: float) -> str:
    """Milliseconds with three digits that count."""
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"
