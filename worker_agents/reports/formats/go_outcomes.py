"""What became of Go's tests, whether read from events or from printed lines.

A subtest ``Parent/sub`` and its parent both report. Leaves are counted; a parent only where it failed by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from worker_agents.reports.model import Failure, TestCounts, TestReport, failure, first_failures

# Deeper levels are taken as part of the name.
_MAX_LEVELS = 16


@dataclass(slots=True)
class GoPackage:
    """``outcomes`` by test: ``run`` while it goes on, then ``pass``, ``fail`` or ``skip``. ``ended`` by the package's own."""

    name: str
    outcomes: dict[str, str] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    ended: str | None = None
    message: str = ""
    panicked: bool = False

    def report(self, *, form: str) -> TestReport:
        tests = self._settled()
        tally = {"pass": 0, "fail": 0, "skip": 0, "run": 0}
        for outcome in tests.values():
            tally[outcome] += 1
        # Not built, or dead outside of any test.
        failed_as_a_whole = self.ended == "fail" and not tally["fail"] and not tally["run"]
        died = self.panicked and self.ended != "pass"
        return TestReport(
            format=form,
            counts=TestCounts(tally["pass"], tally["fail"], tally["skip"], tally["run"] + failed_as_a_whole),
            failures=first_failures(self._failures(tests, as_a_whole=failed_as_a_whole)),
            complete=self.ended is not None and not died and not tally["run"],
        )

    def _settled(self) -> dict[str, str]:
        """The tests that count: leaves, and parents that failed though none of their subtests did."""
        parents = {test: self._parent(test) for test in self.outcomes}
        inner = set(parents.values())
        explained = {parents[test] for test, outcome in self.outcomes.items() if outcome == "fail"}
        return {
            test: outcome
            for test, outcome in self.outcomes.items()
            if (outcome == "fail" and test not in explained) or (outcome != "fail" and test not in inner)
        }

    def _failures(self, tests: dict[str, str], *, as_a_whole: bool) -> Iterator[Failure]:
        if as_a_whole:
            yield failure(self.name, self.message)
        for test, outcome in tests.items():
            if outcome in ("fail", "run"):
                message = self.messages.get(test, "") or ("did not finish" if outcome == "run" else "")
                yield failure(f"{self.name}.{test}" if self.name else test, message)

    def _parent(self, test: str) -> str | None:
        """The nearest reported test above; a subtest's own name may hold slashes, so not every level is one."""
        end = len(test)
        for _ in range(_MAX_LEVELS):
            end = test.rfind("/", 0, end)
            if end <= 0:
                return None
            if test[:end] in self.outcomes:
                return test[:end]
        return None
