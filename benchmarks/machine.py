"""What every benchmark writes beside its figures: the machine, the versions, medians and spread."""

import json
import statistics
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from frcrn_export.runtime.bench.machine import this_machine

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Processor, cores, system and the versions that matter."""
    here = this_machine()
    names = ("frcrn-export", "torch", "onnx", "onnxruntime", "numpy")
    return {
        "processor": here.processor,
        "cores": here.cores,
        "system": here.system,
        "python": here.python,
        "versions": {name: _version(name) for name in names},
    }


def summary(values: list[float]) -> dict[str, float]:
    """Median, quartiles and count of repeated measurements."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "q1": low, "q3": high, "n": len(values)}


def write(name: str, result: dict[str, Any]) -> Path:
    """Write a result with the machine it is from to `results/NAME.json`."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")
    return path


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
