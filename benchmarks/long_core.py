"""FRCRN's `core.long.onnx` against its `core.onnx`: time and peak memory of long utterances.

    python benchmarks/long_core.py [--seconds 2 4 6 10 30 120] [--pooling global cumulative]
                                   [--rounds 5] [--threads 1]

Writes results/long_core.json. Every run is the first one of a process of its own, with the
runtime's session options; the two files take turns, and each turn gives a ratio. Time is that of
the processor, which other work on the machine changes least; the peak is the kernel's VmHWM
(Linux). Weights are random, the input is noise: neither changes time or memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import summary, write

HOP_SECONDS = 0.02
FILES = ("core.onnx", "core.long.onnx")
MODEL = "frcrn-16k"
SECONDS = [2.0, 4.0, 6.0, 10.0, 30.0, 120.0]
LONG_SECONDS, LONG_ROUNDS = 60, 3  # what is longer takes fewer turns


def export(pooling: str, folder: Path) -> None:
    """Both files of a network with random weights, without the rest of a bundle."""
    from frcrn_export.exporters.artifacts import onnx_artifacts
    from frcrn_export.exporters.loading import load_model
    from frcrn_export.exporters.streaming_export import StreamingForms

    model = load_model(MODEL, seed=0, options={"squeeze_excite": pooling})
    for row in onnx_artifacts(model, inline=False, fp16=False, streaming=False):
        if row.path in FILES:
            (folder / row.path).write_bytes(row.make(StreamingForms(model))[0])


def run_here(path: Path, frames: int, threads: int) -> None:
    """What a fresh process does; prints its measurement as JSON."""
    import numpy as np
    import onnxruntime

    from frcrn_export.runtime.sessions.onnx import session_options

    session = onnxruntime.InferenceSession(
        str(path), session_options(threads), providers=["CPUExecutionProvider"]
    )
    bins = session.get_inputs()[0].shape[2]
    spec = 0.3 * np.random.default_rng(0).standard_normal((1, 2, bins, frames), np.float32)
    wall, processor = time.perf_counter(), time.process_time()
    session.run(None, {"spec": spec})
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    status = Path("/proc/self/status").read_text()
    peak_kib = next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)
    print(json.dumps({"cpu_seconds": processor, "seconds": wall, "peak_mib": peak_kib / 1024}))


def run(path: Path, frames: int, threads: int) -> dict[str, float]:
    words = [sys.executable, __file__, "--run", str(path), "--frames", str(frames)]
    words += ["--threads", str(threads)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def compare(folder: Path, seconds: float, rounds: int, threads: int) -> dict[str, Any]:
    """Both files in turn at one length, and the ratios of each turn."""
    frames = round(seconds / HOP_SECONDS)
    rounds = min(rounds, LONG_ROUNDS) if seconds > LONG_SECONDS else rounds
    turns = [{name: run(folder / name, frames, threads) for name in FILES} for _ in range(rounds)]
    core, long = FILES
    figures = ("cpu_seconds", "seconds", "peak_mib")
    return {
        "frames": frames,
        **{name: {f: summary([turn[name][f] for turn in turns]) for f in figures} for name in FILES},
        "long against core": {f: summary([t[long][f] / t[core][f] for t in turns]) for f in figures},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, nargs="+", default=SECONDS)
    parser.add_argument("--pooling", nargs="+", default=["global", "cumulative"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--frames", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run_here(arguments.run, arguments.frames, arguments.threads)
        return
    results: dict[str, dict[str, Any]] = {}
    for pooling in arguments.pooling:
        results[pooling] = {}
        with tempfile.TemporaryDirectory() as folder:
            export(pooling, Path(folder))
            for seconds in arguments.seconds:
                found = compare(Path(folder), seconds, arguments.rounds, arguments.threads)
                results[pooling][f"{seconds:g} s"] = found
                ratio = found["long against core"]
                print(
                    f"{pooling:12s} {seconds:5g} s  time {_text(ratio['cpu_seconds'])}  memory "
                    + " against ".join(f"{found[f]['peak_mib']['median']:.0f}" for f in FILES[::-1])
                    + " MiB",
                    flush=True,
                )
    print(write("long_core", {"threads": arguments.threads, "squeeze-excite": results}))


def _text(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['q1']:.2f} to {ratio['q3']:.2f})"


if __name__ == "__main__":
    main()
