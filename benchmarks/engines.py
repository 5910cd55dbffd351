"""Time and results of `frcrn-export trt --fp16` without a GPU.

    python benchmarks/engines.py [--repeats 3]

Every command is timed whole, in a process of its own: first where core.fp16.onnx is exported and
verified as well, then for the engine alone. Writes results/engines.json.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from machine import summary, write

TOOL = str(Path(sys.executable).with_name("frcrn-export"))
MODELS = {
    "frcrn-16k": ("--random-weights", "0"),
    "wave-unet-16k": (),
    "wave-unet-12x24": ("--random-weights", "0"),
}


def timed(*words: str) -> tuple[float, dict[str, Any]]:
    """Seconds that a command takes, and its JSON."""
    started = time.perf_counter()
    done = subprocess.run((TOOL, *words, "--json"), check=True, capture_output=True)
    return time.perf_counter() - started, json.loads(done.stdout)


def measure(model: str, folder: Path, repeats: int) -> dict[str, Any]:
    """One model: `whole` from a bundle without core.fp16.onnx, `engine` from one that has it."""
    bundle = folder / model
    timed("onnx", "--model", model, *MODELS[model], "--output", str(bundle))
    whole, engine = [], []
    for number in range(repeats):
        copy = folder / f"{model}.{number}"
        shutil.copytree(bundle, copy)
        whole.append(timed("trt", str(copy), "--fp16")[0])
        seconds, shown = timed("trt", str(copy), "--fp16", "--force")
        engine.append(seconds)
    manifest = json.loads((copy / "manifest.json").read_text())
    fp16 = [r["snr_db"] for r in manifest["parity"] if r["artifact"] == "core.fp16.onnx"]
    layers = json.loads((copy / shown["engine"]["engine"]["layers"]).read_text())
    return {
        "whole": summary(whole),
        "engine": summary(engine),
        "fp16 file": summary([a - b for a, b in zip(whole, engine, strict=True)]),
        "engine_mb": shown["engine"]["bytes"] / 1e6,
        "layers": len(layers["layers"]),
        "activation_mb": layers["activation_bytes"] / 1e6,
        "census": shown["census"],
        "fp16_snr_db": {"worst": min(fp16), "best": max(fp16), "cases": len(fp16)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            results[model] = found = measure(model, Path(folder), repeats)
            times = "  ".join(
                f"{name} {found[name]['median']:.1f} s" for name in ("whole", "fp16 file", "engine")
            )
            print(f"{model:16s} {times}  {found['engine_mb']:.1f} MB, {found['layers']} layers")
    print(write("engines", {"tensorrt-rtx": version("tensorrt-rtx"), "models": results}))


if __name__ == "__main__":
    main()
