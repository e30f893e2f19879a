"""What the end of a command and its reports come to."""

import signal
from typing import Any

import pytest

from worker_agents.clients.process import ProcessOutcome
from worker_agents.executors.suite_verdict import Verdict, error_of, judge
from worker_agents.model.errors import Reason, TaskTimedOut
from worker_agents.reports.model import TestCounts, TestReport


def ended(exit_code: int | None = 0, **how: Any) -> ProcessOutcome:
    ending = {"signal": None, "timed_out": False, "out_of_memory": False, "stdout": "", "stderr": ""}
    return ProcessOutcome(exit_code=exit_code, duration_seconds=1.0, time_limit=60.0, **(ending | how))


def reported(*, complete: bool = True, **counts: int) -> TestReport:
    return TestReport("junit", TestCounts(**counts), complete=complete)


GREEN = reported(passed=3, skipped=1)


def failed(message: str, reason: Reason = Reason.VERDICT_FAILED) -> Verdict:
    return Verdict(passed=False, reason=reason, message=message)


@pytest.mark.parametrize(
    ("outcome", "report", "expected"),
    [
        (ended(0), GREEN, Verdict(passed=True)),
        (ended(0), reported(passed=1, failed=1), failed("of 2 tests 1 failed, although the exit code is 0")),
        (ended(0), reported(passed=1, errors=1), failed("of 2 tests 1 could not be run, although the exit code is 0")),
        (
            ended(0),
            reported(passed=1, complete=False),
            failed("the report says that the run failed or broke off, although the exit code is 0"),
        ),
        (
            ended(0),
            None,
            failed("exit code 0, but no results of tests were found in its output or reports", Reason.NO_TESTS_RAN),
        ),
        (ended(0), reported(), failed("exit code 0, but no test ran", Reason.NO_TESTS_RAN)),
        (ended(0), reported(skipped=5), failed("exit code 0, but no test ran (5 skipped)", Reason.NO_TESTS_RAN)),
        (
            ended(1),
            reported(passed=2, failed=1, errors=2),
            failed("of 5 tests 1 failed and 2 could not be run (exit code 1)"),
        ),
        (ended(1), GREEN, failed("exit code 1, although none of 4 tests failed")),
        (ended(1), None, failed("exit code 1; no results of tests were found")),
        (ended(1), reported(), failed("exit code 1; no results of tests were found")),
        (ended(None, signal=signal.SIGSEGV), GREEN, failed("crashed with SIGSEGV, although none of 4 tests failed")),
        (ended(None, signal=signal.SIGABRT), None, failed("crashed with SIGABRT; no results of tests were found")),
    ],
)
def test_passed_is_exit_code_0_and_a_test_that_ran_and_none_that_failed(
    outcome: ProcessOutcome, report: TestReport | None, expected: Verdict
) -> None:
    assert judge(outcome, ["npm", "test"], report, None) == expected


@pytest.mark.parametrize("argv", [["pytest", "-q"], ["/usr/bin/pytest"], ["python", "-m", "pytest"]])
@pytest.mark.parametrize(
    ("exit_code", "reason", "says"),
    [
        (2, Reason.VERDICT_FAILED, "interrupted, or could not collect"),
        (3, Reason.VERDICT_FAILED, "internal error"),
        (4, Reason.VERDICT_FAILED, "called wrongly"),
        (5, Reason.NO_TESTS_RAN, "collected no tests"),
    ],
)
def test_the_exit_codes_of_pytest_are_explained(argv: list[str], exit_code: int, reason: Reason, says: str) -> None:
    verdict = judge(ended(exit_code), argv, None, None)
    assert (verdict.passed, verdict.reason) == (False, reason)
    assert says in verdict.message


def test_the_same_codes_of_others_mean_nothing_special() -> None:
    assert judge(ended(5), ["npm", "test"], None, None) == failed("exit code 5; no results of tests were found")


def test_a_report_that_was_asked_for_must_be_readable_to_pass() -> None:
    verdict = judge(ended(0), ["pytest"], None, "report out.xml: there is no such file")
    assert verdict == failed("report out.xml: there is no such file", Reason.REPORT_UNREADABLE)


def test_failing_tests_matter_more_than_the_report_that_they_did_not_write() -> None:
    verdict = judge(ended(4), ["pytest"], None, "report out.xml: there is no such file")
    assert verdict.reason is Reason.VERDICT_FAILED


@pytest.mark.parametrize("exit_code", [0, 1, 137])
def test_a_command_that_ended_by_itself_is_judged(exit_code: int) -> None:
    assert error_of(ended(exit_code)) is None


def test_a_crash_is_the_tests_own_fault() -> None:
    assert error_of(ended(None, signal=signal.SIGSEGV)) is None


def test_a_time_out_is_an_error() -> None:
    error = error_of(ended(None, signal=signal.SIGTERM, timed_out=True))
    assert isinstance(error, TaskTimedOut)
    assert (error.reason, error.retryable) == (Reason.TIMEOUT, True)
    assert str(error) == "the tests did not end within 60 s and were stopped"


def test_running_out_of_memory_is_an_error() -> None:
    for outcome in (ended(None, signal=signal.SIGKILL, out_of_memory=True), ended(137, out_of_memory=True)):
        error = error_of(outcome)
        assert error is not None
        assert (error.reason, error.retryable) == (Reason.OUT_OF_MEMORY, True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_end_by_anothers_hand_is_an_error(number: signal.Signals) -> None:
    error = error_of(ended(None, signal=number))
    assert error is not None
    assert error.retryable
    assert str(error) == f"the tests were killed by {number.name} from outside"
