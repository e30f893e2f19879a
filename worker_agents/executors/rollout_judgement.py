"""What an application's state says about our deployment. Pure: no clock, no I/O.

Deployed means, all at once (``contracts.md`` 2.7): the operation that *we* started has succeeded; Argo CD has compared
the application with its source since; that comparison is ``Synced``, of our revision; and the health is ``Healthy``.
Until then an earlier deployment's ``Synced`` and ``Healthy`` are still shown, and mean nothing.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

from worker_agents.clients.argocd import Application, OperationView
from worker_agents.clients.argocd.application import FAILED
from worker_agents.executors.deploy_parameters import Deployment
from worker_agents.model.structs import struct

MARK: Final = "worker-agents/idempotency-key"
"""Name of the ``infos`` entry that makes an operation recognisable as a ticket's; its value is the idempotency key."""

MAX_MESSAGE = 500


class Ending(StrEnum):
    """How a deployment ended; ``metadata.error_code`` of its result, except for DEPLOYED."""

    DEPLOYED = "deployed"
    SYNC_FAILED = "sync_failed"
    OUT_OF_SYNC = "out_of_sync"
    DEGRADED = "degraded"
    SUPERSEDED = "superseded"
    APPLICATION_MISSING = "application_missing"
    TIMEOUT = "timeout"


@struct
class End:
    ending: Ending
    why: str = ""


@struct
class Waiting:
    """Not over yet, ``why`` in words."""

    why: str


@struct
class Doubtful:
    """It looks like ``end``, which may pass: believed only once it has lasted."""

    end: End


Judgement = End | Waiting | Doubtful


@struct
class OurOperation:
    """The operation that we started. ``started_at`` is known once the controller has taken it up.

    ``after`` is when the operation before it was started. ``is_kept_marked`` is False at a server that drops ``infos``:
    there, ours is the one that was started next.
    """

    mark: str
    started_at: datetime | None = None
    after: datetime | None = None
    is_kept_marked: bool = True

    def find(self, application: Application) -> OperationView | None:
        """Our operation in ``application``, as long as no later one has taken its place."""
        latest = application.latest_operation
        if latest is None or latest.is_marked(MARK, self.mark):
            return latest
        if self.is_kept_marked:
            return None
        if self.started_at is not None or latest.started_at is None:
            return latest if latest.started_at == self.started_at else None
        return latest if self.after is None or latest.started_at > self.after else None

    def is_not_shown_yet(self, application: Application) -> bool:
        """What is shown is the state from before our sync."""
        latest = application.latest_operation
        return self.started_at is None and (latest is None or (latest.is_over and latest.started_at == self.after))


def judge(application: Application, deployment: Deployment, ours: OurOperation, *, compared: bool) -> Judgement:
    """What ``application`` says. ``compared``: a comparison was asked for, and answered, after our operation had ended."""
    operation = ours.find(application)
    if operation is None:
        return _replaced(application, deployment, ours)
    if not operation.is_over:
        return Waiting(f"sync is {operation.phase}{_more(operation.message)}")
    if operation.phase in FAILED:
        return End(Ending.SYNC_FAILED, f"sync {operation.phase}{_more(operation.message)}{_failures(operation)}")
    return _deployed(application, deployment, operation, compared=compared)


def is_compared(application: Application, finished_at: datetime | None, *, asked: bool) -> bool:
    """Whether what is shown is younger than the end of an operation.

    Within the same second that cannot be told, unless the comparison was ``asked`` for after it.
    """
    reconciled_at = application.status.reconciled_at
    if reconciled_at is None or finished_at is None:
        return False
    return reconciled_at > finished_at or (asked and reconciled_at == finished_at)


def _replaced(application: Application, deployment: Deployment, ours: OurOperation) -> Judgement:
    """A later operation hides ours. The history still tells whether ours succeeded; of a failure nothing is left."""
    latest = application.latest_operation
    if ours.is_not_shown_yet(application):
        return Waiting("the sync is not to be seen yet")
    if ours.started_at is None or not application.has_deployed(ours.started_at):
        by = f" by one of {latest.initiator}" if latest is not None else ""
        return End(Ending.SUPERSEDED, f"the sync was replaced{by} before its end could be seen")
    if latest is None or not latest.is_over:
        return Waiting("a later operation is under way")
    return _deployed(application, deployment, latest, compared=False)


def _deployed(
    application: Application, deployment: Deployment, operation: OperationView, *, compared: bool
) -> Judgement:
    if not deployment.is_source(application.source):
        return End(Ending.SUPERSEDED, "the application was given another source, image or revision by somebody else")
    if not is_compared(application, operation.finished_at, asked=compared):
        return Waiting("the state after the sync is not compared yet")
    match application.status.sync.status:
        case "Synced":
            return _healthy(application, operation)
        case "OutOfSync":
            return Doubtful(End(Ending.OUT_OF_SYNC, f"still OutOfSync after the sync{_unpruned(operation)}"))
        case status:
            return Waiting(f"sync status is {status}{_more(application.described_conditions())}")


def _healthy(application: Application, operation: OperationView) -> Judgement:
    health = application.status.health
    match health.status:
        case "Healthy":
            shown = application.status.sync.revision
            if not shown or not operation.revision or shown == operation.revision:
                return End(Ending.DEPLOYED)
            # The branch has moved on meanwhile, by a commit that changes nothing here; or this is not the last word yet.
            return Doubtful(End(Ending.DEPLOYED, f"compared with {shown}, as the revision has moved on since the sync"))
        case "Degraded":
            return Doubtful(End(Ending.DEGRADED, f"health is Degraded{_more(health.message)}"))
        case status:
            return Waiting(f"health is {status}{_more(health.message)}")


def _more(message: str) -> str:
    return f": {message[:MAX_MESSAGE]}" if message else ""


def _failures(operation: OperationView) -> str:
    failed = [each for each in operation.resources if each.is_failed]
    return "".join(f"; {each.kind}/{each.name}: {each.message[:200]}" for each in failed[:3])


def _unpruned(operation: OperationView) -> str:
    skipped = [f"{each.kind}/{each.name}" for each in operation.resources if each.status == "PruneSkipped"]
    return f": {', '.join(skipped[:5])} would have to be pruned" if skipped else ""
