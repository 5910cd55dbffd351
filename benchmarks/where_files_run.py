"""Where each file of a bundle runs: engines and versions, each in an environment of its own.

    python benchmarks/where_files_run.py BUNDLE ... [--environments FOLDER] [--engines NAME ...]
        [--add]

Every ONNX file of the bundles is loaded and run by every engine, on the same inputs, and compared
with ONNX Runtime as installed here. Packages come from PyPI and npm. `--environments` keeps the
environments for the next run, `--add` the results of other engines and files. Writes
results/where_files_run.json; `make bench-tables` makes the table of docs/versions.md of it. The
pieces in the environments are load_elsewhere.py and, for Node, load_elsewhere.mjs.
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `benchmarks`, run as a script too

from benchmarks.machine import RESULTS, write
from frcrn_export.runtime.bundle.manifest import UNKNOWN_END, FileEntry
from frcrn_export.runtime.bundle.reader import Bundle, open_bundle

HERE = Path(__file__).parent
NAME = "where_files_run"
SIZES = {"batch": 1, "frames": 40, "samples": 16_384}
SECONDS = 300  # for a file and an engine
PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet", "install")


@dataclass(frozen=True)
class Engine:
    """An engine: its title, the packages that it needs, and its function in load_elsewhere.py."""

    title: str
    packages: tuple[str, ...]
    function: str = "onnxruntime"
    node: bool = False


ENGINES = (
    Engine("onnxruntime 1.16", ("onnxruntime==1.16.3", "numpy<2")),
    Engine("onnxruntime 1.17", ("onnxruntime==1.17.3", "numpy<2")),
    Engine("onnxruntime 1.18", ("onnxruntime==1.18.1", "numpy<2")),
    Engine("onnxruntime 1.20", ("onnxruntime==1.20.1",)),
    Engine("onnxruntime 1.22", ("onnxruntime==1.22.1",)),
    Engine("onnxruntime, newest", ("onnxruntime",)),
    Engine("onnxruntime-web 1.17", ("onnxruntime-web@1.17.3",), node=True),
    Engine("onnxruntime-web, newest", ("onnxruntime-web",), node=True),
    Engine("OpenVINO", ("openvino", "numpy"), "openvino"),
    Engine("ncnn through pnnx", ("ncnn", "pnnx", "numpy"), "ncnn"),
    Engine("MNN", ("MNN", "numpy"), "mnn"),
)


def environment(engine: Engine, folder: Path) -> dict[str, str]:
    """Install an engine in a folder, where it is not there yet; the versions installed."""
    done = folder / "versions.json"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if engine.node:
            run(["npm", "install", "--silent", "--no-audit", "--no-fund", *engine.packages], folder)
            (name,) = (package.split("@")[0] for package in engine.packages)
            described = json.loads((folder / "node_modules" / name / "package.json").read_text())
            versions = {name: described["version"]}
        else:
            run([sys.executable, "-m", "venv", str(folder)], folder)
            python = str(folder / "bin/python")
            run([python, *PIP, *engine.packages], folder)
            names = [re.split("[<=>]", package)[0] for package in engine.packages]
            code = "import json, sys; from importlib.metadata import version\n"
            code += "print(json.dumps({n: version(n) for n in sys.argv[1:]}))"
            versions = json.loads(run([python, "-c", code, *names], folder))
        done.write_text(json.dumps(versions))
    found: dict[str, str] = json.loads(done.read_text())
    return found


def run(command: list[str], folder: Path, seconds: float = 1_800) -> str:
    """The output of a command. Raises RuntimeError with the last lines of what failed."""
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=quiet, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"took more than {seconds:g} s") from None
    if done.returncode < 0:
        raise RuntimeError(f"ended by signal {-done.returncode}")
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise RuntimeError(reason(said, done.returncode))
    return done.stdout


def reason(said: list[str], status: int) -> str:
    """The line of an error that names its reason."""
    errors = [line for line in said if re.search(r"\w*(Error|Exception|FAIL|Fail)\b.*:", line)]
    text = (errors or said or [f"exit {status}"])[-1]
    return re.sub(r"/\S+\.(cc|h|cpp|hpp):\d+ [^()]*\([^)]*\)|/tmp/\S+", "", text)[:300]


@dataclass(frozen=True)
class Case:
    """A file with inputs for it, and the outputs of ONNX Runtime as installed here."""

    title: str
    path: Path
    inputs: dict[str, Any]
    outputs: dict[str, Any]


def cases_of(bundle: Bundle) -> list[Case]:
    """A case for each ONNX file of a bundle."""
    import onnxruntime

    found = []
    for entry in bundle.manifest.files:
        if entry.format == "onnx":
            path = bundle.file(entry)
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            inputs = inputs_of(entry)
            names = [output.name for output in session.get_outputs()]
            outputs = dict(zip(names, session.run(None, inputs), strict=True))
            title = f"{bundle.manifest.model}: {entry.path}"
            found.append(Case(title, path, inputs, outputs))
    return found


def inputs_of(entry: FileEntry) -> dict[str, Any]:
    """Noise, and the states of the beginning."""
    rng = np.random.default_rng(0)
    inputs: dict[str, Any] = {}
    for tensor in entry.call_inputs:
        shape = [SIZES[size] if isinstance(size, str) else size for size in tensor.shape]
        inputs[tensor.name] = (0.1 * rng.standard_normal(shape)).astype(np.float32)
    if entry.streaming is not None:
        if entry.streaming.end is not None:
            inputs[entry.streaming.end] = np.full(SIZES["batch"], UNKNOWN_END, np.float32)
        for state in entry.streaming.states:
            shape = [SIZES["batch"], *state.row_shape]
            inputs[state.name] = np.full(shape, state.initial, state.dtype)
    return inputs


def outputs_of(engine: Engine, folder: Path, case: Case) -> list[Any]:
    """What an engine computes. Raises RuntimeError with its reason."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if engine.node:
            given = {
                key: {"type": str(a.dtype), "dims": a.shape, "data": a.ravel().tolist()}
                for key, a in case.inputs.items()
            }
            (scratch / "in.json").write_text(json.dumps(given))
            files = [str(case.path.resolve()), str(scratch / "in.json"), str(scratch / "out.json")]
            run(["node", str(HERE / "load_elsewhere.mjs"), *files], folder, SECONDS)
            made = json.loads((scratch / "out.json").read_text())
            return [np.reshape(each["data"], each["dims"]) for each in made.values()]
        np.savez(scratch / "in.npz", **case.inputs)
        files = [str(case.path.resolve()), str(scratch / "in.npz"), str(scratch / "out.npz")]
        python, worker = str(folder / "bin/python"), str(HERE / "load_elsewhere.py")
        names = ",".join(case.outputs)
        run([python, worker, engine.function, *files, names], scratch, SECONDS)
        with np.load(scratch / "out.npz") as arrays:
            return [arrays[key] for key in sorted(arrays.files)]


