"""The table of libfrcrn: start, memory, a hop and a batch, against Python."""

from typing import Any

from benchmarks.table_cells import result, spread, table


def cpp() -> str:
    networks = result("cpp")["networks"]

    def start(each: dict[str, Any], name: str) -> str:
        return spread(each["start"][name]["seconds"], " s", digits=2)

    def peak(each: dict[str, Any], name: str) -> str:
        return f"{each['start'][name]['peak, MB']['median']:.0f} MB"

    def hop(each: dict[str, Any], name: str) -> str:
        return spread(each["hop, ms"][name], " ms", digits=2)

    def stream(each: dict[str, Any], name: str) -> str:
        found = each["batch, ms"]
        return f"{found[name]['median'] / found['streams']:.2f} ms"

    rows: list[list[str]] = [
        ["a hop lasts", *(f"{n['chunk, ms']:.0f} ms" for n in networks.values())]
    ]
    for title, cell, names in (
        ("start to first output", start, ("C++", "Python")),
        ("peak memory then", peak, ("C++", "Python")),
        ("a hop, one thread", hop, ("C++", "Python", "network alone")),
        ("a hop of one of 16 streams, C++", stream, ("batch", "alone")),
    ):
        rows += [
            [f"{title}, {name}", *(cell(each, name) for each in networks.values())]
            for name in names
        ]
    return table(("", *(f">`{name}`" for name in networks)), rows)


TABLES = (cpp,)
