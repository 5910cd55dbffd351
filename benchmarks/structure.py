"""The structure of the product: modules, lines, imports, circles, and the path of an export.

    python benchmarks/structure.py [--baseline COMMIT_OR_FOLDER] [--order] [--json]

Writes results/structure.json. The way of an export: while `frcrn-export onnx` of the default model
runs, a file is entered when a function of it is called and the last function called was of another
file; it is returned to where that is not the first time. What modules do when they are imported
does not count, nor do Python's and the libraries' files.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import write  # noqa: E402
from benchmarks.source_tree import PACKAGES, SourceTree  # noqa: E402

BASELINE = "a8e5b65"

# Prints the files in the order in which they are entered. The first arguments are the folder with
# the packages and the module of the command line, the others are the command.
_WALK = """
import importlib, json, os, sys
root, module = sys.argv.pop(1) + os.sep, sys.argv.pop(1)
entered, last, importing, files = [], None, 0, {}

def note(frame, event, argument):
    global last, importing
    code = frame.f_code
    if code not in files:
        path = code.co_filename
        files[code] = path[len(root):] if path.startswith(root) else ""
    file = files[code]
    if not file:
        return
    if code.co_name == "<module>":
        importing += {"call": 1, "return": -1}.get(event, 0)
    elif event == "call" and not importing and file != last:
        entered.append(file)
        last = file

main = importlib.import_module(module).main
sys.setprofile(note)
try:
    main()
except SystemExit as left:
    sys.setprofile(None)
    if left.code:
        raise
json.dump(entered, sys.__stdout__)
"""


def checkout(baseline: str, folder: Path) -> Path:
    """A folder with a baseline: the one named, or what a commit of this repository has."""
    if Path(baseline).is_dir():
        return Path(baseline).resolve()
    packed = subprocess.run(
        ["git", "archive", baseline], cwd=ROOT, check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def files_entered(root: Path) -> list[str]:
    """The product's files in the order in which an export of the default model enters them."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder).resolve() / "frcrn_export"
        package.mkdir()
        parts = [root / name for name in PACKAGES if name != package.name]
        for part in (*parts, *(root / package.name).glob("*.py")):
            (package / part.name).symlink_to(part)
        older = (root / "exporters/cli.py").is_file()
        module = "frcrn_export.exporters.cli" if older else "frcrn_export.cli"
        command = ["onnx", "--json", "-o", "bundle"]
        walked = subprocess.run(
            [sys.executable, "-c", _WALK, str(package), module, *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
        )
    if walked.returncode:
        sys.exit(f"{root}: the export failed: {walked.stderr}")
    found: list[str] = json.loads(walked.stdout.splitlines()[-1])
    face = {path.name for path in (root / package.name).glob("*.py")}
    return [f"{package.name}/{file}" if file in face else file for file in found]


def way(entered: list[str]) -> dict[str, Any]:
    """How many files, returns to one that was left, and each file with how often it was entered."""
    times: dict[str, int] = {}
    for file in entered:
        times[file] = times.get(file, 0) + 1
    steps = dict.fromkeys(pairwise(entered))
    return {
        "files": len(times),
        "returns": len(entered) - len(times),
        "different steps from file to file": len(steps),
        "entered": times,
    }


def measure(root: Path, names: SourceTree) -> dict[str, Any]:
    """All figures of a checkout. The networks' names are those that `names` knows."""
    tree = SourceTree(root)
    modules = tree.modules()
    sizes = {file: tree.texts[file].count("\n") for file in tree.python}
    naming = {each.file for each in tree.namings(names.network_names())}
    return {
        "modules": len(modules),
        "lines of code": tree.lines(),
        "longest file": max(sizes.values()),
        "imports upwards": [str(each) for each in tree.upward()],
        "circles of files": tree.file_circles(),
        "circles of folders": tree.folder_circles(),
        "files that name a network": sorted(naming),
        "onnx of the default model": way(files_entered(root)),
    }


def rows(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """The figures as counts, in the order of the table."""
    walked = figures["onnx of the default model"]
    counts = [
        (name, str(value if isinstance(value, int) else len(value)))
        for name, value in figures.items()
        if value is not walked
    ]
    steps = [(f"onnx: {name}", str(walked[name])) for name in walked if name != "entered"]
    return counts + steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--baseline", default=BASELINE, help="a commit, or a folder")
    parser.add_argument("--order", action="store_true", help="print each file that onnx enters")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    now = SourceTree(ROOT)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        before = measure(checkout(arguments.baseline, folder), now)
    after = measure(ROOT, now)
    baseline = Path(arguments.baseline).name
    path = write("structure", {"baseline": baseline, "before": before, "after": after})
    if arguments.json:
        print(path.read_text())
        return
    print(f"{'':42s} {baseline:>10s} {'now':>10s}")
    for (name, old), (_, new) in zip(rows(before), rows(after), strict=True):
        print(f"{name:42s} {old:>10s} {new:>10s}")
    if arguments.order:
        for file, times in after["onnx of the default model"]["entered"].items():
            print(f"{times:6d} times  {file}")
    print(path)


if __name__ == "__main__":
    main()
