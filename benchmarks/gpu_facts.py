"""What a result is worth nothing without: the GPU, its clocks, the versions, the commit."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine

_PACKAGES = ("onnxruntime-gpu", "tensorrt", "tensorrt-rtx", "cuda-core", "triton")
_STATE = ("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw")
_LIMITS = ("driver_version", "clocks.max.sm", "clocks.max.mem", "power.limit")


def facts(device: torch.device) -> dict[str, Any]:
    """The machine, the versions and the commit; on a GPU also its facts and PyTorch's settings."""
    here = machine()
    here["versions"] |= {name: _version(name) for name in _PACKAGES}
    here["commit"] = _output("git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD")
    here["torch threads"] = torch.get_num_threads()
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(0)
        here["gpu"] = {
            "name": properties.name,
            "sm": f"{properties.major}.{properties.minor}",
            "memory_bytes": properties.total_memory,
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "convolutions_in_tf32": torch.backends.cudnn.allow_tf32,
            "products_in_tf32": torch.backends.cuda.matmul.allow_tf32,
            **_query(_LIMITS),
        }
    return here


def gpu_state(device: torch.device) -> dict[str, str]:
    """Clocks in MHz, temperature and power now, as nvidia-smi has them; empty where it has not."""
    return _query(_STATE) if device.type == "cuda" else {}


def _query(fields: tuple[str, ...]) -> dict[str, str]:
    gpu = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
    query = f"--query-gpu={','.join(fields)}"
    shown = _output("nvidia-smi", "-i", gpu, query, "--format=csv,noheader")
    values = [value.strip() for value in shown.split(",")]
    return dict(zip(fields, values, strict=True)) if len(values) == len(fields) else {}


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
