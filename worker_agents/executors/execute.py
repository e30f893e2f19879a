"""EXECUTE: code generation from a template, through Code Forge (``contracts.md`` 1.8 and 1.9)."""

from __future__ import annotations

import random
from typing import Any, Self

from pydantic import model_validator

from worker_agents.clients.code_forge import GenerationStatus
from worker_agents.executors.base import BaseTaskExecutor, ExecutionContext, Parameters, VaultClient
from worker_agents.executors.fallback import OUTAGES, Fallback, FallbackChoice
from worker_agents.executors.following import Followed
from worker_agents.executors.generation import GenerationFollower, GenerationService
from worker_agents.executors.parameter_types import OptionalText
from worker_agents.executors.polling import Patience
from worker_agents.executors.simulation import simulated_execution
from worker_agents.model.errors import IntegrationDisabled, TaskError, UnknownOutcome
from worker_agents.model.result import TaskResult
from worker_agents.model.ticket import Ticket
from worker_agents.telemetry.events import Emit

GENERATION_LIMIT_SECONDS = 1800.0
LOG_EVENT = "execute_code_forge_error"
RUNTIME = "code_forge"
_ONLY_TEMPLATES = "this worker executes through Code Forge templates only"


class ExecuteParameters(Parameters):
    """What an EXECUTE ticket may ask for; all of ``parameters`` is handed on to the template.

    The wider platform also runs commands in containers. Those tickets are refused here rather than answered with
    something else than they asked for.
    """

    template_id: OptionalText = None
    template: OptionalText = None
    target_repo: OptionalText = None
    branch: OptionalText = None
    runtime: OptionalText = None
    command: Any = None

    @model_validator(mode="after")
    def _asks_for_a_template(self) -> Self:
        if not self.chosen_template:
            raise ValueError(f"template_id (or template) is missing: {_ONLY_TEMPLATES}")
        if self.runtime is not None and self.runtime.lower() != RUNTIME:
            raise ValueError(f"runtime {self.runtime[:40]!r} is not available: {_ONLY_TEMPLATES}")
        if self.command:
            raise ValueError(f"command cannot be run: {_ONLY_TEMPLATES}")
        return self

    @property
    def chosen_template(self) -> str:
        return self.template_id or self.template or ""


class ExecuteExecutor(BaseTaskExecutor[ExecuteParameters]):
    """Submits a generation, remembers its id at once and polls it to its end.

    ``fallback`` says what a ticket gets while Code Forge is down or disabled, or when a generation outlives its limit:
    a simulated result, or the error. A generation that ends ``failed`` is a verdict and never falls back; a refused
    request, and one whose outcome is not known, neither.
    """

    default_timeout_seconds = GENERATION_LIMIT_SECONDS

    def __init__(
        self,
        *,
        emit: Emit,
        vault_client: VaultClient | None = None,
        code_forge_client: GenerationService | None = None,
        fallback: FallbackChoice = "simulate",
        patience: Patience | None = None,
        rng: random.Random | None = None,
    ) -> None:
        super().__init__(vault_client=vault_client, code_forge_client=code_forge_client)
        self._service = code_forge_client
        self._fallback = Fallback("code_forge", fallback, emit)
        self._patience = patience or Patience()
        self._rng = rng

    def get_task_type(self) -> str:
        return "EXECUTE"

    async def execute(self, ticket: Ticket, context: ExecutionContext) -> TaskResult:
        """Generate, or go on with the generation that an earlier attempt began."""
        parameters = self.parameters(ticket)
        request_id = _resumed_request(context)
        try:
            if request_id is None:
                request_id = await self._submit(ticket, parameters, context)
            else:
                context.log(f"resumed generation {request_id}")
            followed = await self._follow(request_id, parameters, context)
        except OUTAGES as error:
            return self._simulated(ticket, context, error, request_id)
        return _result(followed, context)

    async def _submit(self, ticket: Ticket, parameters: ExecuteParameters, context: ExecutionContext) -> str:
        request_id = await self.submit_code_generation(
            ticket,
            parameters.chosen_template,
            ticket.parameters,
            target_repo=parameters.target_repo,
            branch=parameters.branch,
        )
        await context.checkpoint({"request_id": request_id})
        context.log(f"submitted generation {request_id} of template {parameters.chosen_template}")
        return request_id

    async def _follow(
        self, request_id: str, parameters: ExecuteParameters, context: ExecutionContext
    ) -> Followed[GenerationStatus]:
        if self._service is None:
            raise IntegrationDisabled("Code Forge is not configured (CODE_FORGE_ENABLED=false)")
        limit = parameters.timeout_seconds or self.default_timeout_seconds
        follower = GenerationFollower(self._service, request_id, context, limit, patience=self._patience, rng=self._rng)
        return await follower.follow()

    def _simulated(
        self, ticket: Ticket, context: ExecutionContext, error: TaskError, request_id: str | None
    ) -> TaskResult:
        self._fallback.announce(error, ticket, context, log_event=LOG_EVENT)
        return simulated_execution(
            ticket, reason=error.reason, duration_seconds=_seconds(context), abandoned_request_id=request_id
        )


def _resumed_request(context: ExecutionContext) -> str | None:
    """The generation of an earlier attempt. It is never started anew: its id may be lost, its work is not."""
    if context.resumed_from is None:
        return None
    request_id = context.resumed_from.get("request_id")
    if not isinstance(request_id, str) or not request_id:
        raise UnknownOutcome("a generation was begun, but the checkpoint does not hold its request_id")
    return request_id


def _result(followed: Followed[GenerationStatus], context: ExecutionContext) -> TaskResult:
    status = followed.status
    return TaskResult(
        success=status.is_completed,
        output={
            "request_id": status.request_id,
            "artifacts": list(status.artifacts),
            "pipeline_id": status.pipeline_id,
        },
        metadata={
            "executor": "ExecuteExecutor",
            "runtime": RUNTIME,
            "simulated": False,
            "duration_seconds": _seconds(context),
            "polls": followed.polls,
        },
        error_message=None
        if status.is_completed
        else f"generation {status.status}: {status.error or 'no reason given'}",
    )


def _seconds(context: ExecutionContext) -> float:
    """How long the remote work has taken, over all attempts."""
    return round(context.seconds_since_checkpoint(), 3)
