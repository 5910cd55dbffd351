"""A streaming core against another form of it: two bundles of one network, hop by hop in turn.

    python benchmarks/stream_forms.py BEFORE AFTER [--threads 1 2] [--streams 1 4 16]

BEFORE may be exported by an older release: the manifest of each describes its states. For float32,
and for INT8 where both bundles have it, the session alone (a batch of streams) and the whole call
(`StreamingDenoiser.process`, or `MultiStream.process` for several streams). A ratio is BEFORE's
median of a block of hops over AFTER's. Writes results/stream_forms.json.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from machine import summary, write
from streaming import WARM_UP, speech, timed

from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, Precision, Target
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.streaming import MultiStream, StreamingDenoiser
from frcrn_export.runtime.streaming.session import open_stream_session

BACKEND = "onnxruntime-cpu"
HOPS = 400  # of speech, over and over

Call = Callable[[], object]
Opener = Callable[[Path, Precision, int, int], Call]


def session(bundle: Path, precision: Precision, threads: int, streams: int) -> Call:
    """A call of the network alone, for a batch of streams."""
    opened = open_stream_session(open_bundle(bundle), BACKEND, threads, precision=precision)
    opened.resize(streams)
    opened.reset()
    chunks = speech(HOPS * opened.inputs.shape[-1]).reshape(HOPS, 1, -1)
    hop = iter(range(1 << 30))

    def call() -> object:
        opened.inputs[:] = chunks[next(hop) % HOPS]
        opened.ends[:] = UNKNOWN_END
        return opened.run(opened.inputs, opened.ends)

    return call


def whole(bundle: Path, precision: Precision, threads: int, streams: int) -> Call:
    """A whole call, with the level and all checks."""
    hop = iter(range(1 << 30))
    if streams == 1:
        denoiser = StreamingDenoiser.open(bundle, BACKEND, threads, precision=precision)
        chunks = speech(HOPS * denoiser.latency.chunk).reshape(HOPS, -1)
        return lambda: denoiser.process(chunks[next(hop) % HOPS])
    many = MultiStream.open(bundle, BACKEND, threads, precision=precision)
    names = [many.add() for _ in range(streams)]
    pieces = speech(HOPS * many.latency.chunk).reshape(HOPS, -1)
    return lambda: many.process(dict.fromkeys(names, pieces[next(hop) % HOPS]))


WAYS: dict[str, Opener] = {"session": session, "whole": whole}


def measure(calls: tuple[Call, Call], hops: int, blocks: int) -> dict[str, Any]:
    """Microseconds of a call of each, and the ratios of the medians of blocks."""
    for call in calls:
        for _ in range(WARM_UP):
            call()
    medians: list[list[float]] = [[], []]
    for _ in range(blocks):
        times: list[list[float]] = [[], []]
        for index in range(hops):
            for which in (0, 1) if index % 2 else (1, 0):
                times[which].append(1e3 * timed(calls[which]))
        for which in (0, 1):
            medians[which].append(median(times[which]))
    before, after = (np.array(each) for each in medians)
    return {
        "before_us": summary(list(before)),
        "after_us": summary(list(after)),
        "ratio": summary(list(before / after)),
    }


def precisions(bundles: tuple[Path, Path]) -> list[Precision]:
    """Those that both bundles have a streaming core of."""
    manifests = [open_bundle(bundle).manifest for bundle in bundles]
    targets: dict[Precision, Target | None] = {"fp32": None, "int8": "cpu"}
    return [
        precision
        for precision, target in targets.items()
        if all(m.file("core_streaming", "onnx", precision, target) for m in manifests)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--hops", type=int, default=40, help="in a block")
    parser.add_argument("--blocks", type=int, default=40)
    arguments = parser.parse_args()
    bundles = arguments.before, arguments.after
    results: dict[str, Any] = {}
    for precision in precisions(bundles):
        for threads in arguments.threads:
            for streams in arguments.streams:
                for way, opened in WAYS.items():
                    before, after = (opened(b, precision, threads, streams) for b in bundles)
                    found = measure((before, after), arguments.hops, arguments.blocks)
                    name = f"{precision}, {threads} threads, {streams} streams, {way}"
                    results[name] = found
                    ratio, used = found["ratio"], found["after_us"]["median"] / streams
                    spread = f"{ratio['q1']:.2f} to {ratio['q3']:.2f}"
                    print(f"{name:38s} {ratio['median']:.2f} ({spread}), {used:.0f} us a stream")
    model = open_bundle(arguments.after).manifest.model
    print(write("stream_forms", {"model": model, "results": results}))


if __name__ == "__main__":
    main()
