"""The tables at the end: one frame, a second at every batch size, and what was left out."""

from benchmarks.gpu_measure import Entry
from frcrn_export.runtime.commands.console import print_table

_PUBLISHED = ">Published, 4090D (other machine)"


def print_report(result: Entry) -> None:
    """Print what a result file holds."""
    entries: list[Entry] = result["contenders"]
    if frames := _measured(entries, "frame"):
        _print_frames(frames, result)
    if seconds := _measured(entries, "second"):
        _print_seconds(seconds)
    skipped = [(e["title"], "", e["skipped"]) for e in entries if "skipped" in e]
    skipped += [
        (entry["title"], f"{case['case']}, batch {case['batch']}", case["skipped"])
        for entry in entries
        for case in entry["measurements"]
        if "skipped" in case
    ]
    if skipped:
        print_table(("Contender", "Case", "Why it was not measured"), skipped, "Left out")


def _print_frames(measured: list[tuple[Entry, Entry]], result: Entry) -> None:
    with_published = any("published_4090d_ms" in entry for entry, _ in measured)
    rows = []
    for entry, case in measured:
        latency = case["latency_ms"]
        row = [
            entry["title"],
            entry["job"],
            f"{latency['median']:.2f}",
            f"{latency['p90']:.2f}",
            f"{latency['p99']:.2f}",
            *(_median(case[part]) for part in ("h2d_ms", "compute_ms", "d2h_ms")),
            *_memory_and_snr(case),
        ]
        if with_published:
            published = entry.get("published_4090d_ms")
            row.append("" if published is None else f"{published:.1f}")
        rows.append(row)
    columns = ["Contender", "Job", ">Median ms", ">p90", ">p99", ">H2D", ">Compute", ">D2H"]
    columns += [">MiB", ">SNR dB"] + [_PUBLISHED] * with_published
    milliseconds = measured[0][1]["seconds"] * 1e3
    title = f"{result['model']}, one frame ({milliseconds:.0f} ms) a call, on {result['device']}"
    print_table(columns, rows, title)


def _print_seconds(measured: list[tuple[Entry, Entry]]) -> None:
    rows = [
        (
            entry["title"],
            entry["job"],
            str(case["batch"]),
            f"{case['latency_ms']['median']:.2f}",
            f"{case['latency_ms']['p99']:.2f}",
            *(_median(case[part]) for part in ("h2d_ms", "compute_ms", "d2h_ms")),
            f"{case['throughput']:.0f}",
            *_memory_and_snr(case),
        )
        for entry, case in measured
    ]
    columns = ["Contender", "Job", ">Batch", ">Median ms", ">p99", ">H2D", ">Compute", ">D2H"]
    columns += [">Audio s/s", ">MiB", ">SNR dB"]
    print_table(columns, rows, f"{measured[0][1]['seconds']:.3g} s of audio a call and batch item")


def _measured(entries: list[Entry], name: str) -> list[tuple[Entry, Entry]]:
    return [
        (entry, case)
        for entry in entries
        for case in entry["measurements"]
        if case["case"] == name and "skipped" not in case
    ]


def _median(part: dict[str, float] | None) -> str:
    return "-" if part is None else f"{part['median']:.3f}"


def _memory_and_snr(case: Entry) -> tuple[str, str]:
    memory, snr = case["peak_memory_bytes"], case["snr_db"]
    return (
        "-" if memory is None else f"{memory / 2**20:.0f}",
        "not finite" if snr is None else f"{snr:.1f}",
    )
