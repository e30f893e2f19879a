r"""``go test``: ``--- FAIL: TestX (0.00s)`` a test and ``ok  \tpackage\t0.004s`` a package.

Without ``-v`` passed tests are not printed: each package that passed counts as one, and the format says ``go-packages``.
"""

from __future__ import annotations

import re
from dataclasses import replace

from worker_agents.reports.console.lines import Finding
from worker_agents.reports.formats.go_outcomes import GoPackage
from worker_agents.reports.model import MAX_TEXT_LENGTH, TestCounts, sum_reports

# A test may print without a line's end before its own line.
_OUTCOME = re.compile(r"--- (PASS|FAIL|SKIP): (\S+) \(\d+\.\d\ds\)$", re.ASCII)
_RUN = re.compile(r"=== RUN\s+(\S+)$")
_PACKAGE = re.compile(r"(ok  |FAIL|\?   )\t(\S+)(?:\s.*)?")
_DEATHS = ("panic: ", "fatal error: ")
_ENDS = {"ok  ": "pass", "FAIL": "fail", "?   ": "skip"}


class _GoOutput:
    def __init__(self) -> None:
        self.packages: list[GoPackage] = []
        self.silent_packages = 0
        self.last_line = -1
        self._current = GoPackage("")
        self._failed_test = ""

    def take(self, at: int, line: str) -> None:
        if outcome := _OUTCOME.search(line):
            self._current.outcomes[outcome[2]] = outcome[1].lower()
            self._failed_test = outcome[2] if outcome[1] == "FAIL" else ""
        elif started := _RUN.match(line):
            self._current.outcomes[started[1]] = "run"
            self._failed_test = ""
        elif package := _PACKAGE.fullmatch(line):
            self._end_package(package[2], _ENDS[package[1]], line)
            self.last_line = at
        elif line.startswith(_DEATHS):
            self._current.panicked = True
            self._current.message = self._current.message or line
        elif self._failed_test and line.startswith("    "):
            said = self._current.messages.get(self._failed_test, "")
            self._current.messages[self._failed_test] = (said + line)[: 2 * MAX_TEXT_LENGTH]

    def end(self) -> None:
        if self._current.outcomes:
            self.packages.append(self._current)

    def _end_package(self, name: str, ended: str, line: str) -> None:
        package, self._current, self._failed_test = self._current, GoPackage(""), ""
        package.name, package.ended = name, ended
        package.message = package.message or line
        if ended == "pass":
            # A line that was lost in the tests' own printing; the package knows better.
            package.outcomes = {test: "pass" if is_ == "run" else is_ for test, is_ in package.outcomes.items()}
            self.silent_packages += not package.outcomes and "[no tests to run]" not in line
        self.packages.append(package)


def find_go(lines: list[str]) -> Finding | None:
    output = _GoOutput()
    for at, line in enumerate(lines):
        output.take(at, line)
    output.end()
    form = "go-packages" if output.silent_packages else "go"
    report = sum_reports(package.report(form=form) for package in output.packages)
    if report is None or output.last_line < 0:
        return None
    counts = report.counts + TestCounts(passed=output.silent_packages)
    return Finding(output.last_line, replace(report, counts=counts))
