"""pytest's last line, ``1 failed, 3 passed in 0.06s``, quiet or between rules; ``-qq`` prints none.

A test whose teardown fails counts as passed and as error here. A pytest run within a test prints such a line too: the last
one is the run's own.
"""

from __future__ import annotations

import re

from worker_agents.reports.console.lines import Finding
from worker_agents.reports.model import Failure, TestCounts, TestReport, failure, first_failures
from worker_agents.reports.numbers import whole_number

_DURATION = re.compile(r" in \d+\.\d\ds(?: \([\w:, ]{1,40}\))?$", re.ASCII)
_COUNT = re.compile(r"(\d+) ([a-z]+(?: [a-z]+)?)", re.ASCII)
_FAILED = re.compile(r"(?:FAILED|ERROR|SUBFAILED\S*) (\S+)(?: - (.*))?")
_STOPPED = re.compile(r"!{3,} .* !{3,}")
_COUNTED_AS = {
    "passed": "passed",
    "xpassed": "passed",
    "failed": "failed",
    "skipped": "skipped",
    "xfailed": "skipped",
    "error": "errors",
    "errors": "errors",
}
# Counted, but not as outcomes of tests.
_OTHER = frozenset({"deselected", "warning", "warnings"})
# Between the notice of an interruption and the last line: where it was interrupted.
_NOTICE_LINES = 5


def find_pytest(lines: list[str]) -> Finding | None:
    for at in range(len(lines) - 1, -1, -1):
        counts = _counts(lines[at])
        if counts is not None:
            stopped = any(_STOPPED.fullmatch(line) for line in lines[max(at - _NOTICE_LINES, 0) : at])
            crashed = any(line.startswith("INTERNALERROR>") for line in lines[:at])
            failures = first_failures(_failures(lines[:at]))
            return Finding(at, TestReport("pytest", counts, failures, complete=not stopped and not crashed))
    return None


def _counts(line: str) -> TestCounts | None:
    body = line.strip("= ")
    duration = _DURATION.search(body)
    if duration is None:
        return None
    tally = {"passed": 0, "failed": 0, "skipped": 0, "errors": 0}
    known = 0
    for part in body[: duration.start()].split(", "):
        match = _COUNT.fullmatch(part)
        if part == "no tests ran":
            known += 1
        elif match is None:
            return None
        elif match[2] in _COUNTED_AS:
            known += 1
            tally[_COUNTED_AS[match[2]]] += whole_number(match[1], match[2])
        else:
            known += match[2] in _OTHER
    return TestCounts(**tally) if known else None


def _failures(lines: list[str]) -> list[Failure]:
    """From the short summary before the last line, where there is one."""
    for at in range(len(lines) - 1, -1, -1):
        if lines[at].strip("= ") == "short test summary info":
            matches = (_FAILED.fullmatch(line) for line in lines[at:])
            return [failure(match[1], match[2] or "") for match in matches if match]
    return []
