"""What operators ask for."""

from __future__ import annotations

import logging
from typing import ClassVar

from worker_agents.model.structs import struct
from worker_agents.telemetry.events.base import Event
from worker_agents.telemetry.events.tickets import TicketEvent


@struct
class OperatorAction(Event):
    """Somebody asked for an action; ``status`` is the HTTP status of the answer, ``outcome`` its name.

    ``withheld`` counts refused ones since the last that was told: whoever guesses tokens cannot fill the log.
    """

    event: ClassVar[str] = "operator_action"
    action: str
    target: str
    by: str
    why: str
    outcome: str
    status: int
    client: str
    withheld: int = 0

    @property
    def level(self) -> int:  # type: ignore[override] # of each event, where others have one of their class
        return logging.WARNING if self.status >= 400 else logging.INFO


@struct
class TicketCancelled(TicketEvent):
    """An operator gave it up; ``by`` names them."""

    event: ClassVar[str] = "ticket_cancelled"
    level: ClassVar[int] = logging.WARNING
    by: str
    why: str


@struct
class TicketRetried(TicketEvent):
    """An operator brought its next attempt forward; ``attempt`` is which, ``reason`` what it waited for."""

    event: ClassVar[str] = "ticket_retried"
    by: str
    why: str
    attempt: int
    reason: str


@struct
class TaskTypePaused(Event):
    """No ticket of the type is started on this worker before ``until`` (epoch milliseconds), or until it is resumed."""

    event: ClassVar[str] = "task_type_paused"
    level: ClassVar[int] = logging.WARNING
    task_type: str
    by: str
    why: str
    until: int


@struct
class TaskTypeResumed(Event):
    """``expired``: the pause ended by itself; ``by`` and ``why`` are then those of whoever began it."""

    event: ClassVar[str] = "task_type_resumed"
    task_type: str
    by: str
    why: str
    expired: bool
