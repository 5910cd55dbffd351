import sys
from pathlib import Path

import pytest

from frcrn_export.exporters.training.outputs import (
    CurvePoint,
    append_point,
    cut_curve,
    plot_curve,
    read_curve,
)
from frcrn_export.runtime.errors import UserError

POINTS = [
    CurvePoint(10, 1.0, -3.0, 1e-3, 0.5, 0.5),
    CurvePoint(20, 2.0, None, 1e-3, None, 0.5),
    CurvePoint(30, 3.0, -5.0, 5e-4, 1.5, 1.5),
]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for point in POINTS:
        append_point(tmp_path, point)
    return tmp_path


def test_points_are_read_as_written(run_dir: Path) -> None:
    assert len((run_dir / "curve.jsonl").read_text().splitlines()) == 3
    assert read_curve(run_dir) == POINTS


def test_a_half_written_line_is_left_out(run_dir: Path) -> None:
    path = run_dir / "curve.jsonl"
    path.write_text(path.read_text()[:-20])
    assert read_curve(run_dir) == POINTS[:2]
    cut_curve(run_dir, 100)
    append_point(run_dir, POINTS[2])
    assert read_curve(run_dir) == POINTS


def test_a_cut_forgets_what_came_later(run_dir: Path) -> None:
    cut_curve(run_dir, 20)
    assert read_curve(run_dir) == POINTS[:2]
    cut_curve(run_dir, -1)
    assert read_curve(run_dir) == []
    assert [path.name for path in run_dir.iterdir()] == ["curve.jsonl"]


def test_picture(run_dir: Path) -> None:
    picture = run_dir / "pictures" / "curve.png"
    plot_curve(run_dir, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in picture.parent.iterdir()] == ["curve.png"]


def test_no_picture(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="holds no curve.jsonl"):
        plot_curve(run_dir / "other", run_dir / "curve.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"frcrn-export\[plot\]"):
        plot_curve(run_dir, run_dir / "curve.png")
    assert not (run_dir / "curve.png").exists()
