"""Every measurement of one machine, and then every table: what `make bench` runs.

    python benchmarks/run.py [--only NAME ...] [--calib FOLDER --pairs FOLDER] [--long] [--list]

Steps run one after another, each in a process of its own; nothing else should run beside them. One
that fails is named at the end, and the others go on. `--calib` and `--pairs` are recordings for the
INT8 files and for quality, without which these are not measured. `--long` adds what takes hours, or
installs other versions.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
WORK = Path("build/bench")  # in ROOT, where every step runs: results name it
TOOL = str(Path(sys.executable).with_name("frcrn-export"))

# Random weights: the speed of FRCRN does not depend on them.
EXPORTS = {
    "wave-unet-16k": "--model wave-unet-16k --streaming",
    "frcrn-16k": "--model frcrn-16k --random-weights 0 --squeeze-excite cumulative --streaming",
}
# Also frames of FRCRN's streams in a call: less work a frame, and more delay.
CHUNKS = (2, 4)
CHUNKED = {f"frcrn-16k.{n}": f"{EXPORTS['frcrn-16k']} --chunk {n}" for n in CHUNKS}
MODES = {"times": "", "capacity": "--capacity", "scaling": "--scaling", "roofline": "--roofline"}
# A call of FRCRN takes seconds; what a run may take, where the mode has a budget.
SECONDS = {"frcrn-16k": "240"}
WITH_BUDGET = ("times", "scaling")
LONG = (
    "runtime_memory.py {frcrn} --minutes 1 --threads 2",
    "long_core.py {frcrn}",
    "folder.py --files 1000 --repeats 2",
    "stream_checks.py",
    "stream_threads.py {wave}",
    "engines.py --repeats 2",
    "soak.py",
    "lookahead.py",
    "structure.py",
    "tried_versions.py",
    "where_files_run.py {wave} {frcrn}",
)
# Not here: stream_forms.py takes a bundle of an older release, gpu.py a machine with a GPU.


@dataclass(frozen=True)
class Step:
    """A command, and the name of its result in results/.

    A program of this folder writes that itself. `frcrn-export bench` writes into the folder that
    follows its -o, and the result is copied from there.
    """

    name: str
    words: tuple[str, ...]
    result: str = ""

    @property
    def folder(self) -> Path | None:
        """The folder of a run of `frcrn-export bench`."""
        if self.words[:2] != (TOOL, "bench"):
            return None
        return Path(self.words[self.words.index("-o") + 1])


def steps(calib: Path | None, pairs: Path | None, long: bool) -> list[Step]:
    """All steps, the bundles first."""
    found = []
    for model, options in EXPORTS.items():
        bundle = str(WORK / model)
        words = (TOOL, "onnx", *shlex.split(options), "--force", "--output", bundle)
        found.append(Step(f"export {model}", words))
        if calib is not None and pairs is not None:
            recordings = ("--calib", str(calib), "--pairs", str(pairs))
            for kind in ((), ("--streaming",)):
                quantize = (TOOL, "calibrate", bundle, "--for", "cpu", "--auto", *recordings)
                name = f"INT8 of {model}{' streaming' * bool(kind)}"
                found.append(Step(name, (*quantize, "--allow-slower", *kind)))
    for model, options in CHUNKED.items():
        words = (TOOL, "onnx", *shlex.split(options), "--force", "--output", str(WORK / model))
        found.append(Step(f"export {model}", words))
    for model in EXPORTS:
        for mode, option in MODES.items():
            words = shlex.split(option)
            if model in SECONDS and mode in WITH_BUDGET:
                words += ["--seconds", SECONDS[model]]
            chunked = [name for name in CHUNKED if mode == "capacity" and name.startswith(model)]
            found.append(measured(f"{mode}.{model}", (model, *chunked), *words))
        for threads in ("1", "2"):
            words = ("side_by_side.py", str(WORK / model), "--threads", threads)
            made = f"side_by_side.{model}.{threads}"
            found.append(Step(f"side by side {model}, {threads}", script(*words), made))
    for model in ("frcrn-16k", *CHUNKED):
        words = ("--kind", "hop", "--threads", "1", "--threads", "2")
        found.append(measured(f"hops.{model}", (model,), *words))
    wave = str(WORK / "wave-unet-16k")
    for words in (
        ("record", wave, "--name", "quiet"),
        ("simulate",),
        ("real", wave),
    ):
        made = "verdict_samples.quiet" if words[0] == "record" else "verdicts"
        found.append(Step(f"verdicts {words[0]}", script("verdicts.py", *words), made))
    frcrn = str(WORK / "frcrn-16k")
    found.append(Step("C++", script("cpp.py", wave, frcrn), "cpp"))
    found.append(Step("commands", script("commands.py"), "commands"))
    if pairs is not None:
        words = ("default_model.py", str(pairs))
        found.append(Step("default_model", script(*words), "default_model"))
    if long and calib is not None and pairs is not None:
        words = ("int8.py", "--calib", str(calib), "--pairs", str(pairs))
        found.append(Step("int8", script(*words), "int8"))
    if long:
        places = {"wave": wave, "frcrn": str(WORK / "frcrn-16k")}
        for line in LONG:
            words = tuple(word.format(**places) for word in line.split())
            name = words[0].removesuffix(".py")
            found.append(Step(name, script(*words), name))
    return found


def measured(result: str, bundles: Sequence[str], *options: str) -> Step:
    """A run of `frcrn-export bench`."""
    words = (TOOL, "bench", *(str(WORK / name) for name in bundles))
    words += ("-o", str(WORK / result), "--force", *options)
    return Step(result.replace(".", " ", 1), words, result)


def script(name: str, *words: str) -> tuple[str, ...]:
    """A program of this folder."""
    return (sys.executable, str(ROOT / "benchmarks" / name), *words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], help="steps whose name contains one")
    parser.add_argument("--calib", type=Path, help="recordings to calibrate INT8 on")
    parser.add_argument("--pairs", type=Path, help="other recordings, to judge INT8 by")
    parser.add_argument("--long", action="store_true", help="also what takes hours")
    parser.add_argument("--list", action="store_true", help="name the steps and end")
    arguments = parser.parse_args()
    chosen = [
        step
        for step in steps(arguments.calib, arguments.pairs, arguments.long)
        if not arguments.only or any(word in step.name for word in arguments.only)
    ]
    if arguments.list:
        print("\n".join(step.name for step in chosen))
        return
    (ROOT / WORK).mkdir(parents=True, exist_ok=True)
    failed = []
    for step in chosen:
        started = time.perf_counter()
        print(f"== {step.name}: {shlex.join(step.words)}", flush=True)
        done = subprocess.run(step.words, cwd=ROOT)
        print(f"== {step.name}: {time.perf_counter() - started:.0f} s", flush=True)
        if done.returncode:
            failed.append(step.name)
        elif step.folder is not None:
            shutil.copy(ROOT / step.folder / "result.json", RESULTS / f"{step.result}.json")
    for name in ("tables.py", "picture.py"):
        if subprocess.run(script(name), cwd=ROOT).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
