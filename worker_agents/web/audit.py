"""Every action in the log, also those that were refused: who asked for what, from where, and what came of it."""

from __future__ import annotations

from worker_agents.model.clock import Clock
from worker_agents.model.structs import struct
from worker_agents.telemetry.events import Emit, OperatorAction

_REFUSALS_AT_ONCE = 10
_SECONDS_A_REFUSAL = 6.0
_MAX_SHOWN = 200


@struct
class Caller:
    """``address`` is that of the connection: what a proxy says of its clients could be anybody's words."""

    address: str = ""


@struct
class Request:
    """What was asked for; ``target`` is a ticket, a task type or nothing."""

    action: str
    target: str = ""
    by: str = ""
    why: str = ""


class Audit:
    """Emits :class:`OperatorAction`. Requests that were refused at the door are told ten at once and ten a minute."""

    def __init__(self, clock: Clock, emit: Emit) -> None:
        self._clock = clock
        self._emit = emit
        self._left = float(_REFUSALS_AT_ONCE)
        self._counted_at = clock.monotonic()
        self._withheld = 0

    def acted(self, request: Request, caller: Caller, outcome: str, status: int) -> None:
        """Somebody who may act asked for an action."""
        withheld, self._withheld = self._withheld, 0
        self._emit(
            OperatorAction(
                request.action,
                _shown(request.target),
                request.by,
                request.why,
                outcome,
                status,
                caller.address,
                withheld,
            )
        )

    def refused(self, request: Request, caller: Caller, why: str, status: int) -> None:
        """The request was not even looked at; whoever sent it may be anybody, and send any number."""
        now = self._clock.monotonic()
        self._left = min(self._left + (now - self._counted_at) / _SECONDS_A_REFUSAL, _REFUSALS_AT_ONCE)
        self._counted_at = now
        if self._left < 1:
            self._withheld += 1
            return
        self._left -= 1
        self.acted(request, caller, why, status)


def _shown(target: str) -> str:
    """A stranger chose it."""
    return target[:_MAX_SHOWN] if target.isprintable() else ascii(target[:_MAX_SHOWN])
