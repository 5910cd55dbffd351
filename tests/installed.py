"""The program as users install it: from a copy of the checkout, into an environment of its own."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]


def checkout(folder: Path) -> Path:
    """A copy of what a clone has, to build in."""
    left_out = shutil.ignore_patterns(".*", "build", "demo", "dist", "runs", "*.egg-info", "__pyc*")
    return shutil.copytree(ROOT, folder / "checkout", ignore=left_out)


def environment(folder: Path) -> Path:
    """The interpreter of a new environment that has what this one has, but for this project."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
    python = scripts / Path(sys.executable).name
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run([python, "-c", where], folder).strip())
    # A .pth file adds the folder, and not what the .pth files in it would add.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python


def install(python: Path, *what: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    options = ["--no-deps", "--no-index", "--no-build-isolation"]
    run([*command, "--python", str(python), "install", *options, *what], ROOT)


def run(command: list[str | Path], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout
