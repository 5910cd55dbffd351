"""libfrcrn against Python on the same bundles: start, memory, a hop, streams in a batch.

    python benchmarks/cpp.py BUNDLE [BUNDLE ...] [--repeats 15] [--seconds 4]

Builds libfrcrn (`make cpp`), and takes bundles with a streaming core. Both run in turn, with the
same file and ONNX Runtime of the same version, on one thread. Writes results/cpp.json.

- start: from the start of a process until its first output has come (`frcrn stream`, and the same
  in Python), and its peak memory then.
- hop: calls of `process` with one chunk each, and the network alone, called by turns.
- batch: 16 streams as one batch against 16 streams of their own, in libfrcrn.
"""

import argparse
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `benchmarks`, run as a script too

from benchmarks.machine import summary, write
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
from frcrn_export.runtime.streaming.session import open_stream_session
from tests.runtime.cpp.library import Library

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "cpp"
STREAMS = 16
PYTHON = """
import sys
import numpy as np
from frcrn_export.runtime.streaming.denoiser import StreamingDenoiser
stream = StreamingDenoiser.open(sys.argv[1], "onnxruntime-cpu")
given = np.frombuffer(sys.stdin.buffer.read(int(sys.argv[2])), np.float32)
sys.stdout.buffer.write(stream.process(given))
sys.stdout.flush()
sys.stdin.buffer.read()
"""


def first_output(words: list[str], given: bytes) -> tuple[float, float]:
    """Seconds from the start of a process to its first output, and its peak memory in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(given)
    process.stdin.flush()
    came = process.stdout.read(4)
    seconds = time.perf_counter() - started
    # Not the resource usage of the child, which begins with that of this process.
    status = Path(f"/proc/{process.pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    process.stdin.close()
    process.stdout.read()
    if process.wait() or len(came) < 4:
        raise SystemExit(f"{words[0]} failed")
    return seconds, int(peak.split()[1]) / 1024


def start(bundle: Path, latency: int, repeats: int) -> dict[str, Any]:
    given = np.zeros(latency, np.float32).tobytes()
    contenders = {
        "C++": [str(BUILD / "tool" / "frcrn"), "stream", str(bundle), "--format", "f32le"],
        "Python": [sys.executable, "-c", PYTHON, str(bundle), str(len(given))],
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, words in contenders.items():
            found[name].append(first_output(words, given))
    return {
        name: {
            "seconds": summary([seconds for seconds, _ in runs]),
            "peak, MB": summary([memory for _, memory in runs]),
        }
        for name, runs in found.items()
    }


def in_turn(contenders: dict[str, Callable[[], object]], seconds: float) -> dict[str, Any]:
    """Milliseconds of each call, one after another in turn."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for call in contenders.values():
        call()
    until = time.perf_counter() + seconds * len(contenders)
    order = deque(contenders.items())
    while time.perf_counter() < until:
        order.rotate()  # who comes after whom matters: each has weights of its own in the caches
        for name, call in order:
            begun = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - begun) * 1e3)
    return {name: summary(values) for name, values in times.items()}


def network_alone(bundle: Path, row: Float32Array) -> Callable[[], object]:
    session = open_stream_session(open_bundle(bundle), "onnxruntime-cpu")
    inputs, ends = session.inputs, session.ends
    inputs[:] = row
    ends[:] = UNKNOWN_END
    return lambda: session.run(inputs, ends)


def hop(library: Library, bundle: Path, seconds: float) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    python = StreamingDenoiser.open(bundle, "onnxruntime-cpu")
    stream = library.open(bundle).stream()
    block = (0.05 * rng.standard_normal(python.latency.chunk)).astype(np.float32)
    given = open_stream_session(open_bundle(bundle), "onnxruntime-cpu").inputs
    row = (0.05 * rng.standard_normal(given.shape)).astype(np.float32)
    first = np.tile(block, -(-python.latency.samples // len(block)))
    python.process(first)
    stream.process(first)
    times = in_turn(
        {
            "C++": lambda: stream.process(block),
            "Python": lambda: python.process(block),
            "network alone": network_alone(bundle, row),
        },
        seconds,
    )
    # Without what a call through ctypes costs here.
    stats = stream.stats()
    return {**times, "C++, as it counts itself": {"mean": stats.mean_ms, "worst": stats.worst_ms}}


def batch(library: Library, bundle: Path, seconds: float) -> dict[str, Any]:
    model = library.open(bundle)
    chunk = model.info().chunk
    block = (0.05 * np.random.default_rng(0).standard_normal(chunk)).astype(np.float32)
    together, alone = model.batch(STREAMS), [model.stream() for _ in range(STREAMS)]
    blocks = [block] * STREAMS
    first = np.tile(block, -(-model.info().latency // chunk))
    together.process([first] * STREAMS)
    for stream in alone:
        stream.process(first)
    times = in_turn(
        {
            "batch": lambda: together.process(blocks),
            "alone": lambda: [stream.process(block) for stream in alone],
        },
        seconds,
    )
    return {"streams": STREAMS, **times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--repeats", type=int, default=15, help="of starts")
    parser.add_argument("--seconds", type=float, default=4.0, help="of calls, for each contender")
    arguments = parser.parse_args()
    subprocess.run(["make", "cpp"], cwd=ROOT, check=True)
    capi = Path(onnxruntime.__file__).parent / "capi"
    os.environ["FRCRN_ONNXRUNTIME"] = str(next(iter(sorted(capi.glob("libonnxruntime.so.*")))))
    library = Library(BUILD / "libfrcrn.so")
    networks = {}
    for bundle in arguments.bundles:
        info = library.open(bundle).info()
        name = info.name.decode()
        networks[name] = {
            "chunk, ms": 1e3 * info.chunk / info.sample_rate,
            "start": start(bundle, info.latency, arguments.repeats),
            "hop, ms": hop(library, bundle, arguments.seconds),
            "batch, ms": batch(library, bundle, arguments.seconds),
        }
        print(name, networks[name], flush=True)
    size = (BUILD / "libfrcrn.so").stat().st_size
    result = {"load": os.getloadavg()[0], "library, bytes": size, "networks": networks}
    print(write("cpp", result))


if __name__ == "__main__":
    main()
