"""Threads of streams: what one, several, and several that wait busily cost beside each other.

    python benchmarks/stream_threads.py BUNDLE [--streams 1 8] [--seconds 5]

Opens N streams of a bundle, each on its own, and gives each of them a hop at real-time pace. The
forms take turns. Writes results/stream_threads.json: the time of a call, and the processor time of
all streams for a second of audio. "before" is what streams did until they took one thread: ONNX
Runtime's default number of threads, which wait busily.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `benchmarks`, run as a script too

from benchmarks.machine import summary, write
from frcrn_export.runtime.sessions import onnx
from frcrn_export.runtime.streaming import StreamingDenoiser

PROCESSORS = os.cpu_count() or 1
FORMS = ("before", f"{PROCESSORS} threads", "1 thread")
TURNS = 8


def opened(bundle: Path, form: str) -> StreamingDenoiser:
    if form == "1 thread":
        return StreamingDenoiser.open(bundle, "onnxruntime-cpu")
    plain = onnx.session_options

    def spinning(threads: int | None, **options: Any) -> Any:
        return plain(threads)

    if form == "before":
        with mock.patch.object(onnx, "session_options", spinning):
            return StreamingDenoiser.open(bundle, "onnxruntime-cpu", PROCESSORS)
    return StreamingDenoiser.open(bundle, "onnxruntime-cpu", PROCESSORS)


def measure(bundle: Path, count: int, seconds: float) -> dict[str, Any]:
    streams = {form: [opened(bundle, form) for _ in range(count)] for form in FORMS}
    first = streams["1 thread"][0]
    hop, rate = first.latency.chunk, first.sample_rate
    block = (0.05 * np.random.default_rng(0).standard_normal(hop)).astype(np.float32)
    times: dict[str, list[float]] = {form: [] for form in FORMS}
    busy, audio = dict.fromkeys(FORMS, 0.0), dict.fromkeys(FORMS, 0.0)
    for _ in range(TURNS):
        for form, denoisers in streams.items():
            for denoiser in denoisers:
                denoiser.process(block)
            started, due = time.process_time(), time.perf_counter()
            for _ in range(int(seconds * rate / hop / TURNS)):
                for denoiser in denoisers:
                    begun = time.perf_counter()
                    denoiser.process(block)
                    times[form].append((time.perf_counter() - begun) * 1e3)
                due += hop / rate
                time.sleep(max(0.0, due - time.perf_counter()))
                audio[form] += hop / rate
            busy[form] += time.process_time() - started
    return {
        form: {"call, ms": summary(times[form]), "processor s per s": busy[form] / audio[form]}
        for form in FORMS
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=5.0, help="of audio, for each form")
    arguments = parser.parse_args()
    results = {}
    for count in arguments.streams:
        results[f"{count} streams"] = found = measure(arguments.bundle, count, arguments.seconds)
        for form, row in found.items():
            call = row["call, ms"]
            quartiles = f"{call['q1']:.2f} to {call['q3']:.2f}"
            print(
                f"{count} streams, {form}: a call {call['median']:.2f} ms ({quartiles}), "
                f"{row['processor s per s']:.2f} processor s for each s"
            )
    print(write("stream_threads", {"load": os.getloadavg()[0], "streams": results}))


if __name__ == "__main__":
    main()
