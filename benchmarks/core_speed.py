"""The FRCRN core on 1 s of audio: the reference in PyTorch, its plain export, the lowered file.

    python benchmarks/core_speed.py --threads 2

The three take turns, so that whatever else the machine does falls on all of them alike.
Writes results/core_speed.json.
"""

import argparse
import io
import time
import warnings
from collections.abc import Callable

import numpy as np
import onnxruntime
import torch
from machine import summary, write

from frcrn_export.exporters.lowering.frcrn import lower_frcrn
from frcrn_export.exporters.networks.frcrn import FRCRN, FRCRN_16K
from frcrn_export.exporters.onnx_export import Graph, export_onnx
from frcrn_export.runtime.manifest import TensorSpec

FRAMES = 49  # 1 s at hop 320 of 16 kHz, without padding
WARM_UP = 3

PYTORCH = "reference, PyTorch"
LEGACY = "reference, legacy export, ONNX Runtime"
LOWERED = "lowered, ONNX Runtime"


def legacy_export(network: FRCRN) -> bytes:
    """What `torch.onnx.export(dynamo=False)` makes of the reference network."""
    buffer = io.BytesIO()
    axes = {0: "batch", 3: "frames"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.randn(1, 2, FRCRN_16K.bins, FRAMES),),
            buffer,
            dynamo=False,
            opset_version=18,
            input_names=["spec"],
            output_names=["enhanced"],
            dynamic_axes={"spec": axes, "enhanced": axes},
        )
    return buffer.getvalue()


def lowered_export(network: FRCRN) -> bytes:
    shape = ("batch", 2, FRCRN_16K.bins, "frames")
    tensors = (TensorSpec(name=n, dtype="float32", shape=shape) for n in ("spec", "enhanced"))
    graph = Graph(lower_frcrn(network), torch.randn(2, 2, FRCRN_16K.bins, 5), *tensors)
    return export_onnx(graph, "core", {}).SerializeToString()


def onnx_runner(model: bytes, spec: torch.Tensor, threads: int) -> Callable[[], np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feeds = {"spec": spec.numpy()}
    return lambda: session.run(None, feeds)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    network = FRCRN(FRCRN_16K).eval()
    spec = 0.1 * torch.randn(1, 2, FRCRN_16K.bins, FRAMES)

    def reference() -> np.ndarray:
        with torch.inference_mode():
            return network(spec).numpy()

    runners = {
        PYTORCH: reference,
        LEGACY: onnx_runner(legacy_export(network), spec, arguments.threads),
        LOWERED: onnx_runner(lowered_export(network), spec, arguments.threads),
    }
    expected = reference()
    for name, run in runners.items():
        error = np.abs(run() - expected).max() / np.abs(expected).max()
        assert error < 1e-4, f"{name} is off by {error:.1e}"

    times: dict[str, list[float]] = {name: [] for name in runners}
    for repeat in range(WARM_UP + arguments.repeats):
        for name, run in runners.items():
            started = time.perf_counter()
            run()
            if repeat >= WARM_UP:
                times[name].append(time.perf_counter() - started)

    results = {name: summary(values) for name, values in times.items()}
    fastest = results[LOWERED]["median"]
    for name, value in results.items():
        median, low, high = (value[key] * 1e3 for key in ("median", "q1", "q3"))
        times_slower = value["median"] / fastest
        print(f"{name:40s} {median:6.0f} ms  ({low:.0f} to {high:.0f})  {times_slower:.2f} x")
    faster = {name: results[name]["median"] / fastest for name in (PYTORCH, LEGACY)}
    report = {"threads": arguments.threads, "seconds": results, "lowered is faster by": faster}
    print(write("core_speed", report))


if __name__ == "__main__":
    main()
