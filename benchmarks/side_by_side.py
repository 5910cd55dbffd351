"""What users would take instead, beside ours, in one run: recordings of 1 s, and hops of a stream.

    python benchmarks/side_by_side.py BUNDLE [--threads 1] [--seconds 120] [--checkpoint FILE]

BUNDLE is one of ours with a streaming core, with INT8 files where they are to be in the table. All
take a waveform and give one, and are checked against the reference. They are timed in alternating
blocks; ratios are to ours in float32, with their 95 % interval. Missing packages (openvino) and
what fails are listed with the reason. Writes results/side_by_side.MODEL.THREADS.json.

- PyTorch: the reference network as published, in eval mode and without gradients, its STFT as
  convolutions, the level around it.
- TorchScript: the same, traced and frozen. torch.compile: the same through inductor.
- legacy ONNX: the same as one waveform-to-waveform file of `torch.onnx.export(dynamo=False)`, as
  others ship it, in ONNX Runtime with its default options; and in OpenVINO.
- our core.onnx in OpenVINO, inside our pipeline.
- streaming: ours hop by hop; our streaming core in OpenVINO; and what a network without states
  costs a hop, all of the recording computed again for each.
"""

import argparse
import io
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from machine import write
from torch import Tensor, nn

from frcrn_export.exporters.loading import LoadedModel, load_model
from frcrn_export.exporters.stft_ops import StftAnalysis, StftSynthesis
from frcrn_export.runtime.arrays import Float32Array
from frcrn_export.runtime.audio.framing import padding_samples
from frcrn_export.runtime.audio.level import measure_gain
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.bench.alternate import rounds, warm_up
from frcrn_export.runtime.bench.cases import Case, hop_of, speech_of
from frcrn_export.runtime.bench.verdict import interval
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, FileEntry
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle
from frcrn_export.runtime.denoiser import Denoiser
from frcrn_export.runtime.streaming.transforms import initial_state

Run = Callable[[], object]
OURS = "ours, float32"


