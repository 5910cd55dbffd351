import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from frcrn_export.runtime.bench.result import read_result
from frcrn_export.runtime.bench.tables import result_tables
from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.commands.bench import bench, print_result
from frcrn_export.runtime.commands.console import JsonOutput
from frcrn_export.runtime.errors import CheckFailed, UserError
from tests.bundles import write_bundle

SHORT = ("--kind", "offline", "--threads", 1, "--length", 0.1, "--seconds", 0.3)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "b")


def call(*args: object) -> Result:
    return CliRunner().invoke(bench, [str(arg) for arg in args])


def test_the_files_of_a_run(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = call(root, *SHORT, "-o", out, "--note", "because")
    assert done.exit_code == 0, done.output
    result = read_result(out / "result.json")
    assert result.note == "because"
    assert f"--output {out}" in result.command or f"-o {out}" in result.command
    assert (out / "result.md").read_text().startswith("# Benchmark of gain")
    assert "<svg" in (out / "result.html").read_text()
    for title in ("Recordings", "In a new process", "Exact counters", "Written: "):
        assert title in done.output


def test_a_run_there_is_not_replaced_unasked(root: Path, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("mine")
    done = call(root, "--counters", "-o", tmp_path)
    assert isinstance(done.exception, UserError)
    assert "--force" in str(done.exception)
    assert (tmp_path / "result.json").read_text() == "mine"
    assert call(root, "--counters", "-o", tmp_path, "--force").exit_code == 0
    assert read_result(tmp_path / "result.json").rows == ()


def test_a_page_needs_matplotlib_before_any_work(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr("frcrn_export.runtime.bench.bench.bench", lambda *_: pytest.fail("began"))
    done = call(root, "--counters", "-o", tmp_path / "out")
    assert isinstance(done.exception, UserError)
    assert str(done.exception).endswith('pip install "frcrn-export[bench]"')


def test_json_alone_is_printed(root: Path) -> None:
    done = call(root, "--counters", "--json")
    assert json.loads(done.stdout)["files"][0]["path"] == "core.onnx"


def test_a_row_that_fails_is_exit_code_1(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr("frcrn_export.runtime.bench.cases.Case.open", fails)
    done = call(root, *SHORT)
    assert isinstance(done.exception, CheckFailed)
    assert "out of luck" in str(done.exception)
    assert "failed" in done.output
    monkeypatch.setattr(JsonOutput, "printed", False)
    said = call(root, *SHORT, "--json")
    assert json.loads(said.stdout)["rows"][0]["failed"] == "out of luck"
    assert JsonOutput.printed  # the command line adds no second document


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--pin", "a"), "give numbers"),
        (("--pin", "9999"), "no such processors; there are: "),
        (("--seconds", "nan"), "is not a finite number"),
        (("--seconds", "inf"), "is not a finite number"),
        (("--capacity", "--scaling"), "one at a time"),
        (("--capacity", "--batch", 2), "--capacity takes no --batch"),
        (("again",), "frcrn-export compare"),
        (("--counters", "--seconds", 3), "--counters takes no --seconds; leave it out"),
        (("--file", "no.onnx"), "there are: core.onnx"),
    ],
)
def test_options_that_cannot_be(options: tuple[object, ...], said: str, root: Path) -> None:
    done = call(root, *options)
    assert done.exit_code != 0
    assert said in f"{done.output} {done.exception}"


def test_streams_of_a_bundle(small_wave_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frcrn_export.runtime.bench.bench.PACED_SECONDS", 0.1)
    done = call(small_wave_bundle.path, "--kind", "hop", "--kind", "hops", "--seconds", 0.5)
    assert done.exit_code == 0, done.output
    assert "Streams, hop by hop" in done.output
    assert " of 7" in done.output  # hops at real-time pace


def test_capacity_with_its_picture_and_its_line(
    small_wave_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_PROBE_SECONDS", "_PACED_SECONDS"):
        monkeypatch.setattr(f"frcrn_export.runtime.bench.capacity.{name}", 0.02)
    monkeypatch.setattr("frcrn_export.runtime.bench.capacity._MOST_STREAMS", 2)
    done = call(small_wave_bundle.path, "--capacity", "-o", tmp_path)
    assert done.exit_code == 0, done.output
    assert "Streams that this machine holds" in done.output
    assert read_result(tmp_path / "result.json").capacity


def test_the_layers_of_a_core(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frcrn_export.runtime.bench.peaks._REPEATS", 1)
    done = call(root, "--roofline", "--threads", 1)
    assert done.exit_code == 0, done.output
    assert "of attainable" in done.output


def test_how_the_cost_grows(root: Path) -> None:
    done = call(root, "--scaling", "--threads", 1, "--seconds", 1)
    assert done.exit_code == 0, done.output
    assert "How the cost grows" in done.output


MEASURED = sorted(
    path
    for mode in ("times", "capacity", "scaling", "roofline")
    for path in (Path(__file__).parents[3] / "benchmarks" / "results").glob(f"{mode}.*.json")
)


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit_the_terminal(
    path: Path, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_result(read_result(path))
    lines = [line for line in capsys.readouterr().out.splitlines() if line[:1] in "┏┃┡│└"]
    assert lines
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_what_a_narrow_terminal_may_leave_out_is_a_column(path: Path) -> None:
    for table in result_tables(read_result(path)):
        assert set(table.minor) < set(table.columns), table.title
        assert len(set(table.columns)) == len(table.columns), table.title
