"""Try the ends of the version ranges: export, verify and denoise with the oldest and the newest.

    python benchmarks/tried_versions.py [--torch VERSION] [--runtime-python PYTHON ...]

Makes an environment for each end with pip, and runs the default model in it. Where the registry
has CUDA builds of PyTorch alone they are several GB: `--torch` takes another version for both ends.
Each `--runtime-python` is an interpreter that the runtime alone is tried with, at its newest.
Writes results/tried_versions.json.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import write
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "exporters/assets/demo.noisy.flac"
EXTRAS = ("cpu", "export")


def requirements(extras: tuple[str, ...]) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in (*project["dependencies"], *optional)]


def oldest(requirement: Requirement) -> str:
    """The requirement at the lower end of its range."""
    (version,) = (each.version for each in requirement.specifier if each.operator == ">=")
    return f"{requirement.name}=={version}"


def run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def environment(folder: Path, python: str, packages: list[str], extras: tuple[str, ...]) -> Path:
    """A new environment with these packages and the project; its interpreter."""
    left_out = shutil.ignore_patterns(".*", "build", "demo", "runs", "tests", "*.egg-info")
    copy = shutil.copytree(ROOT, folder / "source", ignore=left_out)  # pip builds in the folder
    run(python, "-m", "venv", folder)
    inside = folder / "bin/python"
    pip = (inside, "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
    run(*pip, *packages, f"{copy}[{','.join(extras)}]")
    return inside


def versions(python: Path, names: list[str]) -> dict[str, str]:
    code = "import json, sys; from importlib.metadata import version\n"
    code += "print(json.dumps({n: version(n) for n in sys.argv[1:]}))"
    found: dict[str, str] = json.loads(run(python, "-c", code, *names))
    return found | {
        "python": run(python, "-c", "import platform; print(platform.python_version())")[:-1]
    }


def denoise(python: Path, bundle: Path, folder: Path) -> None:
    run(python, "-m", "frcrn_export", "denoise", bundle, DEMO, "-o", folder / "clean.flac")


def try_all(python: Path, folder: Path) -> float:
    """Export, verify and denoise; the lowest SNR against the reference, in dB."""
    bundle = folder / "bundle"
    run(python, "-m", "frcrn_export", "onnx", "--streaming", "--fp16", "-o", bundle)
    run(python, "-m", "frcrn_export", "torchscript", "-o", bundle)
    shown = json.loads(run(python, "-m", "frcrn_export", "verify", bundle, "--json"))
    denoise(python, bundle, folder)
    return min(float(each["snr_db"]) - float(each["floor_db"]) for each in shown["parity"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", help="the version of PyTorch, of both ends")
    parser.add_argument("--runtime-python", nargs="*", default=[], help="interpreters")
    arguments = parser.parse_args()
    needed = requirements(EXTRAS)
    names = [each.name for each in needed]
    ends = {"oldest": [oldest(each) for each in needed], "newest": names}
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for end, packages in ends.items():
            folder = Path(name) / end
            if arguments.torch:
                packages = [each for each in packages if not each.startswith("torch")]
                packages.append(f"torch=={arguments.torch}")
            python = environment(folder, sys.executable, packages, EXTRAS)
            margin = try_all(python, folder)
            result[end] = {"versions": versions(python, names), "least margin, dB": margin}
        for number, interpreter in enumerate(arguments.runtime_python):
            folder = Path(name) / str(number)
            python = environment(folder, interpreter, [], ("cpu",))
            denoise(python, Path(name) / "newest/bundle", folder)
            found = versions(python, [each.name for each in requirements(("cpu",))])
            result[f"runtime, Python {found['python']}"] = {"versions": found}
    for end, figures in result.items():
        print(end, *(f"{name} {version}" for name, version in figures["versions"].items()))
    print(write("tried_versions", {"tried": result}))


if __name__ == "__main__":
    main()