class WaveToWave(nn.Module):
    """The reference with its STFT around it, [1, N] -> [1, N']; what others export whole."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        stft = model.spec.stft
        self.before = None if stft is None else StftAnalysis(stft)
        self.after = None if stft is None else StftSynthesis(stft)
        self.network = model.network

    def forward(self, wave: Tensor) -> Tensor:
        if self.before is None or self.after is None:
            output: Tensor = self.network(wave[:, None])[:, 0]
            return output
        enhanced: Tensor = self.after(self.network(self.before(wave)))
        return enhanced


def legacy_onnx(module: nn.Module, wave: Tensor) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (wave,),
            file,
            dynamo=False,
            opset_version=18,
            input_names=["wave"],
            output_names=["enhanced"],
        )
    return file.getvalue()


def in_onnxruntime(model: bytes, wave: Float32Array, threads: int) -> Callable[[], Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: wave})[0]


def in_openvino(model: bytes | Path, threads: int) -> Any:
    """A compiled model; float32, since bf16 misses the floor of parity."""
    import openvino

    core = openvino.Core()
    read = core.read_model(model if isinstance(model, Path) else io.BytesIO(model).getvalue())
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    return core.compile_model(read, "CPU", settings)


class OpenVinoSession:
    """Our core in OpenVINO, for our pipeline."""

    backend, device = "openvino", "cpu"

    def __init__(self, bundle: Bundle, entry: FileEntry, threads: int) -> None:
        self.entry = entry
        self._request = in_openvino(bundle.file(entry), threads).create_infer_request()

    def run(self, inputs: Float32Array) -> Float32Array:
        output: Float32Array = self._request.infer([inputs])[0]
        return output.copy()


def streaming_in_openvino(bundle: Bundle, entry: FileEntry, threads: int) -> Run:
    """Calls of our streaming core in OpenVINO, its states carried from call to call."""
    assert entry.streaming is not None
    request = in_openvino(bundle.file(entry), threads).create_infer_request()
    info = entry.streaming
    shape = (1, *map(int, entry.inputs[0].shape[1:]))
    feeds = {state.name: initial_state(state) for state in info.states}
    feeds[entry.inputs[0].name] = np.zeros(shape, np.float32)
    if info.end is not None:
        feeds[info.end] = np.full(1, UNKNOWN_END, np.float32)

    def call() -> object:
        found = request.infer(feeds)
        for state in info.states:
            feeds[state.name] = found[state.next].copy()
        return found[entry.outputs[0].name]

    return call


def offline(
    bundle: Bundle, model: LoadedModel, wave: Float32Array, threads: int
) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """The contenders on one recording, and why others are missing."""
    module = WaveToWave(model).eval()
    given = torch.from_numpy(wave[None])
    legacy: list[bytes] = []

    def eager() -> Callable[[], Any]:
        return lambda: module(given).numpy()[0]

    def scripted() -> Callable[[], Any]:
        traced = torch.jit.freeze(torch.jit.trace(module, given))
        return lambda: traced(given).numpy()[0]

    def compiled() -> Callable[[], Any]:
        fast = torch.compile(module)
        return lambda: fast(given).numpy()[0]

    def exported() -> bytes:
        if not legacy:
            legacy.append(legacy_onnx(module, given))
        return legacy[0]

    def legacy_ort() -> Callable[[], Any]:
        run = in_onnxruntime(exported(), wave[None], threads)
        return lambda: run()[0]

    def legacy_openvino() -> Callable[[], Any]:
        request = in_openvino(exported(), threads).create_infer_request()
        return lambda: request.infer([wave[None]])[0][0]

    def ours(precision: str) -> Callable[[], Any]:
        entry = file_of(bundle, "core", precision)
        case = Case(entry, "onnxruntime-cpu", "offline", threads, 1, len(wave) / rate)
        return case.open(bundle, wave)  # type: ignore[return-value]

    def ours_openvino() -> Callable[[], Any]:
        session = OpenVinoSession(bundle, file_of(bundle, "core", "fp32"), threads)
        denoiser = Denoiser(bundle.manifest, session)
        return lambda: denoiser(wave)

    rate = bundle.manifest.sample_rate
    return opened(
        {
            OURS: lambda: ours("fp32"),
            "ours, INT8": lambda: ours("int8"),
            "our core.onnx in OpenVINO": ours_openvino,
            "reference, PyTorch": eager,
            "reference, TorchScript": scripted,
            "reference, torch.compile": compiled,
            "legacy ONNX, ONNX Runtime": legacy_ort,
            "legacy ONNX, OpenVINO": legacy_openvino,
        }
    )


def streaming(
    bundle: Bundle, model: LoadedModel, wave: Float32Array, threads: int
) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """The contenders hop by hop."""

    def ours(precision: str) -> Callable[[], Any]:
        entry = file_of(bundle, "core_streaming", precision)
        return hop_of(bundle.manifest, entry, "onnxruntime-cpu", threads).open(bundle, wave)

    def window() -> Callable[[], Any]:
        given = torch.from_numpy(wave[None])
        module = WaveToWave(model).eval()
        return lambda: module(given).numpy()

    return opened(
        {
            OURS: lambda: ours("fp32"),
            "ours, INT8": lambda: ours("int8"),
            "our streaming core in OpenVINO, states and all": lambda: streaming_in_openvino(
                bundle, file_of(bundle, "core_streaming", "fp32"), threads
            ),
            "reference, PyTorch, the recording again for each hop": window,
        }
    )


def opened(
    openers: dict[str, Callable[[], Callable[[], Any]]],
) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """Those that open and run once, and why the others do not."""
    runs, missing = {}, {}
    for name, opener in openers.items():
        started = time.perf_counter()
        try:
            run = opener()
            run()
        except Exception as error:  # whatever it is, the others may run
            first = (str(error).strip().splitlines() or [""])[0]
            missing[name] = f"{type(error).__name__}: {first[:200]}"
            print(f"  {name}: {missing[name]}")
            continue
        print(f"  {name}: open in {time.perf_counter() - started:.1f} s")
        runs[name] = run
    return runs, missing


def file_of(bundle: Bundle, role: Any, precision: Any) -> FileEntry:
    target = "cpu" if precision == "int8" else None
    entry = bundle.manifest.file(role, "onnx", precision, target)
    if entry is None:
        raise LookupError(f"no {precision} file of the role {role} in {bundle.path}")
    return entry


def measure(runs: dict[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
    """Blocks until the time is over; ratios to ours, block by block."""
    calls = list(runs.values())
    measured = rounds(calls, warm_up(calls))
    started, found = time.perf_counter(), []
    while len(found) < 6 or time.perf_counter() - started < seconds:
        found.append(next(measured))
    times = np.array(found)
    ours = np.log(times[:, list(runs).index(OURS)])
    results = {}
    for index, name in enumerate(runs):
        ratio = interval(np.log(times[:, index]) - ours, 0.95)
        results[name] = {
            "ms": float(np.median(times[:, index])),
            "times ours": ratio.middle,
            "interval": [ratio.low, ratio.high],
            "blocks": len(found),
        }
        print(
            f"  {name:55s} {results[name]['ms']:9.2f} ms  {ratio.middle:6.2f} times ours "
            f"({ratio.low:.2f} to {ratio.high:.2f})"
        )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=120, help="each of the two tables")
    parser.add_argument("--checkpoint", type=Path, help="the bundle's, where it has one")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    bundle = open_bundle(arguments.bundle)
    manifest = bundle.manifest
    seed = manifest.weights.seed if manifest.weights.are_random else None
    model = load_model(manifest.model, checkpoint=arguments.checkpoint, seed=seed)
    # As long as the padding rule leaves it: what others get is not padded.
    samples = manifest.sample_rate + padding_samples(manifest.sample_rate, manifest.padding)
    wave = np.resize(speech_of(bundle), samples).astype(np.float32)
    # At the level that the pipeline would give it, so that all see the same.
    wave *= np.float32(measure_gain(lambda: [wave[None]], manifest.level)[0])
    tables: dict[str, Any] = {
        "threads": arguments.threads,
        "seconds": samples / manifest.sample_rate,
    }
    print(f"recordings of {samples / manifest.sample_rate:g} s")
    runs, missing = offline(bundle, model, wave, arguments.threads)
    expected = runs["reference, PyTorch"]()
    snr = {}
    for name, run in runs.items():
        count = min(len(expected), len(output := run()))
        inner = slice(count // 10, count - count // 10)  # the edges differ in padding
        snr[name] = snr_db(expected[inner], output[inner])
    tables["offline"] = {
        "rows": measure(runs, arguments.seconds),
        "missing": missing,
        "snr_db": snr,
    }
    print("hops")
    runs, missing = streaming(bundle, model, wave, arguments.threads)
    tables["streaming"] = {"rows": measure(runs, arguments.seconds), "missing": missing}
    print(write(f"side_by_side.{manifest.model}.{arguments.threads}", tables))


if __name__ == "__main__":
    main()
