"""A streaming core against another form of it: two bundles of one network, hop by hop in turn.

    python benchmarks/stream_forms.py BEFORE AFTER [--threads 1 2] [--streams 1 4 16] [--name NAME]

BEFORE may be exported by an older release: the manifest of each describes its states. For float32,
and for INT8 where both bundles have it, the session alone (a batch of streams) and the whole call
(`StreamingDenoiser.process`, or `MultiStream.process` for several streams). A ratio is BEFORE's
median of a block of hops over AFTER's. Writes results/stream_forms.NAME.json; NAME is that of the
model.
"""

import argparse
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from machine import summary, write

from frcrn_export.runtime.bench.alternate import rounds, warm_up
from frcrn_export.runtime.bench.cases import Call, Case, hop_of, speech_of
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, Precision, Target
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.streaming.session import open_stream_entry

BACKEND = "onnxruntime-cpu"
TARGETS: dict[Precision, Target | None] = {"fp32": None, "int8": "cpu"}


def case_of(bundle: Bundle, precision: Precision, threads: int, streams: int) -> Case:
    """A hop of so many streams."""
    entry = bundle.manifest.file("core_streaming", "onnx", precision, TARGETS[precision])
    assert entry is not None
    return hop_of(bundle.manifest, entry, BACKEND, threads, streams)


def session(bundle: Bundle, case: Case) -> Call:
    """A call of the network alone, for a batch of streams."""
    opened = open_stream_entry(bundle, case.entry, BACKEND, case.threads)
    opened.resize(case.batch)
    opened.reset()
    size = opened.inputs.shape[-1]
    speech = speech_of(bundle)
    chunks = speech[: len(speech) // size * size].astype(np.float32).reshape(-1, 1, size)
    hop = iter(range(1 << 30))

    def call() -> object:
        opened.inputs[:] = chunks[next(hop) % len(chunks)]
        opened.ends[:] = UNKNOWN_END
        return opened.run(opened.inputs, opened.ends)

    return call


def whole(bundle: Bundle, case: Case) -> Call:
    """A whole call, with the level and all checks."""
    return case.open(bundle, speech_of(bundle))


WAYS = {"session": session, "whole": whole}


def measure(calls: tuple[Call, Call], blocks: int) -> dict[str, Any]:
    """Microseconds of a call of each, and the ratios of the medians of blocks."""
    found = np.array(list(islice(rounds(calls, warm_up(calls)), blocks)))
    before, after = 1e3 * found.T
    return {
        "before_us": summary(list(before)),
        "after_us": summary(list(after)),
        "ratio": summary(list(before / after)),
    }


def precisions(bundles: tuple[Bundle, Bundle]) -> list[Precision]:
    """Those that both bundles have a streaming core of."""
    return [
        precision
        for precision, target in TARGETS.items()
        if all(b.manifest.file("core_streaming", "onnx", precision, target) for b in bundles)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--name")
    arguments = parser.parse_args()
    bundles = open_bundle(arguments.before), open_bundle(arguments.after)
    results: dict[str, Any] = {}
    for precision in precisions(bundles):
        for threads in arguments.threads:
            for streams in arguments.streams:
                for way, opened in WAYS.items():
                    before, after = (
                        opened(b, case_of(b, precision, threads, streams)) for b in bundles
                    )
                    found = measure((before, after), arguments.blocks)
                    name = f"{precision}, {threads} threads, {streams} streams, {way}"
                    results[name] = found
                    ratio, used = found["ratio"], found["after_us"]["median"] / streams
                    spread = f"{ratio['q1']:.2f} to {ratio['q3']:.2f}"
                    print(f"{name:38s} {ratio['median']:.2f} ({spread}), {used:.0f} us a stream")
    model = bundles[1].manifest.model
    name = f"stream_forms.{arguments.name or model}"
    print(write(name, {"model": model, "results": results}))


if __name__ == "__main__":
    main()
