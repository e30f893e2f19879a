"""Simulated results: what stands in when an integration is down and its fallback is ``simulate``.

The only place that sets ``simulated``. Shapes are those of the real results; ids begin with ``stub-``, nothing is
executed and nothing is waited for.
"""

from __future__ import annotations

from typing import Any

from worker_agents.model.errors import Reason
from worker_agents.model.result import TaskResult
from worker_agents.model.ticket import Ticket


def simulated_execution(
    ticket: Ticket, *, reason: Reason, duration_seconds: float = 0.0, abandoned_request_id: str | None = None
) -> TaskResult:
    """Stands in for a generation. ``abandoned_request_id`` is the real one that was begun and not seen to its end."""
    output: dict[str, Any] = {"request_id": _stub(ticket), "artifacts": [], "pipeline_id": None, "exit_code": 0}
    extra: dict[str, Any] = {"runtime": "simulation"}
    if abandoned_request_id is not None:
        extra["abandoned_request_id"] = abandoned_request_id
    return _simulated(output, "ExecuteExecutor", reason, duration_seconds, **extra)


def _stub(ticket: Ticket) -> str:
    return f"stub-{ticket.ticket_id[:8]}"


def _simulated(
    output: dict[str, Any], executor: str, reason: Reason, duration_seconds: float, **extra: object
) -> TaskResult:
    metadata = {
        "executor": executor,
        "simulated": True,
        "duration_seconds": duration_seconds,
        "fallback_reason": str(reason),
        **extra,
    }
    return TaskResult(success=True, output=output, metadata=metadata, logs=(f"simulated: {reason}",))
