"""DEPLOY: an Argo CD application, synced and waited for (``contracts.md`` 1.8 and 2)."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

from worker_agents.clients.argocd import OperationView
from worker_agents.executors.base import BaseTaskExecutor, CodeForge, ExecutionContext, VaultClient
from worker_agents.executors.deploy_parameters import (
    PROVIDER,
    Deployment,
    DeployParameters,
    deployment_of,
)
from worker_agents.executors.fallback import OUTAGES, Fallback, FallbackChoice
from worker_agents.executors.rollout import Rollout, RolloutEnd
from worker_agents.executors.rollout_judgement import Ending, OurOperation
from worker_agents.executors.rollout_view import DeployService, RolloutPatience, described
from worker_agents.executors.simulation import simulated_deployment
from worker_agents.model.errors import IntegrationDisabled, Reason, TaskError, UnknownOutcome
from worker_agents.model.result import TaskResult
from worker_agents.model.ticket import Ticket
from worker_agents.telemetry.events import DeploymentTimedOut, Emit

DEPLOY_LIMIT_SECONDS = 600.0
LOG_EVENT = "deploy_argocd_error"
MAX_RESOURCES = 20
MAX_IMAGES = 20
MAX_MESSAGE = 500

# What ``output.status`` says of an end that is no health; ``metadata.error_code`` has the particulars.
_STATUS = {Ending.DEPLOYED: "healthy", Ending.DEGRADED: "degraded", Ending.TIMEOUT: "timeout"}


class DeployExecutor(BaseTaskExecutor[DeployParameters]):
    """Writes the application, starts one sync, remembers it and waits until our revision is synced and healthy.

    ``fallback`` says what a ticket gets while Argo CD is down or disabled: a simulated result, or the error. What Argo
    CD says of the deployment itself - a failed sync, Degraded, not healthy in time - is a verdict and never falls back;
    a request that it refuses, a sync window among them, neither.
    """

    default_timeout_seconds = DEPLOY_LIMIT_SECONDS

    def __init__(
        self,
        *,
        emit: Emit,
        vault_client: VaultClient | None = None,
        code_forge_client: CodeForge | None = None,
        argocd_client: DeployService | None = None,
        fallback: FallbackChoice = "simulate",
        patience: RolloutPatience | None = None,
        rng: random.Random | None = None,
    ) -> None:
        super().__init__(vault_client=vault_client, code_forge_client=code_forge_client)
        self._service = argocd_client
        self._emit = emit
        self._fallback = Fallback("argocd", fallback, emit)
        self._patience = patience or RolloutPatience()
        self._rng = rng

    def get_task_type(self) -> str:
        return "DEPLOY"

    async def execute(self, ticket: Ticket, context: ExecutionContext) -> TaskResult:
        """Deploy, or go on with the deployment that an earlier attempt began."""
        parameters = self.parameters(ticket)
        rollout: Rollout | None = None
        try:
            rollout = self._rollout(ticket, parameters, context)
            ended = await rollout.run()
        except OUTAGES as error:
            abandoned = None if rollout is None else rollout.operation_name
            return self._simulated(ticket, parameters, context, error, abandoned)
        if ended.end.ending is Ending.TIMEOUT:
            self._announce_timeout(ticket, rollout, ended)
        return _result(rollout, ended, context)

    def _rollout(self, ticket: Ticket, parameters: DeployParameters, context: ExecutionContext) -> Rollout:
        if self._service is None:
            raise IntegrationDisabled("Argo CD is not configured (ARGOCD_ENABLED=false)")
        return Rollout(
            self._service,
            deployment_of(ticket, parameters),
            context,
            limit=parameters.timeout_seconds or self.default_timeout_seconds,
            interval=parameters.poll_interval,
            patience=self._patience,
            rng=self._rng,
            ours=_resumed_operation(context),
        )

    def _announce_timeout(self, ticket: Ticket, rollout: Rollout, ended: RolloutEnd) -> None:
        self._emit(
            DeploymentTimedOut(
                ticket.ticket_id,
                ticket.task_type,
                application=rollout.deployment.key.name,
                operation=rollout.operation_name or "",
                limit=rollout.limit,
                message=ended.end.why,
            )
        )

    def _simulated(
        self,
        ticket: Ticket,
        parameters: DeployParameters,
        context: ExecutionContext,
        error: TaskError,
        abandoned: str | None,
    ) -> TaskResult:
        self._fallback.announce(error, ticket, context, log_event=LOG_EVENT)
        return simulated_deployment(
            ticket,
            namespace=parameters.namespace,
            replicas=parameters.replicas,
            revision=parameters.revision,
            reason=error.reason,
            duration_seconds=_seconds(context),
            abandoned_operation=abandoned,
        )


def _resumed_operation(context: ExecutionContext) -> OurOperation | None:
    """The sync of an earlier attempt. It is never started anew: its mark may be lost, its work is not."""
    if context.resumed_from is None:
        return None
    begun = context.resumed_from
    mark = begun.get("mark")
    if not isinstance(mark, str) or not mark:
        raise UnknownOutcome("a sync was begun, but the checkpoint does not hold its mark")
    context.log(f"resumed sync {begun.get('application')}/{mark}")
    return OurOperation(
        mark,
        started_at=_moment(begun.get("started_at")),
        after=_moment(begun.get("after")),
        is_kept_marked=begun.get("is_kept_marked") is not False,
    )


def _moment(text: object) -> datetime | None:
    """``None`` where another version of this program wrote something else: only the mark is indispensable."""
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _result(rollout: Rollout, ended: RolloutEnd, context: ExecutionContext) -> TaskResult:
    end, deployment = ended.end, rollout.deployment
    success = end.ending is Ending.DEPLOYED
    metadata: dict[str, Any] = {
        "executor": "DeployExecutor",
        "provider": PROVIDER,
        "simulated": False,
        "duration_seconds": _seconds(context),
        "polls": ended.polls,
    }
    if not success:
        metadata["error_code"] = str(end.ending)
    if warnings := _warnings(deployment, ended):
        metadata["warnings"] = warnings
    return TaskResult(
        success=success,
        output=_output(rollout, ended),
        metadata=metadata,
        error_message=None if success else f"deployment of {deployment.key.name}: {end.why}",
        reason=Reason.TIMEOUT if end.ending is Ending.TIMEOUT else Reason.VERDICT_FAILED,
    )


def _output(rollout: Rollout, ended: RolloutEnd) -> dict[str, Any]:
    deployment, application, operation = rollout.deployment, ended.application, ended.operation
    status = None if application is None else application.status
    return {
        "deployment_id": deployment.key.name,
        "status": _STATUS.get(ended.end.ending, "error"),
        "sync_status": status.sync.status if status else None,
        "health_status": status.health.status if status else None,
        "replicas": deployment.replicas,
        "namespace": deployment.namespace,
        "revision": (operation.revision if operation else "") or deployment.source["targetRevision"],
        "images": list(status.summary.images[:MAX_IMAGES]) if status else [],
        "operation": _described_operation(rollout.operation_name, operation),
        "resources": [*_failed_resources(operation), *(described(each) for each in ended.unhealthy)][:MAX_RESOURCES],
        "conditions": application.described_conditions()[:MAX_MESSAGE] if application else "",
    }


def _described_operation(name: str | None, operation: OperationView | None) -> dict[str, Any] | None:
    if name is None:
        return None
    if operation is None:
        return {"name": name}
    return {
        "name": name,
        "phase": operation.phase,
        "message": operation.message[:MAX_MESSAGE],
        "started_at": operation.started_at.isoformat() if operation.started_at else None,
        "finished_at": operation.finished_at.isoformat() if operation.finished_at else None,
    }


def _failed_resources(operation: OperationView | None) -> list[dict[str, str]]:
    failed = [each for each in operation.resources if each.is_failed] if operation else []
    return [
        {
            "kind": each.kind,
            "name": each.name,
            "namespace": each.namespace,
            "sync": each.status or each.hook_phase,
            "message": each.message[:200],
        }
        for each in failed[:MAX_RESOURCES]
    ]


def _warnings(deployment: Deployment, ended: RolloutEnd) -> list[str]:
    """What a success should not hide."""
    warnings = [ended.end.why] if ended.end.ending is Ending.DEPLOYED and ended.end.why else []
    images = ended.application.status.summary.images if ended.application else ()
    if deployment.image and images and not any(_is_same_image(deployment.image, each) for each in images):
        warnings.append(
            f"image {deployment.image} was asked for, but is not among those that run: "
            "the chart may not read image.repository and image.tag"
        )
    return warnings


def _is_same_image(asked: str, running: str) -> bool:
    """The same, whatever registry the chart puts in front."""
    return running == asked or running.endswith(f"/{asked}") or running == f"{asked}:latest"


def _seconds(context: ExecutionContext) -> float:
    """How long the remote work has taken, over all attempts."""
    return round(context.seconds_since_checkpoint(), 3)
