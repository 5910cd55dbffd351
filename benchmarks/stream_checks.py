"""What the checks of a stream cost: finite outputs, bounded inputs, and the high-pass.

    python benchmarks/stream_checks.py [--hops 300] [--blocks 30]

wave-unet-16k, whose hop is the shortest, in float32 and float16. Three streams take turns, a block
of hops each: as they are, without the checks, and without the high-pass. Every ratio is of two
neighbouring blocks. Writes results/stream_checks.json.
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
        self._streams = {
            "whole": open_(bundle, "onnxruntime-cpu", 1, precision=precision),
            "without checks": open_(bundle, "onnxruntime-cpu", 1, precision=precision),
            "without high-pass": open_(
                bundle, "onnxruntime-cpu", 1, precision=precision, high_pass=False
            ),
        }
        hop = self._streams["whole"].latency.chunk
        self._chunks = np.resize(read_speech(), hops * hop).astype(np.float32).reshape(hops, hop)

    def block(self, name: str) -> float:
        """The median time of a hop in microseconds."""
        stream = self._streams[name]
        denoiser_module.advance = unchecked if name == "without checks" else advance
        times = []
        for chunk in self._chunks:
            started = time.perf_counter()
            stream.process(chunk)
            times.append(time.perf_counter() - started)
        denoiser_module.advance = advance
        return 1e6 * float(np.median(times))

    def measure(self, blocks: int) -> dict[str, Any]:
        """Hops in microseconds, and the shares that checks and high-pass add, in per cent."""
        for name in self._streams:
            self.block(name)
        found: dict[str, list[float]] = {name: [] for name in self._streams}
        for index in range(blocks):
            for name in sorted(self._streams, reverse=bool(index % 2)):
                found[name].append(self.block(name))

        def added(name: str) -> dict[str, float]:
            pairs = zip(found["whole"], found[name], strict=True)
            return summary([100 * (whole / other - 1) for whole, other in pairs])

        return {
            "hop_us": {name: summary(values) for name, values in found.items()},
            "checks_add_per_cent": added("without checks"),
            "high_pass_adds_per_cent": added("without high-pass"),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hops", type=int, default=300, help="in a block")
    parser.add_argument("--blocks", type=int, default=30)
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
