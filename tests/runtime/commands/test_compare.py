import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from frcrn_export.runtime.bench.result import read_result
from frcrn_export.runtime.commands.bench import bench
from frcrn_export.runtime.commands.compare import compare
from frcrn_export.runtime.errors import CheckFailed, UserError
from tests.bundles import write_bundle
from tests.runtime.bench.results import result, row


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "b")


@pytest.fixture
def twin(root: Path, tmp_path: Path) -> Path:
    """A copy of the bundle."""
    return Path(shutil.copytree(root, tmp_path / "twin"))


def call(*args: object) -> Result:
    return CliRunner().invoke(compare, [str(arg) for arg in args])


def counters(root: Path, out: Path) -> Path:
    done = CliRunner().invoke(bench, [str(root), "--counters", "-o", str(out)])
    assert done.exit_code == 0, done.output
    return out / "result.json"


def test_a_baseline_and_the_bundle_it_was_made_of(root: Path, tmp_path: Path) -> None:
    done = call(counters(root, tmp_path / "base"), root, "--exact")
    assert done.exit_code == 0, done.output
    assert "all passed" in done.output
    assert "counters: none differs" in done.output


def test_a_changed_counter_fails_with_all_reports(root: Path, tmp_path: Path) -> None:
    path = counters(root, tmp_path / "base")
    base = read_result(path)
    smaller = tuple(msgspec.structs.replace(each, bytes=1) for each in base.files)
    path.write_bytes(msgspec.structs.replace(base, files=smaller).to_json())
    reports = {name: tmp_path / name for name in ("c.md", "c.xml", "c.jsonl")}
    done = call(
        path,
        root,
        "--markdown",
        reports["c.md"],
        "--junit",
        reports["c.xml"],
        "--history",
        reports["c.jsonl"],
        "--github",
    )
    assert isinstance(done.exception, CheckFailed)
    assert "core.onnx: bytes" in str(done.exception)
    assert "FAILED" in done.output
    assert "::error title=frcrn-export compare::core.onnx: bytes" in done.output
    assert reports["c.md"].read_text().startswith("# gain: FAILED")
    assert ElementTree.parse(reports["c.xml"]).getroot()[0].get("failures") == "1"
    assert json.loads(reports["c.jsonl"].read_text())["failed"] == 1


def test_a_history_grows_by_a_line_a_run(root: Path, tmp_path: Path) -> None:
    base, history = counters(root, tmp_path / "base"), tmp_path / "history.jsonl"
    for lines in (1, 2):
        assert call(base, root, "--history", history, "--note", f"n{lines}").exit_code == 0
        written = history.read_text().splitlines()
        assert len(written) == lines
        assert json.loads(written[-1])["note"] == f"n{lines}"


def test_two_bundles_are_timed(root: Path, twin: Path) -> None:
    done = call(root, twin, "--budget", 0.5, "--length", 0.1, "--json")
    found = json.loads(done.stdout)
    (timed,) = found["rows"]
    assert timed["openings"] >= 10
    assert timed["verdict"] in ("same", "undecided", "faster", "slower")
    assert found["failures"] == [] or timed["failed"]


def test_quality_on_pairs(root: Path, twin: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    clean = 0.1 * draw.standard_normal(16_000)
    soundfile.write(tmp_path / "a.clean.wav", clean, 16_000)
    soundfile.write(tmp_path / "a.noisy.wav", clean + 0.01 * draw.standard_normal(16_000), 16_000)
    done = call(root, twin, "--budget", 0, "--pairs", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["quality"][0]["pairs"] == 1


def test_two_results_of_other_machines(tmp_path: Path) -> None:
    paths = []
    for name, processor in (("a", "P"), ("b", "Q")):
        made = result(row(), machine=msgspec.structs.replace(result().machine, processor=processor))
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_bytes(made.to_json())
    done = call(*paths)
    assert done.exit_code == 0, done.output
    assert "measured on two machines" in done.output
    assert "undecided" in done.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--max-slowdown", "fast"), "give a percentage, such as 5%"),
        (("--budget", "nan"), "is not a finite number"),
        (("--max-slowdown", "nan"), "give a percentage"),
        (("--max-slowdown", "-1"), "give a percentage"),
        (("--markdown", "x", "--junit", "x"), "give two files"),
        (("--markdown", "missing/x.md"), "no such folder"),
        (("--pairs", "missing"), "no such folder"),
        (("-b", "nothing"), "unknown backend"),
    ],
)
def test_options_that_cannot_be(
    options: tuple[str, ...], said: str, root: Path, twin: Path
) -> None:
    done = call(root, twin, *options)
    assert done.exit_code != 0
    assert said in f"{done.output} {done.exception}"


