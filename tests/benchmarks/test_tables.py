"""The pages hold what the results make."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import table_cells
from benchmarks.run import steps
from benchmarks.table_cells import NotMeasured, result_path
from benchmarks.tables import PAGES, TABLES, rendered
from benchmarks.tables_of_files import where_files_run

MARKS = [
    tuple(mark.split())
    for page in PAGES
    for mark in re.findall(r"^<!-- table (.+) -->$", page.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_of_a_page_are_those_of_the_results(page: Path) -> None:
    text = page.read_text()
    assert rendered(text) == text, "run: make bench-tables"


def test_a_number_that_was_changed_by_hand_is_seen() -> None:
    page = next(page for page in PAGES if "<!-- table commands -->" in page.read_text())
    text = page.read_text()
    assert rendered(text.replace("| Python alone |", "| Python alone, nearly |")) == text


def test_a_table_that_does_not_exist_is_named() -> None:
    with pytest.raises(KeyError, match="nothing"):
        rendered("<!-- table nothing -->\n\n<!-- end -->")


def test_every_table_stands_in_a_page() -> None:
    assert {name for name, *_ in MARKS} == set(TABLES)


def test_a_result_that_is_not_there_yet_is_named() -> None:
    page = rendered("<!-- table times times.nobody -->\n\n| old |\n\n<!-- end -->\n")
    assert "Not measured yet: there is no `results/times.nobody.json`." in page
    assert "old" not in page


def test_what_pages_wait_for_is_what_make_bench_measures() -> None:
    measured = {step.result for step in steps(Path("calib"), Path("pairs"), long=True)}
    missing = set()
    for name in {name for _, *names in MARKS for name in names}:
        try:
            result_path(name)
        except NotMeasured:
            missing.add(name)
    assert missing <= measured


def test_where_files_run_numbers_the_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = {
        "one": {"versions": {"e": "1", "numpy": "2"}, "m: a": 120.4, "m: b": "equal"},
        "two": {"versions": {"f": "3"}, "m: a": "no: cannot", "m: b": "no: cannot"},
        "three": {"not installed": "no wheel"},
        "four": {"versions": {"e": "2"}, "m: a": 120.4, "m: b": "equal"},
    }
    (tmp_path / "where_files_run.json").write_text(json.dumps({"engines": engines}))
    monkeypatch.setattr(table_cells, "RESULTS", tmp_path)
    assert where_files_run().splitlines() == [
        "| file | e 1, e 2 | f 3 |",
        "|---|---:|---:|",
        "| m: a | 120 dB | no (1) |",
        "| m: b | equal | no (1) |",
        "",
        "1. `cannot`",
    ]
