"""benchmarks/gpu.py: on the processor for real, and for a GPU with stand-ins for CUDA."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import gpu, gpu_timing
from benchmarks.gpu_contenders import CONTENDERS, Contender
from benchmarks.gpu_measure import Run
from benchmarks.gpu_open import Opened, Setup
from benchmarks.gpu_published import AS_FOUND, CACHED_STFT, EVAL, reference_pipeline
from benchmarks.gpu_report import print_report
from benchmarks.gpu_runners import OverlappedRunner
from benchmarks.gpu_timing import statistics, time_calls
from benchmarks.gpu_workload import Case, Workload, make_cases
from frcrn_export.exporters.loading import load_model
from frcrn_export.exporters.registry import family_of, models
from frcrn_export.runtime.audio.measures import snr_db
from frcrn_export.runtime.errors import BackendError
from tests.benchmarks import standin_torch
from tests.standin.install import add_engine, simulated_gpu

SCRIPT = Path(__file__).parents[2] / "benchmarks/gpu.py"
NEED_GPU = {
    "torch-fp16",
    "torch-streams",
    "lowered-fp16",
    "onnxruntime-fp16",
    "tensorrt",
    "tensorrt-steps",
    "tensorrt-rtx",
    "tensorrt-rtx-steps",
    "torch-compile",
}


def model_like(name: str, network: nn.Module | None = None) -> Any:
    """As much of a model as the workload needs, around another network."""
    padding = SimpleNamespace(size=64)
    core_samples = 16_384 if name == "wave-unet-12x24" else None
    return SimpleNamespace(
        spec=models()[name],
        family=family_of(models()[name]),
        network=network or nn.Identity(),
        sample_rate=16_000,
        processing=SimpleNamespace(level="peak", padding=padding, core_samples=core_samples),
    )


def run_of(model: Any, cases: list[Case], deadline: float = float("inf")) -> Run:
    setup = Setup(model, torch.device("cpu"))
    return Run(setup, Workload(model), cases, repeats=1, deadline=deadline)


def by_name(result: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry for entry in result["contenders"]}


@pytest.fixture(scope="module", autouse=True)
def _no_clocks_to_raise() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_timing, "WARM_UP_SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("gpu") / "results" / "cpu.json"
    words = f"--device cpu --model wave-unet-16k --batches 1 3 --repeats 2 -o {path}"
    assert gpu.main(words.split()) == 0
    return dict(json.loads(path.read_text()))


def test_the_processor_runs_what_needs_no_gpu(on_cpu: dict[str, Any]) -> None:
    entries = by_name(on_cpu)
    assert list(entries) == [contender.name for contender in CONTENDERS]
    skipped = {name: entry["skipped"] for name, entry in entries.items() if "skipped" in entry}
    assert skipped == dict.fromkeys(NEED_GPU, "needs a CUDA GPU")
    for name in entries.keys() - NEED_GPU:
        cases = [(case["case"], case["batch"]) for case in entries[name]["measurements"]]
        assert cases == [("frame", 1), ("second", 1), ("second", 3)]


def test_a_result_names_machine_versions_and_weights(on_cpu: dict[str, Any]) -> None:
    assert on_cpu["machine"]["versions"]["torch"] == torch.__version__
    assert "commit" in on_cpu["machine"]
    assert (on_cpu["model"], on_cpu["weights"]) == ("wave-unet-16k", "seed 0")


def test_a_measurement_has_percentiles_throughput_and_no_parts(on_cpu: dict[str, Any]) -> None:
    case = by_name(on_cpu)["lowered"]["measurements"][2]
    latency = case["latency_ms"]
    assert latency["min"] <= latency["median"] <= latency["p90"] <= latency["p99"] <= latency["max"]
    assert case["throughput"] == pytest.approx(3 / (latency["mean"] / 1e3))
    assert case["calls"] == 2
    parts = ("h2d_ms", "compute_ms", "d2h_ms", "peak_memory_bytes")
    assert [case[part] for part in parts] == [None] * 4


def test_the_snr_tells_right_from_wrong(on_cpu: dict[str, Any]) -> None:
    for name, entry in by_name(on_cpu).items():
        for case in entry["measurements"]:
            # As found the network is in training mode, so it gives something else.
            assert (case["snr_db"] > 100) == (name != "torch-as-found")


def test_a_gpu_is_measured_in_parts_and_with_engines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wave_unet_bundle: Path
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(wave_unet_bundle, bundle)
    for backend in ("tensorrt", "tensorrt-rtx"):
        add_engine(bundle, backend, low=(1, 1, 320), best=(1, 1, 320), high=(1, 1, 640))
    # Their export needs more of PyTorch's CUDA than the stand-in has.
    names = {contender.name for contender in CONTENDERS} - {"torch-compile", "onnxruntime-fp16"}
    only = [word for name in names for word in ("--only", name)]
    output = tmp_path / "gpu.json"
    words = f"--bundle {bundle} --batches 1 --repeats 1 -o {output}".split()
    with simulated_gpu(monkeypatch, tmp_path / "cache"), monkeypatch.context() as patch:
        standin_torch.install(patch)
        patch.setattr(gpu_timing, "release", lambda: None)  # half a second a contender
        assert gpu.main([*words, *only]) == 0
    entries = by_name(json.loads(output.read_text()))

    # Here ONNX Runtime has no CUDA, and would go on on the processor.
    assert "cannot start CUDAExecutionProvider" in entries.pop("onnxruntime")["skipped"]
    for name, entry in entries.items():
        frame, second = entry["measurements"]
        if name.startswith("tensorrt"):
            assert "its profile" in second["skipped"]
        else:
            assert second["snr_db"] > 40 or name == "torch-as-found"
        assert frame["snr_db"] > 40 or name == "torch-as-found"
        assert frame["peak_memory_bytes"] is not None
        # In the stand-in of PyTorch every part takes 1 ms; a session's run is one graph.
        expected = (1.0, 1.0, 1.0)
        if name.startswith("tensorrt"):
            expected = (1.0, 5.0, 2.0) if name.endswith("-steps") else (None,) * 3
        parts = (frame[part] for part in ("h2d_ms", "compute_ms", "d2h_ms"))
        assert tuple(part and part["median"] for part in parts) == expected


def test_two_calls_are_in_flight_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    standin_torch.install(monkeypatch)
    run = OverlappedRunner((1, 2), lambda x: 2 * x)
    given = [np.full((1, 2), value, np.float32) for value in range(5)]
    outputs = [float(run(inputs)[0][0, 0]) for inputs in given]
    assert outputs == [0, 0, 2, 4, 6]


def test_without_a_gpu_it_says_in_one_line_what_it_would_measure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "no CUDA GPU" in err
    assert "--device cpu" in err
    assert all(contender.name in err for contender in CONTENDERS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs no GPU")
def test_it_runs_as_a_script(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--only", "lowered"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("gpu.py: PyTorch")
    assert "not measured: lowered;" in done.stderr


def test_what_fails_leaves_the_others_alone() -> None:
    model = model_like("wave-unet-16k")

    def refuses(setup: Setup) -> Opened:
        raise BackendError("core.engine is for another GPU")

    def runs_out_of_memory(setup: Setup) -> Opened:
        def runner(shape: tuple[int, ...]) -> Any:
            if shape[0] > 1:
                raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")
            return lambda inputs: (inputs, None)

        return Opened(runner)

    run = run_of(model, make_cases(model, [1, 2]))
    refused = run.measure(Contender("a", "A", "core", refuses))
    assert refused["skipped"] == "core.engine is for another GPU"
    entry = run.measure(Contender("b", "B", "core", runs_out_of_memory))
    assert [case.get("skipped") for case in entry["measurements"]] == [
        None,
        None,
        "OutOfMemoryError: CUDA out of memory.",
    ]
    assert entry["measurements"][1]["snr_db"] == 300


def test_past_the_time_limit_no_case_begins() -> None:
    model = model_like("wave-unet-16k")
    entry = run_of(model, make_cases(model, [1]), deadline=0).measure(
        Contender("a", "A", "core", lambda setup: Opened(lambda shape: pytest.fail("begun")))
    )
    assert {case["skipped"] for case in entry["measurements"]} == {"the time limit was reached"}


def test_the_published_figures_stand_in_a_column_of_their_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    published = {c.name: c.published_ms for c in CONTENDERS if c.published_ms}
    assert list(published.values()) == [45.2, 38.7, 29.4, 22.1, 16.8]
    numbers = statistics([1.0, 2.0])
    case = {"case": "frame", "batch": 1, "seconds": 0.02, "latency_ms": numbers, "snr_db": None}
    case |= {"h2d_ms": numbers, "compute_ms": numbers, "d2h_ms": None, "peak_memory_bytes": 2**21}
    row = {"name": "a", "title": "A", "job": "core", "measurements": [case]}
    result = {"model": "frcrn-16k", "device": "GPU", "contenders": [row]}
    print_report(result)
    assert "4090D" not in capsys.readouterr().out
    row["published_4090d_ms"] = 45.2
    print_report(result)
    shown = capsys.readouterr().out
    for text in ("4090D (other machine)", "45.2", "not finite", "one frame (20 ms)"):
        assert text in shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("frcrn-16k", [("frame", 640, 0.02), ("second", 16_320, 1.0)]),
        ("frcrn-16k-512", [("frame", 320, 0.01), ("second", 16_160, 1.0)]),
        ("wave-unet-16k", [("frame", 320, 0.02), ("second", 16_000, 1.0)]),
        ("wave-unet-12x24", [("second", 16_384, 1.024)]),
    ],
)
def test_cases_are_one_frame_and_one_second(name: str, expected: list[Any]) -> None:
    cases = make_cases(model_like(name), [1])
    assert [(case.name, case.samples, case.seconds) for case in cases] == expected


def test_a_batch_in_the_wrong_order_or_with_nan_is_noticed() -> None:
    model = model_like("wave-unet-16k")
    workload, case = Workload(model), Case("second", 6, 16_000, 1.0)
    outputs = workload.inputs("core", case)
    assert outputs.shape == (6, 1, 16_000)
    assert workload.snr_db("core", case, outputs) == 300
    assert (workload.snr_db("core", case, outputs[::-1].copy()) or 0) < 10
    outputs[5, 0, 7] = np.nan
    assert workload.snr_db("core", case, outputs) is None


def test_windows_made_in_every_call_are_the_kept_ones() -> None:
    model = model_like("frcrn-16k")
    case = make_cases(model, [2])[1]
    wave = torch.from_numpy(Workload(model).inputs("pipeline", case))
    device = torch.device("cpu")
    kept = reference_pipeline(model, replace(EVAL, rebuild_stft=False), device)(wave)
    made = reference_pipeline(model, EVAL, device)(wave)
    assert made.shape == wave.shape
    inner = slice(320, -320)  # the window is near zero at the edges, and divided by
    assert snr_db(kept[:, inner].numpy(), made[:, inner].numpy()) > 100
    assert snr_db(wave[:, inner].numpy(), made[:, inner].numpy()) > 100


def test_as_found_trains_and_leaves_the_model_as_it_was() -> None:
    model = model_like("wave-unet-16k", nn.BatchNorm1d(1).eval())
    found = reference_pipeline(model, AS_FOUND, torch.device("cpu"))
    assert found(torch.ones(1, 1, 8)).requires_grad
    assert not model.network.training
    assert model.network.num_batches_tracked == 0
    cached = reference_pipeline(model, CACHED_STFT, torch.device("cpu"))
    assert cached(torch.ones(1, 1, 8)).is_inference()


def test_statistics_are_those_of_trtexec() -> None:
    values = statistics([float(value) for value in range(1, 101)])
    assert (values["min"], values["max"], values["mean"], values["median"]) == (1, 100, 50.5, 50.5)
    assert (values["p90"], values["p95"], values["p99"]) == pytest.approx((90.1, 95.05, 99.01))


def test_a_slow_case_ends_early_but_not_before_five_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_timing, "CASE_SECONDS", 0.0)
    inputs = np.zeros(1, np.float32)
    calls = []
    timings = time_calls(lambda given: (calls.append(given) or given, None), inputs, repeats=100)
    assert (len(timings.calls), len(calls)) == (5, 3 + 5)
    assert timings.parts == []


@pytest.mark.parametrize("words", ["--only nonsense", "--batches 0", "--repeats 0"])
def test_impossible_options_are_refused(words: str) -> None:
    with pytest.raises(SystemExit) as exited:
        gpu.main(["--device", "cpu", *words.split()])
    assert exited.value.code == 2


def test_a_bundle_decides_the_model_and_its_weights(
    wave_unet_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--device", "cpu", "--bundle", str(wave_unet_bundle)]
    assert gpu.main([*words, "--model", "frcrn-16k"]) == 2
    assert "holds wave-unet-16k, not frcrn-16k" in capsys.readouterr().err
    loaded = gpu.load_for(gpu.parse(words), gpu.open_bundle(wave_unet_bundle))
    expected = load_model("wave-unet-16k", seed=1)
    assert loaded.weights == expected.weights
    assert gpu.main(["--device", "cpu", "--bundle", "/nowhere"]) == 2
    assert "no bundle here" in capsys.readouterr().err
