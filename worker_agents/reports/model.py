"""What every report comes down to, whatever wrote it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from worker_agents.model.errors import Reason, TaskError

MAX_FAILURES = 50
MAX_TEXT_LENGTH = 500

# What a name or a message is cut to before it is cleaned: cleaning looks at every character.
_MAX_RAW_LENGTH = 4 * MAX_TEXT_LENGTH
TERMINAL_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;:?]*[ -/]*[@-~]|[@-Z\\-_])")
# Control, surrogate (no valid UTF-8) and format characters; the last can reorder or hide what a person reads.
_UNWANTED = frozenset({"Cc", "Cs", "Cf"})


class ReportUnreadable(TaskError):
    """A report cannot be taken at its word. The message names the file, relative to the working directory, and the problem."""

    reason = Reason.REPORT_UNREADABLE

    def __init__(self, name: str, problem: str) -> None:
        self.name = clean_text(name)
        self.problem = clean_text(problem)
        super().__init__(f"report {self.name}: {self.problem}")


class ReportStale(ReportUnreadable):
    """The file is older than the run."""


class Malformed(Exception):
    """A parser's complaint about what it was given. ``detect`` adds the file's name to make a ``ReportUnreadable`` of it."""


@dataclass(frozen=True, slots=True)
class TestCounts:
    """How many tests came to what; each test counts once, by its final outcome.

    ``errors`` are what could not give an outcome of its own: a file or package that could not be loaded or built, a broken
    fixture. Expected failures count as skipped, flaky tests that passed in the end as passed.
    """

    __test__ = False

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    errors: int = 0

    @property
    def total(self) -> int:
        return self.passed + self.failed + self.skipped + self.errors

    @property
    def ran(self) -> bool:
        """Something was executed, or was to be and could not be."""
        return self.passed + self.failed + self.errors > 0

    @property
    def clean(self) -> bool:
        return self.failed + self.errors == 0

    def __add__(self, other: TestCounts) -> TestCounts:
        return TestCounts(
            passed=self.passed + other.passed,
            failed=self.failed + other.failed,
            skipped=self.skipped + other.skipped,
            errors=self.errors + other.errors,
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that failed, or what could not be run. Both texts are one line of at most ``MAX_TEXT_LENGTH`` characters."""

    name: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class TestReport:
    """``failures`` holds the first ``MAX_FAILURES`` that the report names: fewer than ``counts.failed`` where it names none.

    ``complete`` is False when the counts are not the whole story: the run was interrupted or crashed part-way, or its own
    flag says failure while no test failed. ``coverage`` in percent, where the report itself tells it.
    """

    __test__ = False

    format: str
    counts: TestCounts
    failures: tuple[Failure, ...] = ()
    complete: bool = True
    coverage: float | None = None


def failure(name: str, message: str = "") -> Failure:
    """A failure whose texts come from a report as they are."""
    return Failure(clean_text(name) or "(unnamed)", clean_text(message))


def first_failures(failures: Iterable[Failure]) -> tuple[Failure, ...]:
    return tuple(islice(failures, MAX_FAILURES))


def sum_reports(reports: Iterable[TestReport]) -> TestReport | None:
    """Several files of one run taken together; None when there are none."""
    together = list(reports)
    if not together:
        return None
    return TestReport(
        format=together[0].format,
        counts=sum((report.counts for report in together), TestCounts()),
        failures=first_failures(one for report in together for one in report.failures),
        complete=all(report.complete for report in together),
    )


def clean_text(text: str) -> str:
    """One line of at most ``MAX_TEXT_LENGTH`` characters that can be printed, logged and encoded."""
    without_colours = TERMINAL_SEQUENCE.sub("", text[:_MAX_RAW_LENGTH])
    line = " ".join(without_colours.split())
    printable = "".join(c for c in line if unicodedata.category(c) not in _UNWANTED)
    return printable if len(printable) <= MAX_TEXT_LENGTH else printable[: MAX_TEXT_LENGTH - 1] + "…"
