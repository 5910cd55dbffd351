"""Everything that runs a denoiser on this machine's GPU, measured in one run.

    python benchmarks/gpu.py --bundle BUNDLE
    python benchmarks/gpu.py --device cpu --model wave-unet-16k --batches 1 2

PyTorch as published and as it can be, the lowered network, ONNX Runtime, the engines of a bundle:
one STFT frame a call, and a second of audio at every batch size. What cannot run here is named with
its reason. Writes results/gpu.GPU.MODEL.json, after each contender, and prints a table. What the
figures mean is in benchmarks/README.md.
"""

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `benchmarks`, run as a script too

from benchmarks.gpu_contenders import CONTENDERS, Contender
from benchmarks.gpu_facts import facts
from benchmarks.gpu_measure import PUBLISHED_MODEL, Run
from benchmarks.gpu_open import Setup
from benchmarks.gpu_report import print_report
from benchmarks.gpu_timing import MEMORY_KINDS
from benchmarks.gpu_workload import Workload, make_cases
from benchmarks.machine import RESULTS
from frcrn_export.exporters.loading import LoadedModel, load_bundled, load_model
from frcrn_export.exporters.registry import models
from frcrn_export.exporters.verify import require_same_checkpoint, why_no_reference
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.errors import FrcrnExportError, UserError

BATCHES = [1, 2, 4, 8, 16, 32, 64]


def main(words: list[str] | None = None) -> int:
    """Run the benchmark: 0 if it ran, 2 with one line on standard error if it could not."""
    arguments = parse(words)
    chosen = [c for c in CONTENDERS if not arguments.only or c.name in arguments.only]
    if arguments.device == "cuda" and not torch.cuda.is_available():
        return _fail(
            f"PyTorch {torch.__version__} finds no CUDA GPU here; not measured: "
            f"{', '.join(c.name for c in chosen)}; on the processor: --device cpu"
        )
    try:
        bundle = open_bundle(arguments.bundle) if arguments.bundle else None
        setup = Setup(load_for(arguments, bundle), torch.device(arguments.device), bundle)
    except FrcrnExportError as error:
        return _fail(str(error))
    result, path = measure(setup, chosen, arguments)
    print_report(result)
    print(path)
    return 0


def parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=tuple(models()), help=f"default: {PUBLISHED_MODEL}")
    parser.add_argument("--checkpoint", type=Path, help="its weights; default: random ones")
    parser.add_argument("--random-weights", type=int, default=0, metavar="SEED")
    parser.add_argument("--bundle", type=Path, help="with engines; its model and weights are taken")
    names = tuple(contender.name for contender in CONTENDERS)
    parser.add_argument("--only", choices=names, action="append", metavar="NAME", help="repeatable")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, metavar="SIZE")
    parser.add_argument("--repeats", type=int, default=200, help="calls a measurement, at most")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="start no measurement later than this"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("-o", "--output", type=Path, help="the JSON file")
    parser.add_argument("--debug", action="store_true", help="tracebacks of what could not run")
    arguments = parser.parse_args(words)
    if min(*arguments.batches, arguments.repeats) < 1:
        parser.error("--batches and --repeats must be at least 1")
    return arguments


def load_for(arguments: argparse.Namespace, bundle: Bundle | None) -> LoadedModel:
    """The model to measure; with a bundle the one it was made from, whose output it is held to."""
    checkpoint = arguments.checkpoint
    if bundle is None:
        seed = None if checkpoint else arguments.random_weights
        return load_model(arguments.model or PUBLISHED_MODEL, checkpoint, seed=seed)
    manifest = bundle.manifest
    if arguments.model not in (None, manifest.model):
        raise UserError(f"{bundle.path} holds {manifest.model}, not {arguments.model}")
    if checkpoint:
        require_same_checkpoint(manifest, checkpoint)
    if reason := why_no_reference(manifest, checkpoint):
        raise UserError(f"{bundle.path}: {reason}")
    return load_bundled(manifest, checkpoint)


def measure(
    setup: Setup, contenders: list[Contender], arguments: argparse.Namespace
) -> tuple[dict[str, Any], Path]:
    """Measure the contenders; the result so far is written after each."""
    model = setup.model
    cases, deadline = make_cases(model, arguments.batches), time.monotonic() + arguments.seconds
    run = Run(setup, Workload(model), cases, arguments.repeats, deadline, arguments.debug)
    here = facts(setup.device)
    device = here["gpu"]["name"] if setup.on_gpu else here["processor"]
    slug = re.sub("[^a-z0-9]+", "-", device.lower()) if setup.on_gpu else "cpu"
    path: Path = arguments.output or RESULTS / f"gpu.{slug}.{model.spec.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "machine": here,
        "device": device,
        "model": model.spec.name,
        "weights": model.weights.name,
        "bundle": setup.bundle.path.name if setup.bundle else None,
        "memory": MEMORY_KINDS,
        "contenders": [],
    }
    for contender in contenders:
        print(f"{contender.name} ...", file=sys.stderr, flush=True)
        result["contenders"].append(run.measure(contender))
        path.write_text(json.dumps(result, indent=2) + "\n")
    return result, path


def _fail(reason: str) -> int:
    print(f"gpu.py: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
