"""Results and comparisons that tests make up."""

from frcrn_export.runtime.bench.machine import Machine
from frcrn_export.runtime.bench.result import FileCounters, Kind, Result, Row
from frcrn_export.runtime.bench.summary import summarise
from frcrn_export.runtime.bundle.manifest import ParityResult

MACHINE = Machine(
    processor="P",
    cores=2,
    usable=2,
    instructions=("avx2",),
    memory_bytes=1,
    system="Linux x86_64",
    python="3.11",
    versions={"onnxruntime": "1.32.0"},
)


def counters(path: str = "core.onnx", **changes: object) -> FileCounters:
    facts: dict[str, object] = {
        "role": "core",
        "format": "onnx",
        "precision": "fp32",
        "bytes": 1000,
        "operators": {"Conv": 3},
        "optimised": {"com.microsoft.FusedConv": 3},
        "parameters": 200,
        "flop": 400,
    }
    return FileCounters(path=path, **{**facts, **changes})  # type: ignore[arg-type]


def parity(snr_db: float, case: str = "core.7-frames", passed: bool = True) -> ParityResult:
    return ParityResult(
        artifact="core.onnx", case=case, snr_db=snr_db, max_abs=0.0, floor_db=90.0, passed=passed
    )


def row(ms: float | None = 10.0, kind: Kind = "offline", path: str = "core.onnx") -> Row:
    rounds = () if ms is None else tuple((ms * (1 + 0.001 * n), ms) for n in range(8))
    return Row(
        path=path,
        backend="onnxruntime-cpu",
        kind=kind,
        precision="fp32",
        threads=1,
        batch=1,
        audio_seconds=1.0,
        rounds=rounds,
        summary=summarise(rounds) if rounds else None,
        command="frcrn-export bench B",
        failed="" if rounds else "it broke",
    )


def result(
    *rows: Row, machine: Machine = MACHINE, anchor_ms: float = 1.0, **changes: object
) -> Result:
    facts: dict[str, object] = {
        "tool": "frcrn-export 0",
        "created": "2026-01-01T00:00:00+00:00",
        "command": "frcrn-export bench B",
        "model": "m",
        "weights": "w",
        "weights_sha256": "",
        "sample_rate": 16_000,
        "machine": machine,
        "seconds": 1.0,
        "anchor_ms": (anchor_ms,) * 6,
        "files": (counters(),),
        "parity": (parity(130.0),),
        "rows": rows,
    }
    return Result(**{**facts, **changes})  # type: ignore[arg-type]
