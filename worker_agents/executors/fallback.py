"""What a ticket gets while an integration is down or switched off: a simulated result, or the error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from worker_agents.executors.base import ExecutionContext
from worker_agents.model.errors import IntegrationDisabled, IntegrationUnavailable, TaskError
from worker_agents.model.ticket import Ticket
from worker_agents.telemetry.events import Emit, FallbackUsed

FallbackChoice = Literal["simulate", "fail"]

OUTAGES: Final = (IntegrationUnavailable, IntegrationDisabled)
"""The only errors that may be answered with a simulated result. A refused request or a verdict never is."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """The choice for one integration, e.g. ``argocd``, and the voice that announces it."""

    integration: str
    choice: FallbackChoice
    emit: Emit

    def announce(self, error: TaskError, ticket: Ticket, context: ExecutionContext, *, log_event: str) -> None:
        """Say that a simulated result will stand in because of ``error``; raises it instead where the choice is ``fail``.

        ``log_event`` is the guide's name for it, e.g. ``deploy_argocd_error``.
        """
        if self.choice == "fail":
            raise error
        self.emit(
            FallbackUsed(ticket.ticket_id, ticket.task_type, self.integration, error.reason, str(error), log_event)
        )
        context.log(f"{self.integration}: {error}")
