"""Results of `bench`, which may come from elsewhere."""

from pathlib import Path

import msgspec

from tests.bundles import write_bundle
from tests.fuzz.reader import command
from tests.runtime.bench.results import counters, parity, result, row


def results(folder: Path) -> list[bytes]:
    """Results with rows, with one that failed, of another machine, and with an engine's layers."""
    rows = (row(), row(11.0, kind="hop"), row(None, kind="hops"))
    elsewhere = msgspec.structs.replace(result().machine, processor="Q", instructions=("sse",))
    engine = counters(
        path="core.engine", format="engine", operators={}, layers={"Conv": {"Half": 3}}
    )
    facts = {"model": "gain", "parity": (parity(120.0), parity(95.0, "core.9-frames"))}
    return [
        result(*rows, note="why", tools={"torch": "2.13.0"}, **facts).to_json(),
        result(*rows, machine=elsewhere, files=(counters(), engine), **facts).to_json(),
        result(**facts).to_json(),
    ]


def read_results(folder: Path, data: bytes) -> None:
    bundle, good, given = folder / "measured", folder / "good.json", folder / "given.json"
    if not good.exists():
        write_bundle(bundle)
        good.write_bytes(results(folder)[0])
    given.write_bytes(data)
    outputs = [
        *("--markdown", folder / "out.md", "--junit", folder / "out.xml"),
        *("--history", folder / "out.jsonl", "--github"),
    ]
    command("compare", good, given, *outputs)
    command("compare", given, good, "--exact", "--json")
    command("compare", given, bundle)
