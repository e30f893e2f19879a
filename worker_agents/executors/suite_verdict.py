"""What the end of a test command and its reports come to. Pure: decides, does nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from worker_agents.clients.process import ProcessOutcome
from worker_agents.model.errors import Reason, TaskError, TaskTimedOut
from worker_agents.reports.model import TestReport

# https://docs.pytest.org/en/stable/reference/exit-codes.html
_PYTEST_ENDINGS = {
    2: "pytest was interrupted, or could not collect the tests",
    3: "an internal error of pytest",
    4: "pytest was called wrongly",
    5: "pytest collected no tests",
}
_PYTEST_NO_TESTS = 5
_PYTEST_NAMES = frozenset({"pytest", "py.test"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """``message`` says in one sentence why it is negative, and is empty when it is positive."""

    passed: bool
    reason: Reason = Reason.VERDICT_FAILED
    message: str = ""


def error_of(outcome: ProcessOutcome) -> TaskError | None:
    """The error, when the command was ended before it could come to a verdict. Another attempt may fare better."""
    if outcome.timed_out:
        return TaskTimedOut(f"the tests did not end within {outcome.time_limit:g} s and were stopped")
    if outcome.out_of_memory:
        return TaskError(
            "the tests were killed because the container's memory is used up",
            reason=Reason.OUT_OF_MEMORY,
            retryable=True,
        )
    if outcome.killed_from_outside:
        return TaskError(f"the tests were {outcome.ending}", retryable=True)
    return None


def judge(
    outcome: ProcessOutcome, argv: Sequence[str], report: TestReport | None, report_problem: str | None
) -> Verdict:
    """Passed is: exit code 0, and at least one test ran, and the reports that were asked for can be read.

    ``report_problem`` says why a report that was asked for cannot be used.
    """
    if outcome.exit_code != 0:
        return _judge_failure(outcome, argv, report)
    if report_problem is not None:
        return Verdict(passed=False, reason=Reason.REPORT_UNREADABLE, message=report_problem)
    if report is None:
        return _no_tests("no results of tests were found in its output or reports")
    if not report.counts.ran:
        return _no_tests(f"no test ran{f' ({report.counts.skipped} skipped)' if report.counts.skipped else ''}")
    doubt = _doubt(report)
    return Verdict(passed=doubt is None, message=doubt or "")


def _doubt(report: TestReport) -> str | None:
    """A program between us and the tests can swallow their exit code."""
    if not report.counts.clean:
        return f"{_failures(report)}, although the exit code is 0"
    if not report.complete:
        return "the report says that the run failed or broke off, although the exit code is 0"
    return None


def _judge_failure(outcome: ProcessOutcome, argv: Sequence[str], report: TestReport | None) -> Verdict:
    ending = outcome.ending
    if _is_pytest(argv) and outcome.exit_code in _PYTEST_ENDINGS:
        ending = f"{ending}: {_PYTEST_ENDINGS[outcome.exit_code]}"
        if outcome.exit_code == _PYTEST_NO_TESTS:
            return Verdict(passed=False, reason=Reason.NO_TESTS_RAN, message=ending)
    if report is None or not report.counts.total:
        return Verdict(passed=False, message=f"{ending}; no results of tests were found")
    if report.counts.clean:
        return Verdict(passed=False, message=f"{ending}, although none of {report.counts.total} tests failed")
    return Verdict(passed=False, message=f"{_failures(report)} ({ending})")


def _no_tests(why: str) -> Verdict:
    return Verdict(passed=False, reason=Reason.NO_TESTS_RAN, message=f"exit code 0, but {why}")


def _failures(report: TestReport) -> str:
    counts = report.counts
    parts = [f"{counts.failed} failed"] if counts.failed else []
    parts += [f"{counts.errors} could not be run"] if counts.errors else []
    return f"of {counts.total} tests {' and '.join(parts)}"


def _is_pytest(argv: Sequence[str]) -> bool:
    """``pytest``, ``python -m pytest``."""
    return any(PurePath(word).name in _PYTEST_NAMES for word in argv[:3])