def test_times_are_not_asked_of_a_result(root: Path, tmp_path: Path) -> None:
    base = counters(root, tmp_path / "base")
    assert "go with two bundles" in call(base, root, "--budget", 3).output
    for option in (("--file", "core.onnx"), ("-b", "onnxruntime-cpu"), ("-t", 1)):
        assert "choose rows of times, and a bundle has none" in call(base, root, *option).output


def test_rows_of_two_results_are_chosen(tmp_path: Path) -> None:
    for name, ms in (("a", 10.0), ("b", 20.0)):
        made = result(row(ms), row(10.0, path="other.onnx"))
        (tmp_path / f"{name}.json").write_bytes(made.to_json())
    paths = tmp_path / "a.json", tmp_path / "b.json"
    assert isinstance(call(*paths).exception, CheckFailed)
    done = call(*paths, "--file", "other.onnx")
    assert done.exit_code == 0, done.output
    assert "1 row of times" in done.output


def test_the_history_names_the_weights(tmp_path: Path) -> None:
    for name in ("a", "b"):
        made = result(weights_sha256=name * 64)
        (tmp_path / f"{name}.json").write_bytes(made.to_json())
    history = tmp_path / "history.jsonl"
    call(tmp_path / "a.json", tmp_path / "b.json", "--history", history)
    line = json.loads(history.read_text())
    assert (line["base_weights"], line["weights"]) == ("a" * 64, "b" * 64)


def test_a_result_that_is_not_there(root: Path, tmp_path: Path) -> None:
    done = call(tmp_path / "base.json", root)
    assert isinstance(done.exception, UserError)
    assert "no such" in str(done.exception)
    assert "no bundle here" in str(call(tmp_path / "missing", root).exception)


def refused(*args: object) -> str:
    """What a call says that ends with exit code 2."""
    done = call(*args)
    assert isinstance(done.exception, UserError), done.output
    return str(done.exception)


def test_a_bundle_with_itself_is_no_comparison(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert "are both" in refused(root, tmp_path / "link")
    path = counters(root, tmp_path / "base")
    assert "are both" in refused(path, path)


def test_a_file_where_a_bundle_or_a_result_was_meant(root: Path, tmp_path: Path) -> None:
    path = counters(root, tmp_path / "base")
    assert refused(root / "manifest.json", path).endswith(f"give its folder: {root}")
    assert refused(path.parent, root).endswith(f"give its file: {path}")
    assert "frcrn-export compare BASE" in str(CliRunner().invoke(bench, [str(path)]).exception)


def test_a_result_of_another_model(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(result(row()).to_json())
    assert "compare versions of one model" in refused(path, root)


def test_a_bundle_without_parity_vectors(root: Path, twin: Path) -> None:
    done = call(root, twin, "--budget", 0)
    assert done.exit_code == 0, done.output
    assert f"{twin} has no parity vectors" in done.output


def test_times_fit_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "core.streaming.int8.cpu.onnx"
    sides = {"a": row(10.0, "hop", path), "b": row(12.0, "hop", path)}
    for name, side in sides.items():
        (tmp_path / f"{name}.json").write_bytes(result(side).to_json())
    monkeypatch.setenv("COLUMNS", "80")
    done = call(tmp_path / "a.json", tmp_path / "b.json")
    lines = [line for line in done.output.splitlines() if line[:1] in "┏┃┡│└"]
    assert "SLOWER" in done.output
    assert "1.200" in done.output
    assert max(map(len, lines)) <= 80
