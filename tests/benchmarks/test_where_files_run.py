"""Where files run: agreement, reasons, and what a file is fed with."""

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import where_files_run as where
from frcrn_export.runtime.bundle.reader import open_bundle
from tests.bundles import write_bundle
from tests.streaming_bundles import Core, write_streaming_bundle


def test_agreement_is_over_all_outputs() -> None:
    one, two = np.ones((1, 4), np.float32), np.zeros(4, np.uint8)
    assert where.agreement([one, two], [one, two]) == math.inf
    assert where.agreement([one, two], [one * 1.1, two]) == pytest.approx(20.0, abs=1e-3)
    for wrong, said in (
        ([one], "1 outputs of 2"),
        ([one, two[:2]], "gives"),
        ([one * np.nan, two], "NaN"),
    ):
        with pytest.raises(RuntimeError, match=said):
            where.agreement([one, two], wrong)


def test_the_reason_is_one_short_line() -> None:
    said = [
        "Traceback",
        "Fail: [ONNXRuntimeError] : 1 : /a/b/model.cc:149 f(int) IR version: 10",
        "",
    ]
    assert where.reason(said, 1) == "Fail: [ONNXRuntimeError] : 1 :  IR version: 10"
    assert where.reason([], 3) == "exit 3"


def test_every_onnx_file_is_a_case_with_all_its_inputs(tmp_path: Path) -> None:
    (core,) = where.cases_of(open_bundle(write_bundle(tmp_path / "core")))
    assert core.title == "gain: core.onnx"
    assert {name: array.shape for name, array in core.inputs.items()} == {
        "inputs": (1, 1, where.SIZES["samples"])
    }
    path = write_streaming_bundle(tmp_path / "streaming", Core(lookahead=2), stft=None)
    (case,) = where.cases_of(open_bundle(path))
    assert list(case.inputs) == ["wave", "past"]
    assert (case.inputs["past"] == 0).all()
    assert list(case.outputs) == ["enhanced", "past.next"]
