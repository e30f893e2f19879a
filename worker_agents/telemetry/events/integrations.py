"""Other systems: calls of them, and what is done without them."""

from __future__ import annotations

import logging
from dataclasses import field
from typing import ClassVar

from worker_agents.model.structs import struct
from worker_agents.telemetry.events.base import Event
from worker_agents.telemetry.events.tickets import TicketEvent
from worker_agents.telemetry.tracing import TraceContext


@struct
class ExternalCall(Event):
    """``outcome`` is ``ok``, ``rejected``, ``unavailable`` or ``timeout``.

    ``trace`` is the span of the call where one is recorded. A call that ``polls`` has none of its own: it is that of the
    attempt, as there may be thousands.
    """

    event: ClassVar[str] = "external_call"
    level: ClassVar[int] = logging.DEBUG
    integration: str
    operation: str
    outcome: str
    duration: float
    polls: bool = field(default=False, kw_only=True, compare=False)
    trace: TraceContext | None = field(default=None, kw_only=True, compare=False)


@struct
class BreakerChanged(Event):
    """``state`` is ``closed``, ``half_open`` or ``open``; an open one lets no call through for ``wait`` seconds.

    ``why`` is the latest failure, empty when it closes.
    """

    event: ClassVar[str] = "breaker_changed"
    integration: str
    state: str
    wait: float
    why: str

    @property
    def level(self) -> int:  # type: ignore[override] # of each event, where others have one of their class
        return logging.WARNING if self.state == "open" else logging.INFO


@struct
class FallbackUsed(TicketEvent):
    """A simulated result stands in for a real one. ``log_event`` is the guide's name, e.g. ``build_code_forge_error``."""

    event: ClassVar[str] = "fallback_used"
    level: ClassVar[int] = logging.WARNING
    integration: str
    reason: str
    message: str
    log_event: str


@struct
class VaultTrouble(Event):
    """Vault is awaited at the start, or the token cannot be kept alive; secrets that are needed meanwhile may be missing."""

    event: ClassVar[str] = "vault_trouble"
    level: ClassVar[int] = logging.WARNING
    what: str
    error: str
