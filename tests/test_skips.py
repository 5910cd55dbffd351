"""`--no-skips` refuses tests that were left out in silence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = "import pytest\n@pytest.mark.skip(reason='needs ../shared: x')\ndef test_a(): ...\n"
PASSES = "def test_a(): ...\n"


def run(folder: Path, text: str, *options: str) -> "subprocess.CompletedProcess[str]":
    (folder / "test_it.py").write_text(text)
    (folder / "conftest.py").write_text("pytest_plugins = 'tests.conftest'\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull]
    return subprocess.run(
        [*command, "--rootdir", str(folder), *options, str(folder)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            PASSES + "import pytest\n@pytest.mark.skip(reason='no compiler')\ndef test_b(): ...\n",
            "",
        ),
        (PASSES + "import pytest\ndef test_b(): pytest.skip('no compiler')\n", ""),
        ("import pytest\npytest.importorskip('not_here')\n" + PASSES, "not_here"),
    ],
)
@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_skip_is_a_failure(
    text: str, reason: str, workers: tuple[str, ...], tmp_path: Path
) -> None:
    done = run(tmp_path, text, "--no-skips", *workers)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "which --no-skips refuses: " in done.stdout
    assert (reason or "no compiler") in done.stdout
    assert run(tmp_path, PASSES + text, *workers).returncode in (0, 5)


@pytest.mark.parametrize("text", [PASSES, PASSES + ALLOWED.replace("test_a", "test_b")])
def test_what_is_allowed_is_none(text: str, tmp_path: Path) -> None:
    assert run(tmp_path, text, "--no-skips").returncode == 0
