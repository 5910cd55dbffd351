import json
from xml.etree import ElementTree

import msgspec

from frcrn_export.runtime.bench.ci_reports import annotations, junit
from frcrn_export.runtime.bench.compare import compare_results
from frcrn_export.runtime.bench.comparison import Comparison, Limits
from frcrn_export.runtime.bench.documents import comparison_markdown, result_markdown
from frcrn_export.runtime.bench.history import history_line
from frcrn_export.runtime.bench.result import Result
from tests.runtime.bench.results import counters, parity, result, row


def compared(base: Result, new: Result, **limits: float) -> Comparison:
    return compare_results(base, new, ("base", "new"), Limits(**limits))  # type: ignore[arg-type]


GOOD = compared(result(row()), result(row()))
BAD = compared(
    result(row(10.0), row(1.0, kind="hop")),
    result(
        row(20.0),
        row(1.0, kind="hop"),
        files=(counters(bytes=5000),),
        parity=(parity(80.0, passed=False),),
    ),
)


def test_what_fails_comes_first() -> None:
    first, second, third = BAD.failures
    assert first.startswith("core.onnx, onnxruntime-cpu, pipeline, 1 s, 1 thread: slower, +100.0 %")
    assert "below its floor" in second
    assert "bytes 5,000, in the base 1,000" in third
    assert GOOD.failures == ()


def test_junit_counts_and_says_why() -> None:
    suite = ElementTree.fromstring(junit(BAD)).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "3", "0")
    failed = [case.get("classname") for case in suite if case.find("failure") is not None]
    assert failed == ["time", "parity", "counters"]
    suite = ElementTree.fromstring(junit(GOOD)).find("testsuite")
    assert suite is not None
    assert suite.get("failures") == "0"


def test_junit_of_names_that_are_no_xml() -> None:
    strange = result(row(path="core\x07<&>.onnx"))
    text = junit(compared(strange, strange))
    assert "<&" not in text
    ElementTree.fromstring(text)


def test_annotations_are_one_line_each() -> None:
    lines = list(annotations(BAD))
    assert len(lines) == 3
    for line in lines:
        assert line.startswith("::error title=frcrn-export compare::")
        assert "\n" not in line
    assert "+100.0 %25" in lines[0]


def test_markdown_begins_with_what_fails() -> None:
    text = comparison_markdown(BAD)
    assert text.startswith("# m: FAILED\n\n- **core.onnx")
    rows = [line for line in text.splitlines() if "1 thread |" in line]
    assert ["SLOWER" in line for line in rows] == [True, False]
    assert comparison_markdown(GOOD).startswith("# m: passed")


def test_the_markdown_of_a_result_says_how_to_measure_again() -> None:
    text = result_markdown(result(row()))
    assert "| core.onnx | onnxruntime-cpu | pipeline, 1 s | 1 |" in text
    assert text.endswith("frcrn-export bench B\n")
    assert "failed" in result_markdown(result(row(None)))


def test_the_markdown_of_what_breaks_lines() -> None:
    strange = result(msgspec.structs.replace(row(None), failed="it\nbroke | twice"))
    text = comparison_markdown(compared(result(row()), strange))
    assert "it\nbroke" not in text
    assert r"it\nbroke \| twice" in text


def test_a_line_of_history() -> None:
    line = history_line(BAD)
    assert line.count(b"\n") == 1
    found = json.loads(line)
    assert found["failed"] == 3
    assert {each["verdict"] for each in found["rows"].values()} == {"slower", "same"}
