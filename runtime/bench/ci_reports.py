"""A comparison for machines that watch pull requests: JUnit XML and GitHub's annotations."""

from collections.abc import Iterator
from xml.etree import ElementTree

from frcrn_export.runtime.bench.comparison import Comparison
from frcrn_export.runtime.text import printable

_LONGEST = 1_000  # characters of an annotation


def junit(comparison: Comparison) -> str:
    """The comparison as JUnit XML: a test case for each row, comparison and changed counter.

    Undecided rows are skipped tests, since they neither hold nor fail.
    """
    suite = ElementTree.Element("testsuite", name=f"frcrn-export compare {comparison.model}")
    counts = {"tests": 0, "failures": 0, "skipped": 0}
    for kind, name, failed, undecided, text in _cases(comparison):
        case = ElementTree.SubElement(suite, "testcase", classname=kind, name=printable(name))
        counts["tests"] += 1
        if failed:
            counts["failures"] += 1
            ElementTree.SubElement(case, "failure", message=printable(text))
        elif undecided:
            counts["skipped"] += 1
            ElementTree.SubElement(case, "skipped", message=printable(text))
    suite.attrib.update({name: str(value) for name, value in counts.items()})
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _cases(comparison: Comparison) -> Iterator[tuple[str, str, bool, bool, str]]:
    for row in comparison.rows:
        yield (
            "time",
            row.row,
            row.failed,
            row.verdict not in ("same", "faster"),
            row.why or row.verdict,
        )
    for each in comparison.parity:
        yield "parity", f"{each.artifact} {each.case}", each.outcome == "failed", False, each.why
    for drift in comparison.quality:
        text = f"SI-SDR {drift.new_db:.2f} dB, in the base {drift.base_db:.2f}"
        yield "quality", drift.artifact, drift.outcome == "failed", False, text
    for change in comparison.counters:
        text = f"{change.base} in the base, now {change.new}"
        name = f"{change.path} {change.what}"
        yield "counters", name, change.outcome == "failed", False, text


def annotations(comparison: Comparison) -> Iterator[str]:
    """Workflow commands of GitHub Actions: an error for each failure, a notice for the rest.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    for failure in comparison.failures:
        yield f"::error title=frcrn-export compare::{_data(failure)}"
    for row in comparison.rows:
        if not row.failed and row.verdict not in ("same", "faster"):
            said = _data(f"{row.row}: {row.verdict}, {row.why}")
            yield f"::notice title=frcrn-export compare::{said}"
    for note in comparison.notes:
        yield f"::notice title=frcrn-export compare::{_data(note)}"


def _data(text: str) -> str:
    """Text as the data of a workflow command."""
    cut = printable(text)[:_LONGEST]
    return cut.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