def agreement(expected: list[Any], found: list[Any]) -> float:
    """SNR in dB over all outputs; infinity where they are equal. Raises RuntimeError."""
    if len(found) != len(expected):
        raise RuntimeError(f"gives {len(found)} outputs of {len(expected)}")
    signal = noise = 0.0
    for wanted, got in zip(expected, found, strict=True):
        if wanted.size != got.size:
            raise RuntimeError(f"gives {list(got.shape)} where {list(wanted.shape)} is right")
        wanted, got = wanted.astype(np.float64).ravel(), got.astype(np.float64).ravel()
        signal += float(wanted @ wanted)
        noise += float((wanted - got) @ (wanted - got))
    if math.isnan(noise):
        raise RuntimeError("gives NaN")
    return math.inf if noise == 0 else 10 * math.log10(signal / noise)


def try_engine(engine: Engine, root: Path, cases: list[Case]) -> dict[str, Any]:
    folder = root / re.sub(r"\W+", "-", engine.title)
    try:
        result: dict[str, Any] = {"versions": environment(engine, folder)}
    except RuntimeError as error:
        return {"not installed": str(error)}
    for case in cases:
        try:
            snr = agreement(list(case.outputs.values()), outputs_of(engine, folder, case))
            result[case.title] = "equal" if math.isinf(snr) else round(snr, 1)
        except RuntimeError as error:
            result[case.title] = f"no: {error}"
        print(f"{engine.title}: {case.title}: {result[case.title]}", file=sys.stderr, flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--environments", type=Path, help="a folder that keeps them")
    parser.add_argument("--engines", nargs="*", help="only those whose title contains one of these")
    parser.add_argument("--add", action="store_true", help="to the results that are there")
    arguments = parser.parse_args()
    before: dict[str, Any] = {}
    if arguments.add and (RESULTS / f"{NAME}.json").is_file():
        before = json.loads((RESULTS / f"{NAME}.json").read_text())["engines"]
    cases = [case for path in arguments.bundles for case in cases_of(open_bundle(path))]
    chosen = [
        engine
        for engine in ENGINES
        if not arguments.engines or any(name in engine.title for name in arguments.engines)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.environments or Path(temporary)
        made = {engine.title: try_engine(engine, root.resolve(), cases) for engine in chosen}
    found = before | {title: {**before.get(title, {}), **each} for title, each in made.items()}
    results = {engine.title: found[engine.title] for engine in ENGINES if engine.title in found}
    print(write(NAME, {"sizes": SIZES, "engines": results}))


if __name__ == "__main__":
    main()
