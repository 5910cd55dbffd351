"""FRCRN's `core.long.onnx` against its `core.onnx`: time and peak memory of long utterances.

    python benchmarks/long_core.py BUNDLE [--seconds 2 6 10 30 120] [--rounds 5] [--threads 1]

Writes results/long_core.json, where bundles of other squeeze-and-excitation stay. Every run is the
first one of a process of its own, with the runtime's session options; the two files take turns, and
each turn gives a ratio. Time is that of the processor, which other work on the machine changes
least; the peak is the kernel's VmHWM (Linux). The input is noise: what is said changes nothing.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from machine import RESULTS, summary, write

HOP_SECONDS = 0.02
FILES = ("core.onnx", "core.long.onnx")
SECONDS = [2.0, 6.0, 10.0, 30.0, 120.0]
LONG_SECONDS, LONG_ROUNDS = 30, 3  # from here on there are fewer turns


def run_here(path: Path, frames: int, threads: int) -> None:
    """What a fresh process does; prints its measurement as JSON."""
    import numpy as np
    import onnxruntime

    from frcrn_export.runtime.bench.machine import peak_bytes
    from frcrn_export.runtime.sessions.onnx import session_options

    session = onnxruntime.InferenceSession(
        str(path), session_options(threads), providers=["CPUExecutionProvider"]
    )
    bins = session.get_inputs()[0].shape[2]
    spec = 0.3 * np.random.default_rng(0).standard_normal((1, 2, bins, frames), np.float32)
    wall, processor = time.perf_counter(), time.process_time()
    session.run(None, {"spec": spec})
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    peak_mib = (peak_bytes() or 0) / 2**20
    print(json.dumps({"cpu_seconds": processor, "seconds": wall, "peak_mib": peak_mib}))


def run(path: Path, frames: int, threads: int) -> dict[str, float]:
    words = [sys.executable, __file__, str(path), "--run", str(frames), "--threads", str(threads)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def compare(folder: Path, seconds: float, rounds: int, threads: int) -> dict[str, Any]:
    """Both files in turn at one length, and the ratios of each turn."""
    frames = round(seconds / HOP_SECONDS)
    rounds = min(rounds, LONG_ROUNDS) if seconds >= LONG_SECONDS else rounds
    turns = [{name: run(folder / name, frames, threads) for name in FILES} for _ in range(rounds)]
    core, long = FILES
    figures = ("cpu_seconds", "seconds", "peak_mib")
    return {
        "frames": frames,
        "threads": threads,
        **{
            name: {f: summary([turn[name][f] for turn in turns]) for f in figures} for name in FILES
        },
        "long against core": {
            f: summary([t[long][f] / t[core][f] for t in turns]) for f in figures
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, nargs="+", default=SECONDS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--run", type=int, metavar="FRAMES", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run_here(arguments.bundle, arguments.run, arguments.threads)
        return
    manifest = json.loads((arguments.bundle / "manifest.json").read_text())
    pooling = manifest["variant"]["squeeze_excite"]
    for seconds in arguments.seconds:
        found = compare(arguments.bundle, seconds, arguments.rounds, arguments.threads)
        path = write("long_core", merged(pooling, {f"{seconds:g} s": found}))
        ratio = found["long against core"]
        print(
            f"{pooling:12s} {seconds:5g} s  time {_text(ratio['cpu_seconds'])}  memory "
            + " against ".join(f"{found[f]['peak_mib']['median']:.0f}" for f in FILES[::-1])
            + " MiB",
            flush=True,
        )
    print(path)


def merged(pooling: str, found: dict[str, Any]) -> dict[str, Any]:
    """What was measured before, with this."""
    path = RESULTS / "long_core.json"
    results = json.loads(path.read_text())["squeeze-excite"] if path.exists() else {}
    return {"squeeze-excite": {**results, pooling: {**results.get(pooling, {}), **found}}}


def _text(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['q1']:.2f} to {ratio['q3']:.2f})"


if __name__ == "__main__":
    main()
