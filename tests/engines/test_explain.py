"""The printed commands are right: Polygraphy's are run, their flags and the others' are checked."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from frcrn_export.engines.explain import explain
from frcrn_export.runtime.bundle.manifest import TensorrtBackend
from tests.engines.tiny import options, tiny_core

POLYGRAPHY = Path(sys.executable).with_name("polygraphy")
RTX = "POLYGRAPHY_USE_TENSORRT_RTX"

# What NVIDIA documents: trtexec of TensorRT 10 and 11, tensorrt_rtx 1.7.
DOCUMENTED = {
    "trtexec": {
        "onnx", "saveEngine", "minShapes", "optShapes", "maxShapes", "stronglyTyped",
        "memPoolSize", "timingCacheFile", "hardwareCompatibilityLevel", "refit", "noTF32",
        "profilingVerbosity", "skipInference",
    },
    "tensorrt_rtx": {
        "onnx", "saveEngine", "minShapes", "optShapes", "maxShapes", "computeCapabilities",
        "memPoolSize", "refit", "noTF32", "profilingVerbosity", "skipInference",
    },
}  # fmt: skip

ALL_OF_RTX = options(workspace_bytes=1 << 28, refittable=True, tf32=False)
ALL_OF_CLASSIC = options(
    "tensorrt",
    workspace_bytes=1 << 28,
    timing_cache=Path("my timings"),
    hardware_compatible=True,
    refittable=True,
    tf32=True,
)


def commands(backend: TensorrtBackend) -> list[str]:
    chosen = ALL_OF_RTX if backend == "tensorrt-rtx" else ALL_OF_CLASSIC
    return explain(Path("core.fp16.onnx"), Path("my.engine"), "spec", chosen, 45.0)


def test_trtexec_with_everything() -> None:
    assert shlex.split(commands("tensorrt")[0]) == [
        "trtexec",
        "--onnx=core.fp16.onnx",
        "--saveEngine=my.engine",
        "--minShapes=spec:1x2x65x1",
        "--optShapes=spec:1x2x65x10",
        "--maxShapes=spec:2x2x65x20",
        "--stronglyTyped",
        "--memPoolSize=workspace:268435456B",
        "--timingCacheFile=my timings",
        "--hardwareCompatibilityLevel=ampere+",
        "--refit",
        "--profilingVerbosity=detailed",
        "--skipInference",
    ]


def test_tensorrt_rtx_names_the_sm() -> None:
    words = shlex.split(commands("tensorrt-rtx")[0])
    assert words[0] == "tensorrt_rtx"
    assert "--computeCapabilities=89" in words
    assert "--noTF32" in words


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_builders_have_these_flags(backend: TensorrtBackend) -> None:
    tool, *flags = shlex.split(commands(backend)[0])
    assert {flag.removeprefix("--").split("=")[0] for flag in flags} <= DOCUMENTED[tool]


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("tool", ["convert", "run"])
def test_polygraphy_has_these_flags(backend: TensorrtBackend, tool: str) -> None:
    environment = os.environ | {RTX: "1" if backend == "tensorrt-rtx" else "0"}
    shown = subprocess.run(
        [POLYGRAPHY, tool, "--help"], env=environment, capture_output=True, text=True, check=True
    ).stdout
    known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", shown))
    printed = [line for line in commands(backend) if f"polygraphy {tool} " in line]
    flags = {word for line in printed for word in shlex.split(line) if re.match("--?[a-z]", word)}
    assert flags
    assert flags <= known


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_polygraphy_uses_the_same_backend(backend: TensorrtBackend) -> None:
    _, build, reference, comparison = commands(backend)
    rtx = backend == "tensorrt-rtx"
    assert build.startswith(f"{RTX}=1 polygraphy convert" if rtx else "polygraphy convert")
    assert comparison.startswith(f"{RTX}=1 polygraphy run" if rtx else "polygraphy run")
    assert reference.startswith("polygraphy run core.fp16.onnx --onnxrt")
    assert comparison.endswith("--compare snr --snr-threshold 45")


@pytest.mark.slow
def test_the_commands_run_as_far_as_they_do_without_a_gpu(tmp_path: Path) -> None:
    core, engine = tiny_core(tmp_path / "core.fp16.onnx"), tmp_path / "my own.engine"
    _, build, reference, _ = explain(core, engine, "spec", options(workspace_bytes=1 << 28), 45.0)
    path = f"{POLYGRAPHY.parent}:{os.environ['PATH']}"
    for command in (build, reference):
        subprocess.run(
            command, shell=True, env=os.environ | {"PATH": path}, capture_output=True, check=True
        )
    assert engine.read_bytes()[1:4] == b"trt"
    assert Path(f"{engine}.outputs.json").exists()
