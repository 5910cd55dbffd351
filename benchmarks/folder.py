"""A folder of short files: this tree against the loop before `--jobs`, whole commands in turn.

    python benchmarks/folder.py [--files 1000] [--seconds 1] [--repeats 5] [--revision 016e36a]
                                [--rate 16000] [--export "--model wave-unet-16k"] [--json NAME]

Each command is a process of its own, from start to end. The earlier revision is unpacked from git,
and each tree exports its own bundle. The audio is noise: time does not depend on what is said.
Writes results/folder.json, or NAME.json there.
"""

import argparse
import filecmp
import io
import os
import shlex
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import soundfile
from machine import RESULTS, summary, write

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("calibration", "engines", "exporters", "runtime")


def unpack(revision: str, folder: Path) -> Path:
    """A revision's tree, with its packages where Python finds them."""
    archive = subprocess.run(
        ["git", "archive", revision], cwd=ROOT, check=True, capture_output=True
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    for package in PACKAGES:
        (folder / "frcrn_export" / package).symlink_to(folder / package)
    return folder


def run(tree: Path | None, *arguments: str) -> tuple[float, float]:
    """Wall and processor seconds of a command, by a tree or as installed."""
    environment = dict(os.environ)
    if tree is not None:
        environment["PYTHONPATH"] = str(tree)
    command = [sys.executable, "-m", "frcrn_export", *arguments]
    before = os.times()
    started = perf_counter()
    subprocess.run(command, check=True, env=environment, cwd=tree or ROOT, capture_output=True)
    wall = perf_counter() - started
    after = os.times()
    children = (after.children_user - before.children_user, after.children_system)
    return wall, children[0] + children[1] - before.children_system


def make_folder(folder: Path, files: int, seconds: float, rate: int) -> None:
    """Files of noise, mono, 16 bits."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(files):
        noise = 0.1 * rng.standard_normal(round(seconds * rate))
        soundfile.write(folder / f"{number:05}.wav", noise, rate)


def same_files(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    equal, _, _ = filecmp.cmpfiles(one, other, names, shallow=False)
    return len(equal) == len(names) == len(list(other.iterdir()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rate", type=int, default=16_000, help="of the files, in Hz")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--revision", default="016e36a", help="the loop before --jobs")
    parser.add_argument("--export", default="--model wave-unet-16k", help="options of the export")
    parser.add_argument("--json", default="folder", help=f"name of the result in {RESULTS}")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_folder(work / "in", args.files, args.seconds, args.rate)
        before = unpack(args.revision, work / "before")
        for tree in (before, None):
            bundle = work / ("before.bundle" if tree else "bundle")
            run(tree, "onnx", *shlex.split(args.export), "--output", str(bundle))
        commands: dict[str, tuple[Path | None, str, list[str]]] = {
            "before": (before, "before.bundle", []),
            "one at a time": (None, "bundle", ["--jobs", "1"]),
            "default": (None, "bundle", []),
        }
        wall: dict[str, list[float]] = {label: [] for label in commands}
        busy: dict[str, list[float]] = {label: [] for label in commands}
        for _ in range(args.repeats):
            for label, (tree, bundle_name, options) in commands.items():
                words = ["denoise", str(work / bundle_name), str(work / "in"), "--force", *options]
                seconds, processor = run(tree, *words, "--output", str(work / label))
                wall[label].append(seconds)
                busy[label].append(processor)
            print({label: round(values[-1], 2) for label, values in wall.items()}, flush=True)
        equal = same_files(work / "one at a time", work / "default")
    ratios = {
        label: summary([a / b for a, b in zip(wall["before"], wall[label], strict=True)])
        for label in ("one at a time", "default")
    }
    for label, ratio in ratios.items():
        print(f"{label}: {ratio['median']:.2f} times the speed of {args.revision}")
    result = {
        "options": {key: value for key, value in vars(args).items() if key != "json"},
        "wall_seconds": {label: summary(values) for label, values in wall.items()},
        "processor_seconds": {label: summary(values) for label, values in busy.items()},
        "speed_against_before": ratios,
        "outputs_equal": equal,
    }
    print(write(args.json, result))


if __name__ == "__main__":
    main()
