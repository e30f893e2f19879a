"""What happens while an executor works on a ticket."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import field
from typing import ClassVar

from worker_agents.model.structs import struct
from worker_agents.telemetry.events.tickets import TicketEvent


@struct
class AttemptStarted(TicketEvent):
    """``waited`` is how long the ticket waited for it: since its arrival here, or since the attempt before."""

    event: ClassVar[str] = "attempt_started"
    level: ClassVar[int] = logging.DEBUG
    attempt: int
    delivery: int
    resumed: bool
    waited: float = field(default=0.0, kw_only=True, compare=False)


@struct
class CheckpointSaved(TicketEvent):
    """Remote work is remembered durably; ``data`` is what the executor gave, a JSON object."""

    event: ClassVar[str] = "checkpoint_saved"
    level: ClassVar[int] = logging.DEBUG
    attempt: int
    data: Mapping[str, object]


@struct
class SuiteTimedOut(TicketEvent):
    """A test command was ended because it did not end by itself. ``limit`` in seconds."""

    event: ClassVar[str] = "test_timeout"
    level: ClassVar[int] = logging.WARNING
    test_suite: str
    limit: float


@struct
class DeploymentTimedOut(TicketEvent):
    """A deployment was not healthy in time; ``operation`` goes on at Argo CD. ``limit`` in seconds."""

    event: ClassVar[str] = "deploy_argocd_timeout"
    level: ClassVar[int] = logging.WARNING
    application: str
    operation: str
    limit: float
    message: str


@struct
class ExecutorCrashed(TicketEvent):
    """An exception that no executor should let out; ``traceback`` is for the developers of the executor."""

    event: ClassVar[str] = "executor_crashed"
    level: ClassVar[int] = logging.ERROR
    error: str
    traceback: str


@struct
class AttemptEnded(TicketEvent):
    """``outcome`` is ``completed``, ``failed``, ``retry``, ``postponed`` (waits for a breaker) or ``released``.

    ``reason`` is why it was not completed.
    """

    event: ClassVar[str] = "attempt_ended"
    level: ClassVar[int] = logging.DEBUG
    attempt: int
    outcome: str
    duration: float
    reason: str = field(default="", kw_only=True, compare=False)


@struct
class RetryScheduled(TicketEvent):
    event: ClassVar[str] = "ticket_retry_scheduled"
    attempt: int
    delay: float
    reason: str
    message: str
