"""VALIDATE: a policy decision by OPA, or a scan by Trivy (``contracts.md`` 1.8, 3 and 4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

from worker_agents.clients.opa import Decision
from worker_agents.executors.base import BaseTaskExecutor, CodeForge, ExecutionContext, VaultClient
from worker_agents.executors.fallback import OUTAGES, Fallback, FallbackChoice
from worker_agents.executors.simulation import simulated_validation
from worker_agents.executors.sources import SourceProvider
from worker_agents.executors.validate_parameters import ValidateParameters
from worker_agents.executors.validate_policy import judge_policy
from worker_agents.executors.validate_scan import Scanner, judge_scan, scan_seconds, scan_target
from worker_agents.executors.validate_verdict import Verdict
from worker_agents.model.errors import IntegrationDisabled, Postponed, Reason, TaskError
from worker_agents.model.result import TaskResult
from worker_agents.model.ticket import Ticket
from worker_agents.model.violation import Severity
from worker_agents.telemetry.events import Emit

OPA_ERROR: Final = "validation_opa_error"
SAST_TIMEOUT: Final = "validation_sast_timeout"
SAST_ERROR: Final = "validation_sast_error"

SCAN_LIMIT_SECONDS: Final = 300.0
DEFAULT_FAIL_SEVERITIES: Final = (Severity.HIGH, Severity.CRITICAL)

SHORTEST_WAIT_SECONDS: Final = 2.0
LONGEST_WAIT_SECONDS: Final = 60.0

# Beside the scan itself: a checkout, ending Trivy, reading its report.
_AROUND_A_SCAN_SECONDS: Final = 120.0
# Of the attempt's time, what OPA may take with all tries: the rest is for its fallback.
_OPA_SHARE: Final = 0.9


class PolicyEngine(Protocol):
    """See ``clients.opa``."""

    async def decide(
        self, policy_path: str, policy_input: Any, headers: Mapping[str, str], *, within: float | None = None
    ) -> Decision: ...


class ValidateExecutor(BaseTaskExecutor[ValidateParameters]):
    """Asks for a decision, or scans, and says whether the ticket passes.

    Both only read, so nothing is checkpointed: after a crash of the worker the question is asked again, and a scan starts
    anew. ``opa_fallback`` and ``trivy_fallback`` say what a ticket gets while OPA or Trivy is down or disabled (their
    client is ``None``), and when a scan takes too long: a simulated result, or the error. A denial, a finding and an undefined
    policy are verdicts; a refused question, a wrong path and a report that cannot be read are errors. None of these falls back.

    ``scan_timeout_seconds`` is the longest scan, ``fail_severities`` are those of findings that fail a ticket. No more than
    ``concurrent_scans`` run at once: each is a process of a few hundred megabytes. A ticket that finds no place for its scan
    is postponed, so that it holds no slot.
    """

    def __init__(
        self,
        *,
        emit: Emit,
        vault_client: VaultClient | None = None,
        code_forge_client: CodeForge | None = None,
        opa_client: PolicyEngine | None = None,
        trivy: Scanner | None = None,
        workspaces: SourceProvider | None = None,
        opa_fallback: FallbackChoice = "simulate",
        trivy_fallback: FallbackChoice = "simulate",
        scan_timeout_seconds: float = SCAN_LIMIT_SECONDS,
        fail_severities: Iterable[str] = DEFAULT_FAIL_SEVERITIES,
        concurrent_scans: int = 2,
    ) -> None:
        super().__init__(vault_client=vault_client, code_forge_client=code_forge_client)
        self._opa = opa_client
        self._trivy = trivy
        self._workspaces = workspaces
        self._opa_fallback = Fallback("opa", opa_fallback, emit)
        self._trivy_fallback = Fallback("trivy", trivy_fallback, emit)
        self._scan_limit = scan_timeout_seconds
        self._free_places = concurrent_scans
        self._latest_scan_seconds = 0.0
        self._fail_severities = frozenset(Severity(name) for name in fail_severities)

    def get_task_type(self) -> str:
        return "VALIDATE"

    def time_limit(self, ticket: Ticket) -> float:
        del ticket
        return self._scan_limit + _AROUND_A_SCAN_SECONDS

    async def execute(self, ticket: Ticket, context: ExecutionContext) -> TaskResult:
        """Decide or scan, from the start on every attempt."""
        parameters = self.parameters(ticket)
        if parameters.validation_type == "policy":
            return await self._validate_by_policy(ticket, parameters, context)
        with self._place(context):
            return await self._validate_by_scan(ticket, parameters, context)

    @contextmanager
    def _place(self, context: ExecutionContext) -> Iterator[None]:
        """One of the places for scans. A ticket that finds none waits elsewhere, without the slot that others could use."""
        if not self._free_places:
            wait = min(max(self._latest_scan_seconds, SHORTEST_WAIT_SECONDS), LONGEST_WAIT_SECONDS)
            raise Postponed("as many scans as may run at once do (TRIVY_CONCURRENT_SCANS)", retry_after=wait)
        began = context.remaining()
        self._free_places -= 1
        try:
            yield
        finally:
            self._free_places += 1
            self._latest_scan_seconds = began - context.remaining()

    async def _validate_by_policy(
        self, ticket: Ticket, parameters: ValidateParameters, context: ExecutionContext
    ) -> TaskResult:
        began = context.remaining()
        try:
            decision = await self._decide(parameters, context)
        except OUTAGES as error:
            self._opa_fallback.announce(error, ticket, context, log_event=OPA_ERROR)
            return _simulated(parameters, error, began - context.remaining())
        verdict = judge_policy(parameters.policy_path, decision)
        if decision.warning is not None:
            context.log(f"opa: {decision.warning}")
        return _result(verdict, began - context.remaining())

    async def _decide(self, parameters: ValidateParameters, context: ExecutionContext) -> Decision:
        if self._opa is None:
            raise IntegrationDisabled("OPA is not configured (OPA_ENABLED=false)")
        return await self._opa.decide(
            parameters.policy_path,
            parameters.input_data,
            context.trace_headers(),
            within=context.remaining() * _OPA_SHARE,
        )

    async def _validate_by_scan(
        self, ticket: Ticket, parameters: ValidateParameters, context: ExecutionContext
    ) -> TaskResult:
        began = context.remaining()
        if self._trivy is None and parameters.repo_url is not None:
            # Not worth a checkout; a directory is looked at even so, because a wrong one is never simulated.
            return self._scan_fallback(ticket, parameters, context, _disabled(), began)
        # Around the scan alone: a checkout that fails is no outage of Trivy.
        async with scan_target(parameters, self._workspaces, context) as target:
            try:
                if self._trivy is None:
                    raise _disabled()
                report = await self._trivy.scan(target, seconds=scan_seconds(parameters, self._scan_limit, context))
            except OUTAGES as error:
                return self._scan_fallback(ticket, parameters, context, error, began)
        scanners = self._trivy.scanners_for(target.kind)
        verdict = judge_scan(target, report, scanners, self._fail_severities)
        context.log(f"trivy {target.kind} ({', '.join(scanners)}): {len(report.findings)} findings")
        return _result(verdict, began - context.remaining())

    def _scan_fallback(
        self,
        ticket: Ticket,
        parameters: ValidateParameters,
        context: ExecutionContext,
        error: TaskError,
        began: float,
    ) -> TaskResult:
        log_event = SAST_TIMEOUT if error.reason is Reason.TIMEOUT else SAST_ERROR
        self._trivy_fallback.announce(error, ticket, context, log_event=log_event)
        return _simulated(parameters, error, began - context.remaining())


def _disabled() -> IntegrationDisabled:
    return IntegrationDisabled("Trivy is not configured (TRIVY_ENABLED=false)")


def _simulated(parameters: ValidateParameters, error: TaskError, seconds: float) -> TaskResult:
    return simulated_validation(
        validation_type=parameters.validation_type, reason=error.reason, duration_seconds=round(seconds, 3)
    )


def _result(verdict: Verdict, seconds: float) -> TaskResult:
    return TaskResult(
        success=verdict.passed,
        output=verdict.output(),
        metadata={
            "executor": "ValidateExecutor",
            "simulated": False,
            "duration_seconds": round(seconds, 3),
            **verdict.metadata,
        },
        error_message=verdict.problem,
        reason=verdict.reason,
    )
