"""benchmarks/structure.py: on small trees, and on this one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import structure
from benchmarks.source_tree import SourceTree

ROOT = Path(__file__).parents[2]


def test_the_way_from_file_to_file() -> None:
    found = structure.way(["a", "b", "a", "b", "c", "a"])
    assert (found["files"], found["returns"]) == (3, 3)
    assert found["different steps from file to file"] == 4
    assert found["entered"] == {"a": 3, "b": 2, "c": 1}


def test_what_an_import_does_is_no_step(tmp_path: Path) -> None:
    """Functions called while a module is imported are left out, those called later are not."""
    package = tmp_path / "product" / "frcrn_export"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("def early(): ...\ndef late(): ...\nclass A:\n    b = 1\n")
    (package / "other.py").write_text(
        "from frcrn_export.helper import early\nearly()\ndef run(): ...\n"
    )
    (package / "cli.py").write_text(
        "def main():\n"
        "    import frcrn_export.other as other\n"
        "    from frcrn_export.helper import late\n"
        "    other.run(); late(); own(); late()\n"
        "def own(): ...\n"
    )
    entered = structure.files_entered(tmp_path / "product")
    assert entered == [
        "frcrn_export/cli.py",
        "frcrn_export/other.py",
        "frcrn_export/helper.py",
        "frcrn_export/cli.py",
        "frcrn_export/helper.py",
    ]


def test_the_tables_of_two_checkouts_have_the_same_rows() -> None:
    walked = structure.way(["a", "b"])
    figures = {"modules": 3, "imports upwards": ["x"], "onnx of the default model": walked}
    assert structure.rows(figures) == [
        ("modules", "3"),
        ("imports upwards", "1"),
        ("onnx: files", "2"),
        ("onnx: returns", "0"),
        ("onnx: different steps from file to file", "1"),
    ]


@pytest.mark.slow
def test_both_sides_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path), "--baseline", str(ROOT), "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert found["before"] == found["after"]
    assert found["after"]["modules"] == len(SourceTree(ROOT).modules())
    assert "frcrn_export/cli.py" in found["after"]["onnx of the default model"]["entered"]


RUN = """
import sys
from pathlib import Path
from benchmarks import machine, structure
machine.RESULTS = Path(sys.argv.pop(1))
structure.main()
"""
