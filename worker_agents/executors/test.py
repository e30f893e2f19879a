"""TEST: an allowed command runs the tests of a directory or a revision, and its reports are read (``contracts.md`` 1.8)."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from worker_agents.clients.command import CommandRunner
from worker_agents.clients.process import ProcessOutcome, ProgramMissing
from worker_agents.executors.base import BaseTaskExecutor, CodeForge, ExecutionContext, Parameters, VaultClient
from worker_agents.executors.fallback import Fallback, FallbackChoice
from worker_agents.executors.parameter_types import OptionalText, Texts
from worker_agents.executors.simulation import simulated_test
from worker_agents.executors.sources import SourceProvider
from worker_agents.executors.suite_verdict import Verdict, error_of, judge
from worker_agents.model.documents import null_is_absent
from worker_agents.model.errors import TaskTimedOut
from worker_agents.model.result import TaskResult
from worker_agents.model.ticket import Ticket
from worker_agents.reports.collect import Collected, collect
from worker_agents.reports.model import ReportUnreadable, TestCounts
from worker_agents.telemetry.events import Emit, SuiteTimedOut

TEST_LIMIT_SECONDS = 600.0
LOG_EVENT = "test_execution_error"
LOCAL = "local"

# The attempt's own limit must not come first: time to end the processes and to read the reports.
_RESERVE_SHARE = 0.1
_RESERVE_SECONDS = 10.0
# No program can start and write a report within this, but a checkout may have ended just before.
_QUICKEST_REPORT_SECONDS = 0.01
_STDOUT_LINES = 100
_STDERR_LINES = 50


class TestParameters(Parameters):
    """What a TEST ticket may ask for. ``env_vars`` must be allowed by the operator, name by name."""

    __test__: ClassVar[bool] = False

    test_suite: Annotated[str, Field(max_length=200)] = "default"
    test_command: str | list[str] | None = None
    working_dir: OptionalText = None
    repo_url: OptionalText = None
    repo: OptionalText = None
    revision: OptionalText = None
    ref: OptionalText = None
    report_path: OptionalText = None
    junit_xml_path: OptionalText = None
    coverage_report_path: OptionalText = None
    env_vars: Texts = Field(default_factory=dict)
    provider: OptionalText = None
    ci_provider: OptionalText = None

    _nulls = model_validator(mode="before")(null_is_absent)

    @field_validator("provider", "ci_provider")
    @classmethod
    def _is_local(cls, name: str | None) -> str | None:
        if name is not None and name.lower() != LOCAL:
            raise ValueError(f"{name[:40]!r} is not available: this worker runs tests itself, as provider 'local'")
        return name

    @model_validator(mode="after")
    def _names_a_command(self) -> Self:
        if not self.test_command:
            raise ValueError("test_command is missing: it must be a command that ALLOWED_TEST_COMMANDS lists")
        return self

    @property
    def command(self) -> str | list[str]:
        return self.test_command or ""


class TestExecutor(BaseTaskExecutor[TestParameters]):
    """Runs the command of a ticket on its source and says whether the tests passed.

    Nothing remote is begun, so nothing is resumed: after a crash of the worker the tests run again from the start, in a
    fresh checkout. ``fallback`` says what a ticket gets when the program of an allowed command is not installed. Tests that
    fail, that no test ran and a report that cannot be read are verdicts; a time-out, the end by another's hand and the end
    of memory are errors, and tried again.
    """

    __test__ = False

    def __init__(
        self,
        *,
        emit: Emit,
        runner: CommandRunner,
        workspaces: SourceProvider,
        fallback: FallbackChoice = "fail",
        timeout_seconds: float = TEST_LIMIT_SECONDS,
        mask: Callable[[str], str] = str,
        vault_client: VaultClient | None = None,
        code_forge_client: CodeForge | None = None,
    ) -> None:
        super().__init__(vault_client=vault_client, code_forge_client=code_forge_client)
        self._emit = emit
        self._runner = runner
        self._workspaces = workspaces
        self._fallback = Fallback("test", fallback, emit)
        self._timeout_seconds = timeout_seconds
        self._mask = mask

    def get_task_type(self) -> str:
        return "TEST"

    def time_limit(self, ticket: Ticket) -> float:  # noqa: ARG002 # the same for every ticket
        return self._timeout_seconds

    async def execute(self, ticket: Ticket, context: ExecutionContext) -> TaskResult:
        """Get the source, run the command, read the reports, judge."""
        parameters = self.parameters(ticket)
        # Checked here too, so that nothing is checked out for a command that will not be run.
        argv = self._runner.check(parameters.command, env_vars=parameters.env_vars).argv
        async with self._source(parameters, context) as directory:
            began = time.time()
            try:
                outcome = await self._run(parameters, argv, directory, context)
            except ProgramMissing as error:
                return self._simulated(ticket, parameters, context, error)
            self._raise_if_ended_early(outcome, ticket, parameters)
            reports = await _read_reports(parameters, directory, outcome, began)
        verdict = judge(outcome, argv, reports.collected.tests, reports.problem)
        return self._result(parameters, outcome, reports, verdict)

    def _source(self, parameters: TestParameters, context: ExecutionContext) -> AbstractAsyncContextManager[Path]:
        return self._workspaces.source(
            working_dir=parameters.working_dir,
            repo_url=parameters.repo_url or parameters.repo,
            revision=parameters.revision or parameters.ref,
            log=context.log,
        )

    async def _run(
        self, parameters: TestParameters, argv: Sequence[str], directory: Path, context: ExecutionContext
    ) -> ProcessOutcome:
        left = context.remaining()
        seconds = left - min(_RESERVE_SECONDS, left * _RESERVE_SHARE)
        context.log(self._mask(f"running {shlex.join(argv)} for at most {seconds:.0f} s"))
        outcome = await self._runner.run(argv, cwd=directory, seconds=seconds, env_vars=parameters.env_vars)
        _log_tail("stdout", outcome.stdout, _STDOUT_LINES, context)
        _log_tail("stderr", outcome.stderr, _STDERR_LINES, context)
        context.log(f"ended after {outcome.duration_seconds:.1f} s: {outcome.ending}")
        return outcome

    def _raise_if_ended_early(self, outcome: ProcessOutcome, ticket: Ticket, parameters: TestParameters) -> None:
        error = error_of(outcome)
        if isinstance(error, TaskTimedOut):
            self._emit(
                SuiteTimedOut(ticket.ticket_id, ticket.task_type, parameters.test_suite, limit=outcome.time_limit)
            )
        if error is not None:
            raise error

    def _simulated(
        self, ticket: Ticket, parameters: TestParameters, context: ExecutionContext, error: ProgramMissing
    ) -> TaskResult:
        self._fallback.announce(error, ticket, context, log_event=LOG_EVENT)
        return simulated_test(test_suite=parameters.test_suite, reason=error.reason)

    def _result(
        self, parameters: TestParameters, outcome: ProcessOutcome, reports: _Reports, verdict: Verdict
    ) -> TaskResult:
        report = reports.collected.tests
        counts = TestCounts() if report is None else report.counts
        failures = () if report is None else report.failures
        return TaskResult(
            success=verdict.passed,
            output={
                "tests_passed": counts.passed,
                "tests_failed": counts.failed,
                "tests_errors": counts.errors,
                "tests_skipped": counts.skipped,
                "coverage": reports.collected.coverage,
                "test_suite": parameters.test_suite,
                "return_code": _return_code(outcome),
                "failures": [{"name": self._mask(each.name), "message": self._mask(each.message)} for each in failures],
                "report": reports.collected.source,
            },
            metadata={
                "executor": "TestExecutor",
                "provider": LOCAL,
                "simulated": False,
                "duration_seconds": outcome.duration_seconds,
                "report_problems": [self._mask(problem) for problem in reports.collected.problems],
            },
            error_message=None if verdict.passed else self._mask(verdict.message),
            reason=verdict.reason,
        )


@dataclass(frozen=True, slots=True)
class _Reports:
    """``problem`` says why a report that was asked for cannot be used."""

    collected: Collected
    problem: str | None = None


async def _read_reports(parameters: TestParameters, directory: Path, outcome: ProcessOutcome, began: float) -> _Reports:
    """In a thread: reports can be large."""
    try:
        collected = await asyncio.to_thread(
            collect,
            directory,
            report_path=parameters.report_path,
            junit_xml_path=parameters.junit_xml_path,
            coverage_report_path=parameters.coverage_report_path,
            # Some tools (jest) tell their results on stderr; where both speak, what comes last counts.
            stdout=f"{outcome.stderr}\n{outcome.stdout}",
            stdout_cut=outcome.stdout_is_cut,
            newer_than=began + _QUICKEST_REPORT_SECONDS,
        )
    except ReportUnreadable as error:
        return _Reports(Collected(None, None, None, (str(error),)), str(error))
    return _Reports(collected)


def _return_code(outcome: ProcessOutcome) -> int | None:
    """The exit code, or the signal as a negative number, as ``subprocess`` gives it."""
    return outcome.exit_code if outcome.signal is None else -outcome.signal


def _log_tail(name: str, output: str, lines: int, context: ExecutionContext) -> None:
    """The last lines of what the command wrote: what went wrong stands at the end."""
    written = output.splitlines()
    if len(written) > lines:
        context.log(f"{name}: the last {lines} of {len(written)} lines")
    for line in written[-lines:]:
        context.log(f"{name}: {line}")
