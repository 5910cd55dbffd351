import pytest

from frcrn_export.runtime.bench.changes import (
    CounterChange,
    ParityChange,
    counter_changes,
    parity_changes,
)
from frcrn_export.runtime.bench.result import FileCounters
from frcrn_export.runtime.bundle.manifest import ParityResult
from tests.runtime.bench.results import counters, parity


def changed(
    base: list[FileCounters],
    new: list[FileCounters],
    *,
    exact: bool = False,
    same_kernels: bool = True,
) -> list[CounterChange]:
    return list(counter_changes(base, new, max_growth=0.01, exact=exact, same_kernels=same_kernels))


def test_equal_files_differ_in_nothing() -> None:
    assert changed([counters()], [counters()], exact=True) == []


@pytest.mark.parametrize(
    "name",
    ["bytes", "parameters", "flop", "calls", "state_bytes", "activation_bytes", "weights_bytes"],
)
def test_a_cost_may_grow_a_little_and_shrink_as_it_likes(name: str) -> None:
    base = counters(**{name: 1000})
    for value, outcome in ((1010, "changed"), (1011, "failed"), (10, "changed")):
        (found,) = changed([base], [counters(**{name: value})])
        assert (found.what, found.outcome) == (name.replace("_", " "), outcome)


def test_an_exact_comparison_accepts_no_change() -> None:
    (found,) = changed([counters()], [counters(bytes=999)], exact=True)
    assert found.outcome == "failed"
    (found,) = changed([counters()], [counters(operators={"Conv": 2})], exact=True)
    assert found.outcome == "failed"


def test_operators_by_name() -> None:
    new = counters(operators={"Conv": 2, "MatMul": 1}, optimised={"Conv": 3})
    found = {change.what: (change.base, change.new) for change in changed([counters()], [new])}
    assert found == {
        "nodes: Conv": ("3", "2"),
        "nodes: MatMul": ("-", "1"),
        "nodes as run: Conv": ("-", "3"),
        "nodes as run: com.microsoft.FusedConv": ("3", "-"),
    }


def test_graphs_as_run_are_compared_between_equal_kernels_only() -> None:
    new = counters(optimised={"Conv": 9}, layers={"Conv": {"Half": 2}})
    assert changed([counters()], [new], same_kernels=False) == []
    assert len(changed([counters()], [new])) == 3


def test_files_that_come_and_go() -> None:
    (gone,) = changed([counters()], [])
    assert (gone.what, gone.new, gone.outcome) == ("file", "-", "failed")
    (came,) = changed([], [counters()])
    assert came.outcome == "changed"


def test_memory_of_an_older_result_is_not_known_and_does_not_fail() -> None:
    (found,) = changed([counters()], [counters(activation_bytes=1000)])
    assert (found.what, found.base, found.outcome) == ("activation bytes", "-", "changed")


def test_operations_that_are_not_known_any_more_fail() -> None:
    (found,) = changed([counters()], [counters(flop=None)])
    assert (found.new, found.outcome) == ("-", "failed")


def compared(
    base: list[ParityResult], new: list[ParityResult], judge_drift: bool = True
) -> list[ParityChange]:
    return list(parity_changes(base, new, max_drift_db=1.0, judge_drift=judge_drift))


@pytest.mark.parametrize(
    ("base", "new", "outcome"),
    [
        (parity(130.0), parity(130.0), "same"),
        (parity(130.0), parity(129.1), "changed"),
        (parity(130.0), parity(128.9), "failed"),
        (parity(130.0), parity(140.0), "changed"),
        (parity(80.0, passed=False), parity(80.0, passed=False), "failed"),
    ],
)
def test_floors_and_drift(base: ParityResult, new: ParityResult, outcome: str) -> None:
    (found,) = compared([base], [new])
    assert found.outcome == outcome
    assert bool(found.why) == (outcome == "failed")


def test_without_drift_the_floors_hold() -> None:
    (found,) = compared([parity(130.0)], [parity(100.0)], judge_drift=False)
    assert found.outcome == "changed"
    (found,) = compared([parity(130.0)], [parity(80.0, passed=False)], judge_drift=False)
    assert found.outcome == "failed"


def test_a_comparison_that_is_lost_fails_and_a_new_one_does_not() -> None:
    gone, came = compared([parity(130.0, "a")], [parity(130.0, "b")])
    assert (gone.outcome, gone.new_db) == ("failed", None)
    assert (came.outcome, came.base_db) == ("changed", None)
