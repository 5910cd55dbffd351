"""How long the commands take: help, importing the runtime, exporting FRCRN with verification.

    python benchmarks/commands.py

Writes results/commands.json. Each measurement is a process of its own, as a user's would be.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import summary, write

TOOL = str(Path(sys.executable).with_name("frcrn-export"))


def seconds(*words: str) -> float:
    started = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def export_frcrn() -> float:
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "frcrn")
        return seconds(TOOL, "onnx", "-m", "frcrn-16k", "--random-weights", "0", "-o", output)


def main() -> None:
    nothing = [seconds(sys.executable, "-c", "pass") for _ in range(7)]
    result = {
        "python alone": summary(nothing),
        "frcrn-export --help": summary([seconds(TOOL, "--help") for _ in range(7)]),
        "import frcrn_export.runtime": summary(
            [seconds(sys.executable, "-c", "import frcrn_export.runtime") for _ in range(7)]
        ),
        "frcrn-export onnx (frcrn-16k, with verification)": summary(
            [export_frcrn() for _ in range(3)]
        ),
    }
    for name, value in result.items():
        print(f"{name:50s} {value['median']:7.2f} s  ({value['q1']:.2f} to {value['q3']:.2f})")
    print(write("commands", {"seconds": result}))


if __name__ == "__main__":
    main()
