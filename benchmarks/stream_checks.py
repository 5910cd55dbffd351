"""What the checks of a stream cost: finite outputs, bounded inputs, and the high-pass.

    python benchmarks/stream_checks.py [--hops 400] [--blocks 60]

wave-unet-16k, whose hop is the shortest, in float32 and float16. The checks are on and off in one
stream, hop by hop in turn (on, off, off, on), so that nothing else differs; a ratio is of the
medians of a block of hops. With the high-pass and without it are two streams, hop by hop in turn.
Writes results/stream_checks.json.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import summary, write

import frcrn_export.runtime.streaming.denoiser as denoiser_module
from frcrn_export.exporters.assets import read_speech
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.bundle.manifest import Precision
from frcrn_export.runtime.streaming import StreamingDenoiser
from frcrn_export.runtime.streaming.session import StreamSession
from frcrn_export.runtime.streaming.stream import Stream, advance

TOOL = str(Path(sys.executable).with_name("frcrn-export"))
RATE = 16_000
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")


def unchecked(session: StreamSession, streams: Sequence[Stream]) -> tuple[int, int]:
    """`advance` as it was before outputs were checked and inputs bounded."""
    for row, stream in enumerate(streams):
        stream.fill(session.inputs[row])
        session.ends[row] = stream.transform.end
    enhanced = session.run(session.inputs, session.ends)
    for row, stream in enumerate(streams):
        stream.take(enhanced[row])
    return 0, 0


class Streams:
    """The streams of one bundle and precision."""

    def __init__(self, bundle: Path, precision: Precision, hops: int) -> None:
        open_ = StreamingDenoiser.open
        self._whole = open_(bundle, "onnxruntime-cpu", 1, precision=precision)
        self._plain = open_(bundle, "onnxruntime-cpu", 1, precision=precision, high_pass=False)
        hop = self._whole.latency.chunk
        self._chunks = np.resize(read_speech(), hops * hop).astype(np.float32).reshape(hops, hop)

    def _hop(self, name: str, chunk: Float32Array) -> float:
        """The time of a hop in microseconds."""
        stream = self._plain if name == "without high-pass" else self._whole
        denoiser_module.advance = unchecked if name == "without checks" else advance
        started = time.perf_counter()
        stream.process(chunk)
        took = time.perf_counter() - started
        denoiser_module.advance = advance
        return 1e6 * took

    def _block(self, other: str) -> tuple[float, float]:
        """The median times of hops as they are and without something, in turn."""
        times: dict[str, list[float]] = {"whole": [], other: []}
        for index, chunk in enumerate(self._chunks):
            name = other if index % 4 in (1, 2) else "whole"
            times[name].append(self._hop(name, chunk))
        return float(np.median(times["whole"])), float(np.median(times[other]))

    def measure(self, blocks: int) -> dict[str, Any]:
        """Hops in microseconds, and the shares that checks and high-pass add, in per cent."""
        result: dict[str, Any] = {}
        for other in ("without checks", "without high-pass"):
            self._block(other)
            found = [self._block(other) for _ in range(blocks)]
            added = [100 * (whole / without - 1) for whole, without in found]
            result[other] = {
                "whole_us": summary([whole for whole, _ in found]),
                "without_us": summary([without for _, without in found]),
                "adds_per_cent": summary(added),
            }
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hops", type=int, default=400, help="in a block")
    parser.add_argument("--blocks", type=int, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        bundle = Path(temporary) / "bundle"
        subprocess.run(
            [TOOL, "onnx", "--streaming", "--fp16", "-o", bundle], check=True, capture_output=True
        )
        results = {
            precision: Streams(bundle, precision, arguments.hops).measure(arguments.blocks)
            for precision in PRECISIONS
        }
    print(write("stream_checks", {"threads": 1, "results": results}))


if __name__ == "__main__":
    main()
