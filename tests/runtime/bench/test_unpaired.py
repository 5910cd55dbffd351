import msgspec
import pytest

from frcrn_export.runtime.bench.cases import Wanted
from frcrn_export.runtime.bench.compare import compare_results
from frcrn_export.runtime.bench.comparison import Limits, RowVerdict
from frcrn_export.runtime.bench.result import Result
from frcrn_export.runtime.bench.unpaired import unpaired_rows
from frcrn_export.runtime.errors import UserError
from tests.runtime.bench.results import MACHINE, parity, result, row


def only(base: Result, new: Result) -> RowVerdict:
    (found,) = unpaired_rows(base, new, 0.03)
    return found


@pytest.mark.parametrize(
    ("ms", "word"), [(10.0, "same"), (12.0, "slower"), (8.0, "faster"), (10.3, "undecided")]
)
def test_results_of_one_machine_are_judged(ms: float, word: str) -> None:
    found = only(result(row(10.0)), result(row(ms)))
    assert found.verdict == word
    assert found.failed == (word == "slower")


def test_faster_by_less_than_the_anchor_moved_is_undecided() -> None:
    """As `judge` says of two bundles: the row may be much faster, or not at all."""
    assert only(result(row(10.0)), result(row(8.0), anchor_ms=1.3)).verdict == "undecided"


def test_a_machine_that_was_slower_itself_blames_nobody() -> None:
    """Its anchor took 1.5 times as long, and so did the row."""
    found = only(result(row(10.0)), result(row(15.0), anchor_ms=1.5))
    assert found.verdict == "undecided"
    assert found.floor == pytest.approx(0.5)
    assert only(result(row(10.0)), result(row(20.0), anchor_ms=1.5)).verdict == "slower"


def test_another_machine_gives_ratios_to_its_anchor_and_no_verdict() -> None:
    elsewhere = msgspec.structs.replace(MACHINE, processor="Q")
    base, new = result(row(10.0)), result(row(40.0), machine=elsewhere, anchor_ms=2.0)
    found = only(base, new)
    assert (found.verdict, found.failed) == ("undecided", False)
    assert found.ratio == pytest.approx(2.0)
    notes = compare_results(base, new, ("a", "b"), Limits()).notes
    assert any("two machines (P; Q)" in note for note in notes)


def test_rows_that_one_side_lacks() -> None:
    base, new = result(row(), row(kind="hop")), result(row(), row(path="other.onnx"))
    found = {(each.path, each.failed) for each in unpaired_rows(base, new, 0.03)}
    assert found == {("core.onnx", False), ("core.onnx", True), ("other.onnx", False)}
    words = {each.verdict for each in unpaired_rows(base, new, 0.03)}
    assert words == {"same", "lost", "new"}


def test_a_side_without_times_has_no_rows() -> None:
    assert list(unpaired_rows(result(row()), result(), 0.03)) == []
    assert list(unpaired_rows(result(), result(row()), 0.03)) == []


def test_a_row_that_broke_fails_in_the_new_side_alone() -> None:
    assert only(result(row()), result(row(None))).failed
    assert not only(result(row(None)), result(row())).failed
    middle = msgspec.structs.replace(row(), failed="the device is lost")
    found = only(result(row()), result(middle))
    assert found.failed
    assert found.why == "could not be measured: the device is lost"


def test_two_models_are_refused() -> None:
    with pytest.raises(UserError, match="a is of m, b is of n|a is of m, b of n"):
        compare_results(result(), result(model="n"), ("a", "b"), Limits())


def test_other_kernels_are_said() -> None:
    other = msgspec.structs.replace(MACHINE, versions={"onnxruntime": "1.20.0"})
    notes = compare_results(result(), result(machine=other), ("a", "b"), Limits()).notes
    assert any("another ONNX Runtime" in note for note in notes)


def test_other_weights_are_held_to_the_floors_alone() -> None:
    """How far above its floor a file is depends on its weights."""
    base, new = result(weights_sha256="a"), result(weights_sha256="b", parity=(parity(120.0),))
    found = compare_results(base, new, ("a", "b"), Limits())
    assert found.failures == ()
    assert any(note.startswith("other weights than the base's") for note in found.notes)
    same = compare_results(result(), result(parity=(parity(120.0),)), ("a", "b"), Limits())
    assert same.failures == ("core.onnx, core.7-frames: more than 1 dB below the base",)


def test_other_exporters_are_said() -> None:
    base, new = (result(tools={"onnx": version, "torch": "2.13.0"}) for version in ("1.22", "1.23"))
    (note,) = compare_results(base, new, ("a", "b"), Limits()).notes
    assert note == "exported with other versions than the base: onnx 1.23 (base: 1.22)"


def test_a_few_rounds_decide_nothing() -> None:
    short = msgspec.structs.replace(row(30.0), rounds=((30.0,),))
    found = only(result(row(10.0)), result(short))
    assert (found.verdict, found.failed) == ("undecided", False)
    assert "--seconds 60" in found.why


def test_an_anchor_that_jumps_is_a_floor() -> None:
    jumping = result(row(12.0), anchor_ms=1.0)
    jumping = msgspec.structs.replace(jumping, anchor_ms=(1.0, 1.6) * 6)
    found = only(result(row(10.0), anchor_ms=1.3), jumping)
    assert found.verdict == "undecided"
    assert found.floor is not None
    assert found.floor > 0.2


def test_what_was_not_compared_is_said() -> None:
    notes = compare_results(result(row()), result(), ("a", "b"), Limits()).notes
    assert "b has no times: none were compared" in notes


def test_a_lost_file_is_one_failure() -> None:
    found = compare_results(result(), result(files=(), parity=()), ("a", "b"), Limits())
    assert found.failures == ("core.onnx: lost",)


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(files=("b.onnx",)),
        Wanted(backends=("onnxruntime-cuda",)),
        Wanted(threads=(2,)),
        Wanted(files=("core.onnx", "b.onnx"), threads=(2,)),
    ],
)
def test_rows_of_two_results_are_chosen(wanted: Wanted) -> None:
    """The others would fail: one is slower, and one is lost."""
    other = msgspec.structs.replace(row(10.0, path="b.onnx"), backend="onnxruntime-cuda", threads=2)
    base, new = result(row(10.0), row(kind="hop"), other), result(row(20.0), other)
    assert len(compare_results(base, new, ("a", "b"), Limits()).failures) == 2
    found = compare_results(base, new, ("a", "b"), Limits(), wanted)
    assert [each.path for each in found.rows] == ["b.onnx"]
    assert found.failures == ()


def test_rows_that_neither_result_has_are_refused() -> None:
    with pytest.raises(UserError, match=r"there are: core.onnx, onnxruntime-cpu, 1 thread$"):
        compare_results(
            result(row()), result(row()), ("a", "b"), Limits(), Wanted(files=("c.onnx",))
        )
