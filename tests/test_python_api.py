"""docs/python.md and the docstrings of the public names: complete, and their examples run."""

import doctest
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import frcrn_export
from frcrn_export import cli
from frcrn_export.calibration import calibrate
from frcrn_export.exporters.assets import DEMO_CLEAN, DEMO_NOISY

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/python.md").read_text()
ERRORS = {name for name in frcrn_export.__all__ if name.endswith(("Error", "Failed"))}
NAMES = [name for name in frcrn_export.__all__ if name not in ERRORS]
# What is only a choice of values shows itself in the examples of those that take it.
FUNCTIONS = [name for name in NAMES if name != "StreamingOptions"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples take: a bundle, recordings, pairs."""
    folder = tmp_path_factory.mktemp("work")
    samples, rate = soundfile.read(DEMO_NOISY)
    soundfile.write(folder / "noisy.wav", samples[: 2 * rate], rate)
    (folder / "recordings").mkdir()
    soundfile.write(folder / "recordings/one.flac", samples[:rate], rate)
    (folder / "pairs").mkdir()
    shutil.copy(DEMO_NOISY, folder / "pairs/demo.noisy.flac")
    shutil.copy(DEMO_CLEAN, folder / "pairs/demo.clean.flac")
    return folder


@pytest.fixture(scope="module")
def exported(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(work, tmp_path_factory.mktemp("exported") / "work")
    with pytest.raises(SystemExit) as left:
        cli.main(["onnx", "--streaming", "--fp16", "-o", str(folder / "wave")])
    assert not left.value.code
    return folder


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is faster depends on the processor, and on what else it does."""
    monkeypatch.setattr(calibrate, "measure_speed", lambda *args, **options: None)


def members(name: str) -> Iterator[tuple[str, Any]]:
    """A public name, and if it is a class its public methods."""
    found = getattr(frcrn_export, name)
    yield name, found
    if inspect.isclass(found):
        for method, value in vars(found).items():
            function = value.__func__ if isinstance(value, classmethod) else value
            if inspect.isfunction(function) and (
                not method.startswith("_") or method == "__call__"
            ):
                yield f"{name}.{method}", function


CALLABLES = [
    pytest.param(found, id=label)
    for name in FUNCTIONS
    for label, found in members(name)
    if inspect.isfunction(found)
]


@pytest.mark.parametrize("function", CALLABLES)
def test_every_argument_is_documented(function: Any) -> None:
    doc = inspect.getdoc(function) or ""
    signature = inspect.signature(function)
    names = [name for name in signature.parameters if name not in ("self", "cls")]
    assert re.findall(r"^    (\w+): ", section(doc, "Args"), re.MULTILINE) == names
    if signature.return_annotation is not None:
        assert section(doc, "Returns").strip()
    if function.__name__ not in ("reset",):
        assert re.search(r"^    \w+: ", section(doc, "Raises"), re.MULTILINE)


def section(doc: str, title: str) -> str:
    """The lines of a section of a docstring in Google's form."""
    lines = doc.partition(f"\n{title}:\n")[2].splitlines()
    end = next((i for i, line in enumerate(lines) if line and line[0] != " "), len(lines))
    return "\n".join(lines[:end])


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE or f" {name}(" in PAGE or f"={name}(" in PAGE


@pytest.mark.slow
@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_in_the_docstring(
    name: str, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(exported, tmp_path / "work")
    monkeypatch.chdir(folder)
    known = {"frcrn_export": frcrn_export, "np": np, "soundfile": soundfile}
    found = getattr(frcrn_export, name)
    (test,) = doctest.DocTestFinder(recurse=False).find(found, name, globs=known)
    assert test.examples, f"{name} has no example"
    assert re.search(r"^Example:$", inspect.getdoc(found) or "", re.MULTILINE)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    assert not said, "".join(said)


@pytest.mark.slow
@pytest.mark.usefixtures("unhurried")
def test_the_page_runs(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(work, tmp_path / "work")
    monkeypatch.chdir(folder)
    snippets = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(snippets) >= 6
    names: dict[str, Any] = {"__name__": "page"}
    for snippet in snippets[:-1]:
        exec(compile(snippet, "docs/python.md", "exec"), names)
    for made in ("clean.wav", "streamed.wav"):
        assert soundfile.info(made).frames == soundfile.info("noisy.wav").frames
    # The last sets up the logging of the whole process.
    program = f"from frcrn_export import export_onnx, load_model\n{snippets[-1]}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "exporting" in done.stdout
    said = done.stderr.splitlines()
    assert "frcrn_export.exporters.bundle: exporting core.onnx" in said
    assert all(line.startswith("frcrn_export.") for line in said)


QUIET = """
import logging, warnings
import torch.onnx
from frcrn_export import StreamingOptions, export_onnx, export_torchscript, load_model, verify

def state():
    levels = {name: logging.getLogger(name).level for name in ("", "torch", "torch.onnx")}
    return list(warnings.filters), warnings.showwarning, levels

model = load_model("wave-unet-16k", seed=1)
export_torchscript(model, "script")  # what it imports adds filters of its own
before = state()
export_onnx(model, "wave", fp16=True, streaming=StreamingOptions())
export_torchscript(model, "wave")
assert verify("wave", backends=["torchscript", "onnxruntime-cpu"]).passed
assert state() == before
"""


@pytest.mark.slow
def test_nothing_reaches_standard_error(tmp_path: Path) -> None:
    """Nor are the program's warnings and logging other ones afterwards."""
    command = [sys.executable, "-c", QUIET]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
