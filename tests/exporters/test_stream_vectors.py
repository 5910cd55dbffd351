"""Vectors of whole streams against the runtime, which has no part in them."""

import numpy as np
import pytest

from frcrn_export.runtime.bundle.reader import Bundle
from frcrn_export.runtime.verify.parity import Case, read_cases

CASES = ("short", "speech", "whole-calls")


@pytest.fixture(scope="module")
def cases(small_wave_bundle: Bundle) -> dict[str, Case]:
    return {case.name: case for case in read_cases(small_wave_bundle) if case.stage == "stream"}


def test_the_cases_hold_what_streams_meet(cases: dict[str, Case]) -> None:
    assert tuple(cases) == CASES
    for case in cases.values():
        blocks, returned = case.more["blocks"], case.more["returned"]
        assert blocks.sum() == returned.sum() == len(case.input) == len(case.output)
        assert len(returned) == len(blocks) + 1
        assert case.more["gains"].shape == case.input.shape
    speech = cases["speech"]
    blocks = speech.more["blocks"]
    assert {0.0, 1.0} <= set(blocks.tolist())
    assert blocks.max() > 5 * 32  # hops
    assert not speech.input[16_000:19_000].any()  # digital silence
    before, after = np.split(speech.input, [28_800])  # a jump of level
    assert np.abs(after).max() > 3 * np.abs(before).max()


def test_nothing_comes_out_of_the_shortest_before_its_end(cases: dict[str, Case]) -> None:
    returned = cases["short"].more["returned"]
    assert not returned[:-1].any()
    assert returned[-1] > 0


def test_whole_calls_leave_nothing_waiting(
    small_wave_bundle: Bundle, cases: dict[str, Case]
) -> None:
    (entry,) = [e for e in small_wave_bundle.manifest.files if e.path == "core.streaming.onnx"]
    assert entry.streaming is not None
    returned = cases["whole-calls"].more["returned"].tolist()
    chunk, late = entry.streaming.chunk, entry.streaming.lookahead
    assert returned == [max(0, chunk - late), 3 * chunk - late - max(0, chunk - late), late]


def test_the_bundle_was_compared_over_whole_streams(small_wave_bundle: Bundle) -> None:
    parity = small_wave_bundle.manifest.parity
    of_streams = {(r.artifact, r.case.split(".")[1]) for r in parity if r.case[:7] == "stream."}
    # core.streaming.fp16.onnx serves to build engines, and is slow on a processor.
    labels = ("core.streaming.onnx", "level (numpy)")
    assert of_streams == {(label, case) for label in labels for case in CASES}
    assert all(result.passed for result in parity)
