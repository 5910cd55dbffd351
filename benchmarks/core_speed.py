"""The FRCRN core on 1 s of audio: the reference in PyTorch, its plain export, the lowered file.

    python benchmarks/core_speed.py --threads 2

They are timed in turn, so that other load affects all of them equally. Writes
results/core_speed.json.
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

from frcrn_export.exporters.assets import read_speech
from frcrn_export.exporters.families.frcrn.lowered import lower_frcrn
from frcrn_export.exporters.families.frcrn.network import FRCRN, FRCRN_16K
from frcrn_export.exporters.loading import load_model
from frcrn_export.exporters.onnx_export import Graph, onnx_from_graph
from frcrn_export.exporters.reference import level_gain
from frcrn_export.exporters.registry import models
from frcrn_export.exporters.stft_ops import StftAnalysis
from frcrn_export.runtime.bundle.manifest import TensorSpec
from frcrn_export.runtime.sessions.onnx import session_options

FRAMES = 49  # 1 s at hop 320 of 16 kHz, without padding
WARM_UP = 3

PYTORCH = "reference, PyTorch"
LEGACY = "legacy export, ONNX Runtime's default options"
LEGACY_OURS = "legacy export, our session options"
LOWERED_DEFAULT = "lowered, ONNX Runtime's default options"
LOWERED = "lowered, as the runtime runs it"


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
    return onnx_from_graph(graph, "core", {}).SerializeToString()


def default_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return options


def onnx_runner(
    model: bytes, spec: torch.Tensor, options: onnxruntime.SessionOptions
) -> Callable[[], np.ndarray]:
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feeds = {"spec": spec.numpy()}
    return lambda: session.run(None, feeds)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    network = load_model("frcrn-16k", seed=0).network
    assert isinstance(network, FRCRN)
    speech = torch.from_numpy(read_speech())
    wave = level_gain(speech, "active_rms", 1e-6) * speech[None, : 640 + 320 * (FRAMES - 1)]
    spec = StftAnalysis(models()["frcrn-16k"].stft)(wave).contiguous()

    def reference() -> np.ndarray:
        with torch.inference_mode():
            return network(spec).numpy()

    legacy, lowered = legacy_export(network), lowered_export(network)
    runners = {
        PYTORCH: reference,
        LEGACY: onnx_runner(legacy, spec, default_options(arguments.threads)),
        LEGACY_OURS: onnx_runner(legacy, spec, session_options(arguments.threads)),
        LOWERED_DEFAULT: onnx_runner(lowered, spec, default_options(arguments.threads)),
        LOWERED: onnx_runner(lowered, spec, session_options(arguments.threads)),
    }
    expected = reference()
    for name, run in runners.items():
        error = np.abs(run() - expected).max() / np.abs(expected).max()
        assert error < 1e-4, f"{name} is off by {error:.1e}"

    times: dict[str, list[float]] = {name: [] for name in runners}
    for repeat in range(WARM_UP + arguments.repeats):
        for name, run in runners.items():
            run()  # the one before may have left its threads spinning, and its data in the caches
            started = time.perf_counter()
            run()
            if repeat >= WARM_UP:
                times[name].append(time.perf_counter() - started)

    results = {name: summary(values) for name, values in times.items()}
    fastest = results[LOWERED]["median"]
    for name, value in results.items():
        median, low, high = (value[key] * 1e3 for key in ("median", "q1", "q3"))
        times_slower = value["median"] / fastest
        print(f"{name:48s} {median:6.0f} ms  ({low:.0f} to {high:.0f})  {times_slower:.2f} x")
    faster = {name: results[name]["median"] / fastest for name in (PYTORCH, LEGACY, LEGACY_OURS)}
    report = {"threads": arguments.threads, "seconds": results, "lowered is faster by": faster}
    print(write("core_speed", report))


if __name__ == "__main__":
    main()
