"""Tables of what `frcrn-export bench` measured, of what others take instead, and of verdicts."""

import math

from benchmarks.table_cells import result, result_path, table
from frcrn_export.runtime.bench.result import Result, read_result
from frcrn_export.runtime.bench.tables import number, result_tables
from frcrn_export.runtime.tables import markdown_rows

_WORDS = ("slower", "same", "faster", "undecided")


def bench_result(name: str) -> Result:
    return read_result(result_path(name))


def of_bench(name: str, *titles: str) -> str:
    """Tables of a result of `frcrn-export bench`, by the beginnings of their titles."""
    found = [
        each
        for each in result_tables(bench_result(name))
        if not titles or any(each.title.startswith(title) for title in titles)
    ]
    return "\n".join(f"{each.title}:\n\n{markdown_rows(each)}" for each in found)


def times(name: str) -> str:
    return of_bench(name, "Recordings", "Streams", "In a new process")


def hops(*names: str) -> str:
    """One stream of each network, a hop a call."""
    rows = []
    for found in map(bench_result, names):
        for row in found.rows:
            if row.kind == "hop" and row.summary and row.paced and row.real_time_factor:
                paced = row.paced
                rows.append(
                    (
                        f"{found.model}, {row.precision}: {row.what}",
                        str(row.threads),
                        f"{number(row.summary.median)} ms",
                        f"{100 * row.real_time_factor:.0f} %",
                        f"{number(paced.p50_ms)} ms, {number(paced.p99_ms)} ms",
                        f"{paced.missed} of {paced.hops}",
                    )
                )
    columns = ("", ">threads", ">median", ">of real time", ">at pace: median, 99 %", ">late")
    return table(columns, rows)


def capacity(name: str) -> str:
    return of_bench(name, "Streams that this machine holds")


def scaling(name: str) -> str:
    return of_bench(name, "How the cost grows", "Threads")


def roofline(name: str) -> str:
    return of_bench(name, "core")


def side_by_side(name: str) -> str:
    found = result(name)
    parts = []
    titles = {"offline": f"recordings of {found['seconds']:g} s", "streaming": "hops of a stream"}
    for kind, title in titles.items():
        rows = []
        snr = found[kind].get("snr_db", {})
        for row, value in found[kind]["rows"].items():
            low, high = value["interval"]
            rows.append(
                (
                    row,
                    f"{number(value['ms'])} ms",
                    f"{value['times ours']:.2f}",
                    f"{low:.2f} to {high:.2f}",
                    _against(snr[row]) if row in snr else "",
                )
            )
        rows += [(row, "did not run", "", "", why) for row, why in found[kind]["missing"].items()]
        columns = (title, ">median", ">times ours", ">95 % interval", ">against the reference")
        parts.append(table(columns, rows))
    return "\n".join(parts)


def _against(decibels: float) -> str:
    return "itself" if math.isinf(decibels) else f"{decibels:.0f} dB"


def verdicts() -> str:
    found = result("verdicts")
    rows = []
    for name, each in found.get("simulated", {}).items():
        words = {word: sum(c[word] for c in each["rows"].values()) for word in _WORDS}
        alarms, pairs = each["runs with a slower row"], each["pairs"]
        counted = ", ".join(f"{count} {word}" for word, count in words.items() if count)
        seconds = f"{each['seconds a row, median']:.0f} of {each['budget of a row']:.0f} s"
        rows.append((name, f"{alarms} of {pairs}", counted, seconds))
    columns = ("recorded, and the real ratio", ">runs called slower", "rows", ">time a row, median")
    simulated = table(columns, rows)
    real = [
        (
            name,
            each["verdict"],
            f"{each['ratio']:.3f}",
            "{:.3f} to {:.3f}".format(*each["interval"]),
            f"{100 * each['floor']:.1f} %",
            f"{each['seconds']:.0f} s",
        )
        for name, each in found.get("real", {}).items()
    ]
    columns = (
        "a real run, the new session slowed on purpose",
        "verdict",
        ">new/base",
        ">interval",
        ">base/base",
        ">took",
    )
    return simulated + "\n" + table(columns, real)


TABLES = (times, hops, capacity, scaling, roofline, side_by_side, verdicts)
