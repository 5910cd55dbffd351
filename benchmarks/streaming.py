"""Streams hop by hop: FRCRN and wave-unet-16k on this processor.

    python benchmarks/streaming.py [--threads 2] [--seconds 20]

One hop is a whole call of `StreamingDenoiser.process`: level, STFT, network, inverse STFT. Beside
it the network alone, and for FRCRN what each hop would cost if a window of 50 frames were computed
again for it, and the published network in PyTorch for a second of audio; they take turns. FRCRN
has random weights: its speed does not depend on them. Writes results/streaming.json.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import summary, write

from frcrn_export.exporters.loading import load_model
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, Precision
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.sessions.registry import open_session
from frcrn_export.runtime.streaming import StreamingDenoiser
from frcrn_export.runtime.streaming.session import open_stream_session

TOOL = str(Path(sys.executable).with_name("frcrn-export"))
RATE = 16000
WINDOW = 50  # frames computed again for each hop, where a network has no state
FRCRN = ("--random-weights", "0", "--squeeze-excite", "cumulative")
MODELS = {"frcrn-16k": FRCRN, "wave-unet-16k": ()}
WARM_UP = 20


def speech(samples: int) -> np.ndarray[Any, Any]:
    from frcrn_export.exporters.assets import read_speech

    return np.resize(read_speech(), samples).astype(np.float32)


def hop_of(
    bundle: Path, threads: int, seconds: float, precision: Precision | None = None
) -> tuple[Callable[[], object], int, int]:
    """A call that denoises the next hop, how many samples it is, and how many hops to time."""
    denoiser = StreamingDenoiser.open(bundle, "onnxruntime-cpu", threads, precision=precision)
    hop = denoiser.latency.chunk
    chunks = speech(int(seconds * RATE) // hop * hop).reshape(-1, hop)
    turn = iter(range(sys.maxsize))
    return lambda: denoiser.process(chunks[next(turn) % len(chunks)]), hop, len(chunks)


def network_of(bundle: Path, threads: int) -> Callable[[], object]:
    """A call of the streaming core alone."""
    session = open_stream_session(open_bundle(bundle), "onnxruntime-cpu", threads)
    session.inputs[:] = np.random.default_rng(0).standard_normal(session.inputs.shape)
    session.ends[:] = UNKNOWN_END
    return lambda: session.run(session.inputs, session.ends)


def window_of(bundle: Path, threads: int) -> Callable[[], object]:
    """What a hop takes where a window of frames is computed again."""
    opened = open_bundle(bundle)
    session = open_session(opened, "onnxruntime-cpu", threads)
    bins = opened.manifest.stft.bins if opened.manifest.stft else 0
    spec = np.random.default_rng(0).standard_normal((1, 2, bins, WINDOW)).astype(np.float32)
    return lambda: session.run(spec)


def reference_second(threads: int) -> Callable[[], object]:
    """The published pipeline in PyTorch on a second of audio."""
    torch.set_num_threads(threads)
    pipeline = load_model("frcrn-16k", seed=0).pipeline()
    wave = torch.from_numpy(speech(RATE))

    def run() -> object:
        with torch.inference_mode():
            return pipeline(wave)

    return run


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3


def percentiles(values: list[float]) -> dict[str, float]:
    """Milliseconds, with the spread that the machine's other work makes."""
    p90, p99 = (float(np.percentile(values, q)) for q in (90, 99))
    return {**summary(values), "p90": p90, "p99": p99, "max": max(values)}


def measure(model: str, bundle: Path, threads: int, seconds: float) -> dict[str, Any]:
    hop, samples, count = hop_of(bundle, threads, seconds)
    network = network_of(bundle, threads)
    others: dict[str, Callable[[], object]] = {}
    if model == "frcrn-16k":
        others = {
            "window": window_of(bundle, threads),
            "reference second": reference_second(threads),
        }
    for _ in range(WARM_UP):
        hop(), network()
    for call in others.values():
        call()
    times: dict[str, list[float]] = {"hop": [], "network": [], **{name: [] for name in others}}
    blocks = 10
    for _ in range(blocks):
        for _ in range(count // blocks):
            times["hop"].append(timed(hop))
        for _ in range(count // blocks):
            times["network"].append(timed(network))
        for name, call in others.items():
            times[name].append(timed(call))
    pace = samples / RATE * 1e3
    result: dict[str, Any] = {name: percentiles(values) for name, values in times.items()}
    result |= {"hop_ms": pace, "misses": sum(value > pace for value in times["hop"])}
    result["real_time_factor"] = result["hop"]["median"] / pace
    if others:
        result["window_over_hop"] = result["window"]["median"] / result["network"]["median"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--seconds", type=float, default=20, help="of audio, hop by hop")
    parser.add_argument("--bundles", type=Path, help="a folder to keep the bundles in")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.bundles or Path(temporary)
        for model, weights in MODELS.items():
            bundle = folder / model
            if not bundle.exists():
                words = ("onnx", "--model", model, *weights, "--streaming", "--output", str(bundle))
                subprocess.run((TOOL, *words), check=True, capture_output=True)
            for threads in arguments.threads:
                found = measure(model, bundle, threads, arguments.seconds)
                results[f"{model}, {threads} threads"] = found
                print(f"{model}, {threads} threads, a hop is {found['hop_ms']:g} ms of audio")
                for name in (name for name in found if isinstance(found[name], dict)):
                    row = found[name]
                    spread = f"quartiles {row['q1']:.2f} to {row['q3']:.2f}  p99 {row['p99']:.2f}"
                    print(f"  {name:18s} median {row['median']:7.2f} ms  {spread}")
                if "window_over_hop" in found:
                    print(
                        f"  a window of {WINDOW} frames takes {found['window_over_hop']:.1f} hops"
                    )
    print(write("streaming", {"streams": results}))


if __name__ == "__main__":
    main()
