"""Times of the commands: help, imports, exporting FRCRN with verification.

    python benchmarks/commands.py [--baseline FRCRN_EXPORT] [--exports 3]

Writes results/commands.json. Each measurement is a process of its own, as a user's would be. With
`--baseline`, the program of another installation takes turns with this one.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import summary, write

TOOL = str(Path(sys.executable).with_name("frcrn-export"))
REPEATS = 21


def seconds(*words: str) -> float:
    started = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def export_frcrn(tool: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "frcrn")
        return seconds(tool, "onnx", "-m", "frcrn-16k", "--random-weights", "0", "-o", output)


def short_commands(baseline: str | None) -> dict[str, list[str]]:
    commands = {
        "python alone": [sys.executable, "-c", "pass"],
        "import frcrn_export": [sys.executable, "-c", "import frcrn_export"],
        "import frcrn_export.runtime": [sys.executable, "-c", "import frcrn_export.runtime"],
        "frcrn-export --help": [TOOL, "--help"],
        "frcrn-export models": [TOOL, "models"],
    }
    if baseline:
        commands["baseline: frcrn-export --help"] = [baseline, "--help"]
        commands["baseline: frcrn-export models"] = [baseline, "models"]
    return commands


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--baseline", help="the program of another installation")
    parser.add_argument("--exports", type=int, default=3, help="how often FRCRN is exported")
    arguments = parser.parse_args()
    commands = short_commands(arguments.baseline)
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(REPEATS):
        for name, words in commands.items():
            taken[name].append(seconds(*words))
    tools = {"": TOOL} | ({"baseline: ": arguments.baseline} if arguments.baseline else {})
    for _ in range(arguments.exports):
        for which, tool in tools.items():
            name = f"{which}frcrn-export onnx (frcrn-16k, with verification)"
            taken.setdefault(name, []).append(export_frcrn(tool))
    result = {name: summary(values) for name, values in taken.items() if len(values) > 1}
    for name, value in result.items():
        print(f"{name:62s} {value['median']:7.3f} s  ({value['q1']:.3f} to {value['q3']:.3f})")
    print(write("commands", {"seconds": result}))


if __name__ == "__main__":
    main()
