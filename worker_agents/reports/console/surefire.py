"""Maven's Surefire and Failsafe: ``Tests run: N, Failures: N, Errors: N, Skipped: N`` at the end of every module.

Lines with ``Time elapsed`` are single classes, repeated when failing tests are rerun: they count only where the fork died
before its total. Flaky tests are among the passed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from worker_agents.reports.console.lines import Finding, count_of, passed_of
from worker_agents.reports.model import Failure, TestCounts, TestReport, failure, first_failures

_COUNTS = r"(?:\[\w+\]\s+)?Tests run: (\d+), Failures: (\d+), Errors: (\d+), Skipped: (\d+)"
_TOTAL = re.compile(_COUNTS + r"(?:, Flakes: \d+)?\s*", re.ASCII)
_CLASS = re.compile(_COUNTS + r", Time elapsed: .*", re.ASCII)
_HEADING = re.compile(r"(?:\[\w+\]\s+)?(?:Failures|Errors):\s*")
_RUN = re.compile(r"\[\w+\]\s+Run \d+:")
_ENTRY = re.compile(r"\[ERROR\]\s+(?!Run \d+:)(\S+)(?: (.*))?")


def find_surefire(lines: list[str]) -> Finding | None:
    totals = [(at, match) for at, line in enumerate(lines) if (match := _TOTAL.fullmatch(line))]
    last_total = totals[-1][0] if totals else -1
    without_total = [(at, match) for at in range(last_total + 1, len(lines)) if (match := _CLASS.fullmatch(lines[at]))]
    matches = totals + without_total
    if not matches:
        return None
    counts = sum((_counts(match) for _, match in matches), TestCounts())
    failed_otherwise = counts.clean and any("BUILD FAILURE" in line for line in lines)
    complete = not failed_otherwise and not without_total
    last = matches[-1][0]
    return Finding(last, TestReport("surefire", counts, first_failures(_failures(lines[:last])), complete))


def _counts(match: re.Match[str]) -> TestCounts:
    failed, errors, skipped = count_of(match, 2), count_of(match, 3), count_of(match, 4)
    passed = passed_of(count_of(match, 1), failed, errors, skipped)
    return TestCounts(passed=passed, failed=failed, skipped=skipped, errors=errors)


def _failures(lines: list[str]) -> Iterator[Failure]:
    """The entries below "Failures:" and "Errors:" of the results; each run of a rerun test is an indented line more."""
    listed = False
    for line in lines:
        if _HEADING.fullmatch(line):
            listed = True
        elif not (entry := _ENTRY.fullmatch(line)):
            listed = listed and _RUN.match(line) is not None
        elif listed:
            yield failure(entry[1], entry[2] or "")
