"""BUILD: a pipeline at Code Forge (``contracts.md`` 1.8 and 1.9)."""

from __future__ import annotations

import random
from typing import Annotated, Any, ClassVar

from pydantic import Field

from worker_agents.executors.base import BaseTaskExecutor, ExecutionContext, Parameters, VaultClient
from worker_agents.executors.fallback import OUTAGES, Fallback, FallbackChoice
from worker_agents.executors.parameter_types import OptionalText, Values
from worker_agents.executors.pipeline import BegunPipeline, EndedPipeline, PipelineFollower, PipelineService
from worker_agents.executors.polling import LONGEST_SECONDS, Patience
from worker_agents.executors.simulation import simulated_build
from worker_agents.model.errors import IntegrationDisabled, TaskError
from worker_agents.model.result import TaskResult
from worker_agents.model.ticket import Ticket
from worker_agents.telemetry.events import Emit

PIPELINE_LIMIT_SECONDS = 14_400.0
MAX_POLL_INTERVAL_SECONDS = 3600.0
DEFAULT_BRANCH = "main"
LOG_EVENT = "build_code_forge_error"
REQUIRES_REVIEW = "requires_review"


class BuildParameters(Parameters):
    """What a BUILD ticket may ask for. ``poll_interval_seconds`` is the longest wait between two polls."""

    artifact_id: OptionalText = None
    branch: OptionalText = None
    ref: OptionalText = None
    commit_sha: OptionalText = None
    commit: OptionalText = None
    build_args: Values = Field(default_factory=dict)
    env: Values = Field(default_factory=dict)
    env_vars: Values = Field(default_factory=dict)
    poll_interval_seconds: Annotated[float, Field(gt=0, le=MAX_POLL_INTERVAL_SECONDS)] = LONGEST_SECONDS

    @property
    def chosen_branch(self) -> str:
        return self.branch or self.ref or DEFAULT_BRANCH

    @property
    def chosen_commit(self) -> str | None:
        return self.commit_sha or self.commit

    @property
    def chosen_env(self) -> dict[str, Any]:
        return self.env or self.env_vars


