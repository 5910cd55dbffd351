"""Peak memory and real-time factor of the runtime on long files, and what importing it takes.

    python benchmarks/runtime_memory.py BUNDLE [--minutes 1 5 60] [--threads 2] [--rate 16000]
                                        [--backend auto] [--json OUT]

Every file is denoised in a fresh process, from disk to disk, through `frcrn_export.runtime`. The
peak is the kernel's VmHWM of that process (Linux), everything included: interpreter, libraries,
weights. The audio is noise: neither memory nor time depends on what is said. Writes
results/runtime_memory.json, or OUT.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

RESULTS = Path(__file__).resolve().parent / "results"
IMPORT_RUNS = 9


@dataclass(frozen=True)
class Measurement:
    """One file through the runtime."""

    minutes: float
    peak_mib: float
    seconds: float
    real_time_factor: float


def write_noise(path: Path, minutes: float, rate: int) -> None:
    """A mono 16-bit file of bursts of noise, written a minute at a time."""
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    left = round(minutes * 60 * rate)
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        while left:
            n = min(left, 60 * rate)
            envelope = np.sin(np.arange(n) * (2 * np.pi / rate)) ** 2
            file.write(0.1 * envelope * rng.standard_normal(n))
            left -= n


def denoise_here(bundle: Path, source: Path, backend: str, threads: int) -> None:
    """What the fresh process does; prints its measurement as JSON."""
    from frcrn_export.runtime import Denoiser
    from frcrn_export.runtime.bench.machine import peak_bytes
    from frcrn_export.runtime.files.denoise import denoise_file
    from frcrn_export.runtime.files.jobs import Job

    denoiser = Denoiser.open(bundle, backend, threads)
    result = denoise_file(denoiser, Job(source, source.with_suffix(".out.wav")))
    measurement = Measurement(
        minutes=result.audio_seconds / 60,
        peak_mib=round((peak_bytes() or 0) / 2**20, 1),
        seconds=round(result.elapsed_seconds, 2),
        real_time_factor=round(result.real_time_factor, 4),
    )
    print(json.dumps(asdict(measurement)))


def measure(args: argparse.Namespace, minutes: float, folder: Path) -> Measurement:
    source = folder / f"{minutes:g}min.wav"
    write_noise(source, minutes, args.rate)
    command = [sys.executable, __file__, str(args.bundle), "--denoise", str(source)]
    command += ["--backend", args.backend, "--threads", str(args.threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    source.with_suffix(".out.wav").unlink()
    source.unlink()
    return Measurement(**json.loads(output.stdout))


def import_seconds() -> list[float]:
    """Wall time of `python -c "import frcrn_export.runtime"` less that of `python -c pass`."""

    def run(code: str) -> float:
        started = perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return perf_counter() - started

    bare = median(run("pass") for _ in range(IMPORT_RUNS))
    return [run("import frcrn_export.runtime") - bare for _ in range(IMPORT_RUNS)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 5, 60])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rate", type=int, default=16_000, help="sample rate of the files, in Hz")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--json", type=Path, default=RESULTS / "runtime_memory.json")
    parser.add_argument("--denoise", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.denoise:
        denoise_here(args.bundle, args.denoise, args.backend, args.threads)
        return

    imports = import_seconds()
    print(f"import frcrn_export.runtime: {median(imports):.3f} s (max {max(imports):.3f})")
    measurements = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes in args.minutes:
            result = measure(args, minutes, Path(folder))
            measurements.append(result)
            print(
                f"{minutes:g} min: peak {result.peak_mib:.0f} MiB, {result.seconds:.1f} s, "
                f"RTF {result.real_time_factor:.4f}"
            )
    report = {
        "bundle": args.bundle.name,
        "model": json.loads((args.bundle / "manifest.json").read_text())["model"],
        "backend": args.backend,
        "threads": args.threads,
        "rate": args.rate,
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "import_seconds": {"median": round(median(imports), 4), "max": round(max(imports), 4)},
        "files": [asdict(measurement) for measurement in measurements],
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
