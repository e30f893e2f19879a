"""The log of every call that reached the reference server, for tests to read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from worker_agents.devkit import call_log
from worker_agents.devkit.argocd.operations import Operation

_KEY_SUFFIX: Final = ":sync"


@dataclass(slots=True, kw_only=True)
class Call:
    """One call; ``status`` and the fields after it are filled in as it is dealt with. ``at`` is epoch seconds."""

    number: int
    at: float
    method: str
    path: str
    query: dict[str, str]
    operation: Operation
    application: str | None
    content_type: str | None
    idempotency_key: str | None
    traceparent: str | None
    body: Any
    status: int | None = None
    """``None`` while there is no answer, and for ever where the connection was dropped."""
    fault: str | None = None
    began_operation: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Syncs:
    """What was asked and begun for one ticket: sync calls received, and operations that came of them."""

    posts: int
    begun: int


class CallLog(call_log.CallLog[Call]):
    """The calls in order of arrival."""

    def find(self, operation: Operation | None = None, application: str | None = None, since: int = 0) -> list[Call]:
        """The calls that fit; ``since`` is the number of the last call not wanted."""
        return [
            call
            for call in self._calls
            if call.number > since and operation in (None, call.operation) and application in (None, call.application)
        ]

    def syncs_by_ticket(self) -> dict[str, Syncs]:
        """Syncs by the ticket that their idempotency key names, those without under the empty name."""
        found: dict[str, list[Call]] = {}
        for call in self.find(Operation.SYNC):
            found.setdefault((call.idempotency_key or "").removesuffix(_KEY_SUFFIX), []).append(call)
        return {
            ticket: Syncs(len(calls), sum(each.began_operation for each in calls)) for ticket, calls in found.items()
        }
