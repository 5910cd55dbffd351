"""The tables of benchmarks/README.md and of the docs, made of the JSON files in results/.

    python benchmarks/tables.py [--check]

A table stands between `<!-- table NAME -->` and `<!-- end -->` in a page; NAME is a function of the
modules tables_of_*.py, with the names of results where it takes some. One whose result does not
exist yet says so. `--check` writes nothing, and exits with 1 where a page is not what the results
make; a test runs it.
"""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `benchmarks`, run as a script too

from benchmarks import (  # noqa: E402
    tables_of_bench,
    tables_of_cpp,
    tables_of_files,
    tables_of_project,
    tables_of_quality,
    tables_of_streams,
)
from benchmarks.table_cells import NotMeasured  # noqa: E402

PAGES = (ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_PLACE = re.compile(r"(<!-- table ([\w.-]+(?: [\w.-]+)*) -->\n).*?(<!-- end -->)", re.DOTALL)

_PARTS = (
    tables_of_bench,
    tables_of_cpp,
    tables_of_files,
    tables_of_project,
    tables_of_quality,
    tables_of_streams,
)
TABLES: dict[str, Callable[..., str]] = {
    function.__name__: function for part in _PARTS for function in part.TABLES
}


def rendered(page: str) -> str:
    """A page with its tables as the results make them."""

    def place(match: re.Match[str]) -> str:
        name, *arguments = match[2].split()
        try:
            made = TABLES[name](*arguments)
        except NotMeasured as missing:
            made = f"Not measured yet: there is no `results/{missing}.json`.\n"
        return f"{match[1]}\n{made}\n{match[3]}"

    return _PLACE.sub(place, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    old = []
    for path in PAGES:
        text = path.read_text()
        if (now := rendered(text)) != text:
            old.append(path.relative_to(ROOT))
            if not check:
                path.write_text(now)
    for path in old:
        print(f"{path}: {'not what the results make; run: make bench-tables' if check else 'made'}")
    sys.exit(1 if check and old else 0)


if __name__ == "__main__":
    main()
