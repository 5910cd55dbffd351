"""Tables of the commands, and of the structure of the source."""

from collections.abc import Callable
from typing import Any

from benchmarks.table_cells import result, table


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


TABLES = (commands, structure)
