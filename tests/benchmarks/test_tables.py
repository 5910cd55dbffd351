"""The pages hold what the results make."""

from pathlib import Path

import pytest

from benchmarks.tables import PAGES, rendered


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
