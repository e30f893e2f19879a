"""JUnit XML as pytest, Surefire, jest-junit, nextest, mocha and others write it.

Cases are counted, not the suites' attributes: those are optional, and Surefire's are of the last run only when it reruns
failing tests. A suite without cases is taken by its attributes, and where they claim more failures than the cases show,
the missing ones are errors. Surefire's ``flakyFailure`` and ``rerunFailure`` decide nothing: the case passed or has a
``failure`` besides. ``time`` is not read (Surefire writes "1,234.567").
"""

from __future__ import annotations

from dataclasses import dataclass, field

from worker_agents.reports.model import (
    MAX_FAILURES,
    MAX_TEXT_LENGTH,
    Failure,
    Malformed,
    TestCounts,
    TestReport,
    failure,
)
from worker_agents.reports.numbers import count_in
from worker_agents.reports.xml_events import Attributes, Reader

_SUITES = ("testsuites", "testsuite")
# Which child of a case decides where there are several, most severe last.
_SEVERITY = ("passed", "skipped", "error", "failure")


def parse_junit(content: bytes) -> TestReport:
    document = _JunitDocument()
    Reader(document.at_root).read(content)
    return TestReport(format="junit", counts=document.counts, failures=tuple(document.failures))


@dataclass(slots=True)
class _Suite:
    """A suite so far: its own cases by outcome, and the suites within.

    ``seen`` counts failure and error elements, of which a case may have several.
    """

    name: str
    claimed: TestCounts
    cases: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_SEVERITY, 0))
    inner: TestCounts = field(default_factory=TestCounts)
    seen: int = 0

    @classmethod
    def of(cls, attributes: Attributes) -> _Suite:
        failed, errors = count_in(attributes, "failures"), count_in(attributes, "errors")
        skipped = count_in(attributes, "skipped")
        passed = max(count_in(attributes, "tests") - failed - errors - skipped, 0)
        return cls(attributes.get("name", ""), TestCounts(passed, failed, skipped, errors))

    @property
    def missing(self) -> int:
        return max(self.claimed.failed + self.claimed.errors - self.seen, 0)

    @property
    def total(self) -> TestCounts:
        cases = TestCounts(self.cases["passed"], self.cases["failure"], self.cases["skipped"], self.cases["error"])
        counts = cases + self.inner
        return counts + TestCounts(errors=self.missing) if counts.total else self.claimed


@dataclass(slots=True)
class _Case:
    name: str
    depth: int
    outcome: str = "passed"
    message: str = ""


class _JunitDocument:
    def __init__(self) -> None:
        self.counts = TestCounts()
        self.failures: list[Failure] = []
        self._suites: list[_Suite] = []
        self._case: _Case | None = None
        self._verdict = ""
        self._text = ""

    def at_root(self, tag: str, _attributes: Attributes) -> _JunitDocument:
        if tag not in _SUITES:
            raise Malformed(f"an XML document <{tag}>, expected JUnit's <testsuites> or <testsuite>")
        return self

    def start(self, tag: str, attributes: Attributes, depth: int) -> None:
        if self._case is not None:
            if tag in _SEVERITY and depth == self._case.depth + 1:
                self._begin_verdict(tag, attributes)
        elif tag in _SUITES:
            self._suites.append(_Suite.of(attributes))
        elif tag == "testcase":
            self._case = _Case(_name(attributes), depth)

    def end(self, tag: str, depth: int) -> None:
        if self._case is not None:
            if depth == self._case.depth:
                self._end_case(self._case)
            elif self._verdict and depth == self._case.depth + 1:
                self._case.message = self._case.message or self._text
                self._verdict = ""
        elif tag in _SUITES:
            self._end_suite(self._suites.pop())

    def text(self, text: str) -> None:
        if self._verdict and len(self._text) < MAX_TEXT_LENGTH:
            self._text += (text if self._text else text.lstrip())[:MAX_TEXT_LENGTH]

    def _begin_verdict(self, tag: str, attributes: Attributes) -> None:
        assert self._case is not None
        if tag in ("failure", "error"):
            self._suites[-1].seen += 1
        if _SEVERITY.index(tag) > _SEVERITY.index(self._case.outcome):
            self._case.outcome = tag
            self._case.message = attributes.get("message", "")
        self._verdict, self._text = tag, ""

    def _end_case(self, case: _Case) -> None:
        self._case = None
        self._suites[-1].cases[case.outcome] += 1
        if case.outcome in ("failure", "error"):
            self._add_failure(case.name, case.message)

    def _end_suite(self, suite: _Suite) -> None:
        total = suite.total
        if suite.missing:
            self._add_failure(suite.name, f"{suite.missing} failures or errors that no test case shows")
        if self._suites:
            around = self._suites[-1]
            around.inner += total
            around.seen += suite.seen + suite.missing
        else:
            self.counts = total

    def _add_failure(self, name: str, message: str) -> None:
        if len(self.failures) < MAX_FAILURES:
            self.failures.append(failure(name, message))


def _name(attributes: Attributes) -> str:
    class_name, name = attributes.get("classname", ""), attributes.get("name", "")
    return f"{class_name}.{name}" if class_name and class_name != name else name
