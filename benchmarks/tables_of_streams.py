"""Tables of streams: hop by hop, what checks and threads cost, look-ahead, ten hours."""

from typing import Any

from benchmarks.table_cells import one, result, spread, table

_HOP_MS, _WINDOW_MS = 20, 20  # of FRCRN: its hop, and what the STFT's window extends beyond
_EQUAL_DB = 300  # what soak.py writes for equal samples


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


def threads_of_streams() -> str:
    found = result("stream_threads")["streams"]
    titles = {
        "before": "two threads that always wait busily (before)",
        "2 threads": "two threads that sleep between hops",
        "1 thread": "one thread (the default)",
    }

    def cell(each: dict[str, Any]) -> str:
        return f"{each['call, ms']['median']:.2f} ms, {each['processor s per s']:.2f} s"

    rows = ((title, *(cell(each[key]) for each in found.values())) for key, title in titles.items())
    columns = ("", *(one(f">{name}: a call, processor time for a second") for name in found))
    return table(columns, rows)


def stream_forms(name: str) -> str:
    """How many times as fast the form of today is as the one before."""
    found = result(name)["results"]
    cells: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for name, each in found.items():
        precision, threads, streams, way = name.split(", ")
        row = cells.setdefault((precision, streams), {})
        row[way, threads] = spread(each["ratio"], digits=2)
    columns = list(dict.fromkeys(column for row in cells.values() for column in row))
    columns.sort(key=lambda column: column[0])
    titles = {"session": "session", "whole": "whole `process`"}
    rows = (
        (one(f"{precision}, {streams}"), *(row[column] for column in columns))
        for (precision, streams), row in cells.items()
    )
    return table(("", *(one(f">{titles[way]}, {threads}") for way, threads in columns)), rows)


def lookahead() -> str:
    found = result("lookahead")["snr_db"]
    frames = range(len(next(iter(found.values()))))
    delays = (str(_HOP_MS + _WINDOW_MS + count * _HOP_MS) for count in frames)
    rows = [("delay of a stream, ms", *delays)]
    rows += [(f"SNR, dB (`{kind}`)", *(f"{snr:.1f}" for snr in found[kind])) for kind in found]
    return table(("look-ahead, frames", *(f">{count}" for count in frames)), rows)


def lookahead_means() -> str:
    """Squeeze-and-excitation over the frames so far, or a window, against the whole utterance."""
    found = result("lookahead")["against_global_db"]
    rows = ((f"`{kind}`", f"{snr:.1f} dB") for kind, snr in found.items())
    return table(("squeeze-and-excitation", ">against the mean over the whole utterance"), rows)


def soak() -> str:
    rows = []
    for name, each in result("soak")["streams"].items():
        memory = each["memory_mb"]
        snr = each["snr_of_last_against_young_db"]
        rows.append(
            (
                name,
                f"{each['hours']:.1f} h in {each['seconds'] / 60:.0f} min",
                f"{memory['most'] - memory['young']:.3f} MB",
                "equal" if snr >= _EQUAL_DB else f"{snr:.0f} dB",
                "yes" if each["finite"] else "no",
            )
        )
    columns = ("", ">audio", ">memory grew by", ">last minute against the tenth", "all finite")
    return table(columns, rows)


TABLES = (
    *(stream_checks, threads_of_streams, stream_forms),
    *(lookahead, lookahead_means, soak),
)
