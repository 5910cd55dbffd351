"""INT8 on this processor: what calibration takes, what is faster, and what it costs in quality.

    python benchmarks/int8.py --calib FOLDER --pairs PAIRS [--threads 2] [--minutes 10]

Each model is exported, calibrated by `frcrn-export calibrate --for cpu --auto`, and timed beside
its float32 form, in turn: the core on a recording, and where it can stream a hop, as
`frcrn-export bench` times it. Models without published weights at hand have random ones: their
speed does not depend on them, and of their quality only the core's SNR is measured. Writes
results/int8.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from machine import RESULTS, summary, write

from frcrn_export.runtime.bench.cases import Wanted, find_cases, speech_of
from frcrn_export.runtime.bench.measure import time_cases
from frcrn_export.runtime.bundle.reader import open_bundle
from frcrn_export.runtime.cache import CACHE_VARIABLE

TOOL = str(Path(sys.executable).with_name("frcrn-export"))
MODELS = {
    "wave-unet-16k": ("--streaming",),
    "wave-unet-12x24": ("--random-weights", "0"),
    "frcrn-16k": (
        *("--random-weights", "0", "--squeeze-excite", "cumulative"),
        "--streaming",
    ),
    "frcrn-16k-512": (
        *("--random-weights", "0", "--squeeze-excite", "cumulative"),
        "--streaming",
    ),
}


def run(*words: str) -> str:
    """A command of the tool; what it prints. A failed gate ends the benchmark with its words."""
    # Nothing that was measured before shortens a calibration.
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, CACHE_VARIABLE: cache}
        done = subprocess.run((TOOL, *words), capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"frcrn-export {' '.join(words)}\n{done.stderr}")
    return done.stdout


def calibrated(bundle: Path, arguments: argparse.Namespace, streaming: bool) -> dict[str, Any]:
    """The report of a calibration, cut to what matters, and its time."""
    folders = [word for folder in arguments.calib for word in ("--calib", str(folder))]
    words = ["calibrate", str(bundle), "--for", "cpu", *folders, "--pairs", str(arguments.pairs)]
    words += ["--auto", "--minutes", str(arguments.minutes), "--allow-slower", "--json"]
    words += ["--threads", str(arguments.threads)] + ["--streaming"] * streaming
    started = time.perf_counter()
    report = json.loads(run(*words))
    seconds = time.perf_counter() - started
    made = report["quantization"]
    kept = ("layers", "candidates", "share", "gates", "clips", "method", "kept_slower")
    return {
        "seconds": seconds,
        "speed": report["speed"],
        "trials": len(report["search"]),
        **{name: made[name] for name in kept},
    }


def hops(path: Path, threads: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of a hop in both precisions, in turn."""
    bundle = open_bundle(path)
    cases = find_cases(bundle, Wanted(kinds=("hop",), threads=(threads,))).cases
    rows = time_cases(bundle, cases, speech_of(bundle), seconds=seconds).rows
    found: dict[str, Any] = {row.precision: summary(list(row.samples)) for row in rows}
    found["ratio"] = found["fp32"]["median"] / found["int8"]["median"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calib", type=Path, nargs="+", required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=10, help="of the search for each model")
    parser.add_argument("--seconds", type=float, default=20, help="of timing hops")
    parser.add_argument("--offline", action="store_true", help="no streams")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    arguments = parser.parse_args()
    path = RESULTS / "int8.json"  # models that are not asked for keep their figures
    results: dict[str, Any] = json.loads(path.read_text())["models"] if path.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        for model in arguments.models:
            bundle, options = Path(temporary) / model, MODELS[model]
            run("onnx", "--model", model, *options, "--output", str(bundle))
            found: dict[str, Any] = {}
            results[model] = found
            for name, row in pieces(bundle, "--streaming" in options, arguments):
                found[name] = row
                print_result(f"{model}, {name}", row)
                # Now, since the next piece may take a quarter of an hour and fail.
                file = write("int8", {"threads": arguments.threads, "models": results})
    print(file)


def pieces(
    bundle: Path, streaming: bool, arguments: argparse.Namespace
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is measured of a model, one after another."""
    yield "offline", calibrated(bundle, arguments, streaming=False)
    if streaming and not arguments.offline:
        yield "streaming", calibrated(bundle, arguments, streaming=True)
        for threads in (arguments.threads, 1):
            yield f"hop, {threads} threads", hops(bundle, threads, arguments.seconds)


def print_result(title: str, row: dict[str, Any]) -> None:
    if "ratio" in row:
        print(
            f"{title}: {row['fp32']['median']:.2f} ms in float32, "
            f"{row['int8']['median']:.2f} in INT8 (quartiles {row['int8']['q1']:.2f} to "
            f"{row['int8']['q3']:.2f}), {row['ratio']:.2f} times",
            flush=True,
        )
        return
    gates = {gate["name"]: gate["value"] for gate in row["gates"]}
    print(
        f"{title}: calibrated in {row['seconds']:.0f} s, {row['layers']} of "
        f"{row['candidates']} layers, {100 * row['share']:.1f} % of the work, "
        f"{row['speed']['ratio']:.2f} times as fast; {gates}",
        flush=True,
    )


if __name__ == "__main__":
    main()
