"""`--no-skips`: a skipped test is a failure, but for the reasons below. What CI runs with."""

import pytest

# A reason begins with one of these.
ALLOWED = (
    "needs no GPU",  # one is there
    "needs a GPU",
    "needs git",  # and jq: the recipe of docs/ci.md
    "needs jq",
    "needs ../shared",  # golden vectors and recordings that lie beside the repository
)


class NoSkips:
    """Fails a session with skipped tests, and lists them."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}  # reason: the first test that gives it

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = said.removeprefix("Skipped: ")
        if not reason.startswith(ALLOWED):
            self.refused.setdefault(reason, report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.refused and session.exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for reason, test in self.refused.items():
            terminalreporter.write_line(f"SKIPPED, which --no-skips refuses: {test}: {reason}")
