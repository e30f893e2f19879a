"""What mocha, vitest and jest print at their end, for people."""

from __future__ import annotations

import re

from worker_agents.reports.console.lines import Finding
from worker_agents.reports.model import TestCounts, TestReport, failure, first_failures
from worker_agents.reports.numbers import whole_number

_MOCHA_PASSING = re.compile(r" +(\d+) passing \(.{1,20}\)", re.ASCII)
_MOCHA_OTHER = re.compile(r" +(\d+) (pending|failing)", re.ASCII)
_JEST_TESTS = re.compile(r"Tests: +(.*), \d+ total", re.ASCII)
_JEST_FILES = re.compile(r"Test Suites: +(.*), \d+ (?:of \d+ )?total", re.ASCII)
_VITEST_TESTS = re.compile(r" *Tests {2}(.*) \(\d+\)", re.ASCII)
_VITEST_FILES = re.compile(r" *Test Files {2}(.*) \(\d+\)", re.ASCII)
_VITEST_ERRORS = re.compile(r" *Errors {2}(\d+) errors?", re.ASCII)
_COUNT = re.compile(r"(\d+) (passed|failed|skipped|todo)", re.ASCII)
_JEST_BULLET = re.compile(r" {2}● (.*)")
_JEST_SEPARATOR = " \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} "
_JEST_BROKEN = "Test suite failed to run"


def find_mocha(lines: list[str]) -> Finding | None:
    for at in range(len(lines) - 1, -1, -1):
        if passing := _MOCHA_PASSING.fullmatch(lines[at]):
            tally = {"pending": 0, "failing": 0}
            for line in lines[at + 1 : at + 3]:
                if other := _MOCHA_OTHER.fullmatch(line):
                    tally[other[2]] = whole_number(other[1], other[2])
            passed = whole_number(passing[1], "passing")
            return Finding(at, TestReport("mocha", TestCounts(passed, tally["failing"], tally["pending"])))
    return None


def find_jest(lines: list[str]) -> Finding | None:
    tests, files = _last(_JEST_TESTS, lines), _last(_JEST_FILES, lines)
    if tests is None:
        return None
    bullets = dict.fromkeys(match[1] for line in lines if (match := _JEST_BULLET.fullmatch(line)))
    broken = sum(_JEST_BROKEN in line for line in lines)
    at, tally = tests
    counts = _counts(tally, files[1] if files else {}, broken_files=broken)
    failures = first_failures(failure(name) for name in bullets if _JEST_SEPARATOR in name or name == _JEST_BROKEN)
    return Finding(at, TestReport("jest", counts, failures))


def find_vitest(lines: list[str]) -> Finding | None:
    tests, files = _last(_VITEST_TESTS, lines), _last(_VITEST_FILES, lines)
    if files is None:
        return None
    errors = [match[1] for line in lines if (match := _VITEST_ERRORS.fullmatch(line))]
    at, tally = tests or (files[0], {})
    counts = _counts(tally, files[1], broken_files=0)
    if errors:
        counts += TestCounts(errors=whole_number(errors[-1], "errors"))
    return Finding(at, TestReport("vitest", counts))


def _counts(tests: dict[str, int], files: dict[str, int], *, broken_files: int) -> TestCounts:
    """Files that could not be loaded are among the failed files only: where no test failed they are all of those."""
    failed = tests.get("failed", 0)
    return TestCounts(
        passed=tests.get("passed", 0),
        failed=failed,
        skipped=tests.get("skipped", 0) + tests.get("todo", 0),
        errors=broken_files if failed or broken_files else files.get("failed", 0),
    )


def _last(pattern: re.Pattern[str], lines: list[str]) -> tuple[int, dict[str, int]] | None:
    """The counts of the last line that matches, with its index."""
    for at in range(len(lines) - 1, -1, -1):
        if match := pattern.fullmatch(lines[at]):
            return at, {word: whole_number(number, word) for number, word in _COUNT.findall(match[1])}
    return None
