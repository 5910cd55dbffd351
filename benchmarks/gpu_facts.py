"""What a result is worth nothing without: the GPU, its clocks, the versions, the commit."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import torch

from benchmarks.machine import machine
from frcrn_export.runtime.bench.gpu_state import gpu_state, query_gpu

_PACKAGES = ("onnxruntime-gpu", "tensorrt", "tensorrt-rtx", "cuda-core", "triton")
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
            **query_gpu(_LIMITS),
        }
    return here


def state_of(device: torch.device) -> dict[str, Any]:
    """Clocks, temperature, power and what throttles a GPU now; empty where nobody knows."""
    state = gpu_state() if device.type == "cuda" else None
    return msgspec.to_builtins(state) if state else {}


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
