"""What is installed: every package, and the same program from a wheel as from the checkout."""

import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from tests.installed import checkout, environment, install, run

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, SETUPTOOLS = PYPROJECT["project"], PYPROJECT["tool"]["setuptools"]
TOP = ("calibration", "engines", "exporters", "runtime")


def test_every_package_is_listed() -> None:
    found = {
        ".".join(["frcrn_export", *path.parent.relative_to(ROOT).parts])
        for folder in TOP
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(SETUPTOOLS["packages"]) == {*found, "frcrn_export", "frcrn_export.exporters.assets"}
    assert len(SETUPTOOLS["packages"]) == len(set(SETUPTOOLS["packages"]))


def test_every_folder_with_modules_is_a_package() -> None:
    for folder in (*TOP, "frcrn_export"):
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), path


def test_the_packages_lie_at_the_top() -> None:
    expected = {f"frcrn_export.{name}": name for name in TOP} | {"frcrn_export": "frcrn_export"}
    assert SETUPTOOLS["package-dir"] == expected
    for package in expected:
        assert SETUPTOOLS["package-data"][package] == ["py.typed"]
    assert all((ROOT / folder / "py.typed").is_file() for folder in expected.values())


def test_pythons_are_named_as_they_are_required() -> None:
    required = SpecifierSet(PROJECT["requires-python"])
    named = re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
    assert named == [f"3.{minor}" for minor in range(30) if Version(f"3.{minor}") in required]
    assert f"Python {named[0]} to {named[-1]}" in (ROOT / "README.md").read_text()
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py" + named[0].replace(".", "")


def test_the_makefile_alone_pins_a_version() -> None:
    lines = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    requirements = [Requirement(line) for line in (*PROJECT["dependencies"], *lines)]
    for requirement in requirements:
        assert not any(each.operator == "==" for each in requirement.specifier), requirement
    (pin,) = re.findall(r"^TORCH \?= torch==(.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    (torch,) = {str(each.specifier) for each in requirements if each.name == "torch"}
    assert Version(pin) in SpecifierSet(torch)


IMPORTS = """
import importlib
for package in ("runtime", "exporters", "calibration", "engines", "exporters.families"):
    print(importlib.import_module(f"frcrn_export.{package}").__path__[0])
from frcrn_export import Denoiser, load_model
from frcrn_export.runtime.streaming import StreamingDenoiser
"""


@pytest.mark.slow
@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
def test_the_program_runs_from_the_checkout_and_from_elsewhere(
    editable: bool, tmp_path: Path
) -> None:
    copy, elsewhere = checkout(tmp_path), tmp_path / "elsewhere"
    elsewhere.mkdir()
    python = environment(tmp_path / "venv")
    install(python, *(["--editable"] if editable else []), str(copy))
    shutil.rmtree(copy / "build", ignore_errors=True)
    home = copy if editable else tmp_path / "venv"
    program = python.with_name("frcrn-export")
    for folder in (copy, elsewhere):
        for command in ([python, "-m", "frcrn_export"], [program]):
            assert "models" in run([*command, "--help"], folder)
            assert "wave-unet-16k" in run([*command, "models"], folder)
        places = run([python, "-c", IMPORTS], folder).splitlines()
        assert len(places) == 5
        assert all(Path(place).is_relative_to(home) for place in places), places
    # One that opens files of the packages, one of the runtime, one of the face.
    tests = ["tests/exporters/test_default_weights.py", "tests/runtime/audio/test_level.py"]
    tests += ["tests/frcrn_export/test_face.py"]
    fast = ["-m", "not slow", "-p", "no:cacheprovider"]
    run([python, "-m", "pytest", *fast, *tests], copy)


@pytest.mark.slow
def test_the_wheel_has_what_the_packages_have(tmp_path: Path) -> None:
    copy = checkout(tmp_path)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, copy], tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    top = {name: copy / name for name in TOP} | {".": copy / "frcrn_export"}
    expected = {
        (Path("frcrn_export") / name / path.relative_to(folder)).as_posix()
        for name, folder in top.items()
        for path in folder.rglob("*")
        if path.is_file()
        and (
            path.suffix in (".py", ".typed")
            or path.name.endswith(".schema.json")
            or path.parent.name == "assets"
        )
    }
    assert packed == expected
