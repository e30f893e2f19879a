"""The log of every call that reached the reference server, for tests to read."""

from collections import Counter, defaultdict
from dataclasses import dataclass, fields
from typing import Any, Literal

from worker_agents.devkit import call_log
from worker_agents.devkit.code_forge.operations import STARTS, Operation


@dataclass(slots=True, kw_only=True)
class Call:
    """One call; `status` and the fields after it are filled in as it is dealt with."""

    number: int
    at: float
    method: str
    path: str
    operation: Operation
    ticket_id: str | None
    """The ticket that the call is for, as far as key, body or known work tell."""
    idempotency_key: str | None
    traceparent: str | None
    body: Any
    """The JSON body of a POST; `None` where there is none or it cannot be read."""
    status: int | None = None
    """`None` while there is no answer, and for ever where the connection was dropped."""
    fault: str | None = None
    """Kind of the fault that was played, `down` or `unauthorised`."""
    request_id: str | None = None
    """Generation request or pipeline that was started or read."""
    start: Literal["created", "reused"] | None = None
    """Whether a start made new work or found that of its idempotency key."""

    def to_json(self) -> dict[str, Any]:
        """Return the call as plain JSON values."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True, slots=True)
class Starts:
    """What was asked and begun for one ticket."""

    posts: int
    """Start calls received, failed ones included."""
    request_ids: tuple[str, ...]
    """Distinct work begun, in order; more than one is a double start. Lost answers count."""


class CallLog(call_log.CallLog[Call]):
    """The calls in order of arrival: the latest `limit` of all, and every start."""

    def __init__(self, *, limit: int = 200_000) -> None:
        """Keep at most `limit` calls that are not starts."""
        super().__init__(limit=limit)
        self._starts: list[Call] = []
        self._created = 0

    @property
    def works_created(self) -> int:
        """How many generations and pipelines have been begun; cheap, for `wait_until`."""
        return self._created

    def find(
        self,
        *,
        operation: Operation | None = None,
        ticket_id: str | None = None,
        method: str | None = None,
        since: int = 0,
    ) -> list[Call]:
        """Return the calls that fit every given value; `since` is the number of the last call not wanted."""
        return [
            call
            for call in self._calls
            if call.number > since
            and operation in (None, call.operation)
            and ticket_id in (None, call.ticket_id)
            and method in (None, call.method)
        ]

    def starts_by_ticket(self, operation: Operation | None = None) -> dict[str, Starts]:
        """Return for each ticket how often work was asked for and which work was begun.

        A start that names no ticket is under the empty name.
        """
        posts: Counter[str] = Counter()
        # Dictionaries for the order in which the work was begun.
        begun: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for call in self._starts:
            if operation in (None, call.operation):
                ticket_id = call.ticket_id or ""
                posts[ticket_id] += 1
                if call.request_id is not None:
                    begun[ticket_id][call.request_id] = None
        return {ticket_id: Starts(number, tuple(begun[ticket_id])) for ticket_id, number in posts.items()}

    def clear(self) -> None:
        """Forget every call; numbers go on."""
        super().clear()
        self._starts.clear()

    # The server's side.

    def received(self, call: Call) -> None:
        """Add a call that has just arrived."""
        if call.operation in STARTS:
            self._starts.append(call)
        super().received(call)

    def worked(self, call: Call, request_id: str, start: Literal["created", "reused"]) -> None:
        """Note which work a start call began or found."""
        call.request_id, call.start = request_id, start
        self._created += start == "created"
        self.changed()
