"""The tables of benchmarks/README.md and of the docs, made of the JSON files in results/.

    python benchmarks/tables.py [--check]

A table stands between `<!-- table NAME -->` and `<!-- end -->` in a page; NAME is a function here,
with the name of a result where it takes one. `--check` writes nothing, and exits with 1 where a
page is not what the results make; a test runs it.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from frcrn_export.runtime.bench.result import Result, read_result
from frcrn_export.runtime.bench.tables import number, result_tables
from frcrn_export.runtime.tables import Table, markdown_rows

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_PLACE = re.compile(r"(<!-- table ([\w.-]+(?: [\w.-]+)*) -->\n).*?(<!-- end -->)", re.DOTALL)

Rows = Iterable[Sequence[str]]


def result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def bench_result(name: str) -> Result:
    return read_result(RESULTS / f"{name}.json")


def table(columns: Sequence[str], rows: Rows) -> str:
    return markdown_rows(Table("", tuple(columns), tuple(map(tuple, rows))))


def spread(value: dict[str, float], unit: str = "", digits: int = 1) -> str:
    """A median with its quartiles."""
    median, low, high = (f"{value[key]:.{digits}f}" for key in ("median", "q1", "q3"))
    return f"{median}{unit} ({low} to {high})"


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


_WORDS = ("slower", "same", "faster", "undecided")


def memory() -> str:
    found = result("runtime_memory")
    (file,) = found["files"]
    imported = found["import_seconds"]
    rows = (
        (
            f"{found['model']}, {60 * file['minutes']:.0f} s file: real-time factor",
            f"{file['real_time_factor']:.3f} (one run)",
            "0.35 at most",
        ),
        ("the same: peak memory of the process", f"{file['peak_mib']:.0f} MiB", "1.5 GB at most"),
        (
            "`import frcrn_export.runtime`",
            f"{imported['median']:.2f} s ({imported['max']:.2f} at most)",
            "0.3 s",
        ),
    )
    return table(("", ">measured", ">asked"), rows)


def folder() -> str:
    found = result("folder")
    names = {
        "before": "before",
        "one at a time": "`--jobs 1`",
        "default": "default (2 files at once)",
    }
    rows = (
        (
            title,
            spread(found["wall_seconds"][name], " s"),
            f"{found['processor_seconds'][name]['median']:.1f} s",
            spread(found["speed_against_before"][name], digits=2)
            if name in found["speed_against_before"]
            else "1",
        )
        for name, title in names.items()
    )
    return table(("quiet machine", ">wall time", ">processor time", ">speed"), rows)


def stream_checks() -> str:
    found = result("stream_checks")["results"]
    rows = (
        (
            {"fp32": "float32", "fp16": "float16"}[precision],
            *(
                spread(each[key]["adds_per_cent"], " %")
                for key in ("without checks", "without high-pass")
            ),
        )
        for precision, each in found.items()
    )
    columns = ("", ">checks add (median of 60 blocks, quartiles)", ">the high-pass adds")
    return table(columns, rows)


def engines() -> str:
    found = result("engines")["models"]
    asked = {"frcrn-16k": (" (asked: 60)", " (asked: 60)", " (asked: 45)")}
    rows = []
    for name, each in found.items():
        export, build, size = asked.get(name, ("", "", ""))
        rows.append(
            (
                name,
                f"{each['fp16 file']['median']:.1f} s{export}",
                f"{each['engine']['median']:.1f} s{build}",
                f"{each['engine_mb']:.1f} MB{size}",
                str(each["layers"]),
                f"{each['fp16_snr_db']['worst']:.1f} dB",
            )
        )
    columns = (
        "",
        ">FP16 file: export and verification",
        ">engine: whole command",
        ">size",
        ">layers",
        ">worst SNR of the file",
    )
    return table(columns, rows)


def int8() -> str:
    rows = []
    for name, each in result("int8")["models"].items():
        for kind in ("offline", "streaming"):
            if (made := each.get(kind)) is None:
                continue
            speed, gates = made["speed"], {gate["name"]: gate for gate in made["gates"]}
            snr = gates["core_snr"]["value"]
            rows.append(
                (
                    f"{name}, {kind}",
                    f"{speed['ratio']:.2f} ({speed['low']:.2f} to {speed['high']:.2f})",
                    "-" if snr is None else f"{snr:.1f} dB",
                    f"{made['layers']} of {made['candidates']}, {100 * made['share']:.0f} %",
                    f"{made['seconds'] / 60:.1f} min",
                )
            )
    columns = (
        *("core", ">times as fast as float32", ">SNR", ">layers in 8 bits, share"),
        ">calibration, 64 clips",
    )
    return table(columns, rows)


def int8_hops() -> str:
    rows = []
    for name, each in result("int8")["models"].items():
        for threads in (2, 1):
            if (hop := each.get(f"hop, {threads} threads")) is not None:
                int8, float32 = (spread(hop[kind], " ms", 2) for kind in ("int8", "fp32"))
                rows.append((name, str(threads), int8, float32, f"{hop['ratio']:.2f}"))
    columns = ("a hop", ">threads", ">INT8", ">float32", ">times as fast")
    return table(columns, rows)


def threads_of_streams() -> str:
    found = result("stream_threads")["streams"]
    titles = {
        "before": "two threads that wait busily (before)",
        "2 threads": "two threads that sleep",
        "1 thread": "one thread (the default)",
    }

    def cell(each: dict[str, Any]) -> str:
        return f"{each['call, ms']['median']:.2f} ms, {each['processor s per s']:.2f} s"

    rows = ((title, *(cell(each[key]) for each in found.values())) for key, title in titles.items())
    columns = ("", *(f">{name}: a call, processor time for a second" for name in found))
    return table(columns, rows)


def commands() -> str:
    found = result("commands")["seconds"]
    titles = {
        "python alone": "Python alone",
        "import frcrn_export": "`import frcrn_export`",
        "frcrn-export --help": "`frcrn-export --help`",
        "frcrn-export models": "`frcrn-export models`",
    }
    rows = (
        (
            title,
            f"{found[name]['median']:.3f} s",
            f"{found[before]['median']:.3f} s" if (before := f"baseline: {name}") in found else "",
        )
        for name, title in titles.items()
    )
    return table(("", ">now", ">a8e5b65"), rows)


def structure() -> str:
    found = result("structure")
    both = found["before"], found["after"]

    def each(show: Callable[[dict[str, Any]], str]) -> tuple[str, ...]:
        return tuple(show(side) for side in both)

    def export(side: dict[str, Any]) -> str:
        trace = side["onnx of the default model"]
        steps = trace["different steps from file to file"]
        return f"{trace['files']}, {trace['returns']}, {steps}"

    def arrows(side: dict[str, Any]) -> str:
        circles = len(side["circles of files"]) + len(side["circles of folders"])
        return f"{len(side['imports upwards'])}, {circles}"

    rows = (
        ("modules, lines of code", *each(lambda s: f"{s['modules']}, {s['lines of code']:,}")),
        ("imports upwards, circles of files and folders", *each(arrows)),
        ("files that name a network", *each(lambda s: str(len(s["files that name a network"])))),
        ("export: files entered, returns, different steps", *each(export)),
    )
    return table(("", f">{found['baseline']}", ">now"), rows)


TABLES: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (
        times,
        capacity,
        scaling,
        roofline,
        side_by_side,
        verdicts,
        memory,
        folder,
        stream_checks,
        engines,
        int8,
        int8_hops,
        threads_of_streams,
        commands,
        structure,
    )
}


def rendered(page: str) -> str:
    """A page with its tables as the results make them."""

    def place(match: re.Match[str]) -> str:
        name, *arguments = match[2].split()
        return f"{match[1]}\n{TABLES[name](*arguments)}\n{match[3]}"

    return _PLACE.sub(place, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    old = []
    for path in PAGES:
        text = path.read_text()
        if (now := rendered(text)) != text:
            old.append(path.relative_to(ROOT))
            if not check:
                path.write_text(now)
    for path in old:
        print(f"{path}: {'not what the results make; run: make bench-tables' if check else 'made'}")
    sys.exit(1 if check and old else 0)


if __name__ == "__main__":
    main()