class BuildExecutor(BaseTaskExecutor[BuildParameters]):
    """Triggers a pipeline, remembers its id at once and polls it to its end.

    ``limit_seconds`` is what a pipeline may take where the ticket does not say. ``fallback`` says what a ticket gets
    while Code Forge is down or disabled, or when a pipeline outlives its limit: a simulated result, or the error. A
    pipeline that ends ``failed`` is a verdict and never falls back; a refused request, and a pipeline whose outcome is
    not known, neither. Code Forge cannot cancel a pipeline: that of a cancelled ticket runs on, and the result's logs
    name it.
    """

    default_timeout_seconds: ClassVar[float] = PIPELINE_LIMIT_SECONDS

    def __init__(
        self,
        *,
        emit: Emit,
        vault_client: VaultClient | None = None,
        code_forge_client: PipelineService | None = None,
        fallback: FallbackChoice = "simulate",
        limit_seconds: float = PIPELINE_LIMIT_SECONDS,
        patience: Patience | None = None,
        rng: random.Random | None = None,
    ) -> None:
        super().__init__(vault_client=vault_client, code_forge_client=code_forge_client)
        self._service = code_forge_client
        self._fallback = Fallback("code_forge", fallback, emit)
        self._limit = limit_seconds
        self._patience = patience or Patience()
        self._rng = rng

    def get_task_type(self) -> str:
        return "BUILD"

    def time_limit(self, ticket: Ticket) -> float:  # noqa: ARG002 # the same for every ticket that does not say
        return self._limit

    async def execute(self, ticket: Ticket, context: ExecutionContext) -> TaskResult:
        """Build, or go on with the pipeline that an earlier attempt began."""
        parameters = self.parameters(ticket)
        pipeline = BegunPipeline.read(context.resumed_from)
        try:
            if pipeline is None:
                pipeline = await self.trigger_pipeline(ticket, parameters, context)
            else:
                context.log(f"resumed pipeline {pipeline.pipeline_id}")
            ended = await self._wait(pipeline, parameters, context)
        except OUTAGES as error:
            return self._simulated(ticket, parameters, context, error, pipeline)
        return _result(ended, ticket, parameters, context)

    async def trigger_pipeline(
        self, ticket: Ticket, parameters: BuildParameters, context: ExecutionContext
    ) -> BegunPipeline:
        """Start the pipeline under the ticket's idempotency key. The lease is checked before each repetition too."""
        artifact_id = _artifact_id(ticket, parameters)
        pipeline_id = await self._code_forge().trigger_pipeline(
            artifact_id=artifact_id,
            parameters=_sent(ticket, parameters),
            headers=context.start_remote("pipeline"),
            before_repeat=lambda: context.start_remote("pipeline"),
            within=context.remaining(),
        )
        pipeline = BegunPipeline(pipeline_id)
        await context.checkpoint(pipeline.checkpoint())
        context.log(f"triggered pipeline {pipeline_id} for artifact {artifact_id}")
        return pipeline

    async def _wait(
        self, pipeline: BegunPipeline, parameters: BuildParameters, context: ExecutionContext
    ) -> EndedPipeline:
        follower = PipelineFollower(
            self._code_forge(),
            pipeline,
            context,
            parameters.timeout_seconds or self._limit,
            interval=parameters.poll_interval_seconds,
            patience=self._patience,
            rng=self._rng,
        )
        return await follower.wait_for_pipeline_completion()

    def _code_forge(self) -> PipelineService:
        if self._service is None:
            raise IntegrationDisabled("Code Forge is not configured (CODE_FORGE_ENABLED=false)")
        return self._service

    def _simulated(
        self,
        ticket: Ticket,
        parameters: BuildParameters,
        context: ExecutionContext,
        error: TaskError,
        pipeline: BegunPipeline | None,
    ) -> TaskResult:
        self._fallback.announce(error, ticket, context, log_event=LOG_EVENT)
        return simulated_build(
            ticket,
            artifact_id=_artifact_id(ticket, parameters),
            branch=parameters.chosen_branch,
            reason=error.reason,
            duration_seconds=_seconds(context),
            abandoned_pipeline_id=None if pipeline is None else pipeline.pipeline_id,
        )


def _artifact_id(ticket: Ticket, parameters: BuildParameters) -> str:
    return parameters.artifact_id or ticket.ticket_id


def _sent(ticket: Ticket, parameters: BuildParameters) -> dict[str, Any]:
    """What the pipeline is told: whose work it is, and what to build. What the ticket leaves open is left out."""
    named = {
        "ticket_id": ticket.ticket_id,
        "plan_id": ticket.plan_id,
        "intent_id": ticket.intent_id,
        "decision_id": ticket.decision_id,
        "branch": parameters.chosen_branch,
        "commit_sha": parameters.chosen_commit,
        "build_args": parameters.build_args,
        "env": parameters.chosen_env,
    }
    return {name: value for name, value in named.items() if value}


def _result(ended: EndedPipeline, ticket: Ticket, parameters: BuildParameters, context: ExecutionContext) -> TaskResult:
    status = ended.status
    return TaskResult(
        success=status.is_completed,
        output={
            "pipeline_id": status.pipeline_id,
            "artifact_id": _artifact_id(ticket, parameters),
            "branch": parameters.chosen_branch,
            "commit_sha": parameters.chosen_commit,
            "artifacts": list(status.artifacts),
            "sbom": status.sbom,
            "signature": status.signature,
            "stages": list(ended.stages),
        },
        metadata={
            "executor": "BuildExecutor",
            "simulated": False,
            "duration_seconds": _seconds(context),
            "polls": ended.polls,
            "pipeline_duration_ms": status.duration_ms,
            "stages_are": ended.stages_are,
            "requires_review": status.status == REQUIRES_REVIEW,
        },
        error_message=None if status.is_completed else f"pipeline {status.status}: {status.error or 'no reason given'}",
    )


def _seconds(context: ExecutionContext) -> float:
    """How long the remote work has taken, over all attempts."""
    return round(context.seconds_since_checkpoint(), 3)
