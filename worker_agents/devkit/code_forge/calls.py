"""The log of every call that reached the reference server, for tests to read."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

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


class CallLog:
    """The calls in order of arrival: the latest `limit` of all, and every start."""

    def __init__(self, *, limit: int = 200_000) -> None:
        """Keep at most `limit` calls that are not starts."""
        self._calls: deque[Call] = deque(maxlen=limit)
        self._starts: list[Call] = []
        self._received = 0
        self._created = 0
        self._waiting: list[tuple[Callable[[CallLog], bool], asyncio.Future[None]]] = []

    def __len__(self) -> int:
        return self._received

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._calls))

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

    async def wait_until(self, condition: Callable[["CallLog"], bool]) -> None:
        """Return once `condition` holds; it is asked at every change, so let it be cheap."""
        if condition(self):
            return
        met: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (condition, met)
        self._waiting.append(entry)
        try:
            await met
        finally:
            self._waiting.remove(entry)

    def clear(self) -> None:
        """Forget every call; numbers go on."""
        self._calls.clear()
        self._starts.clear()

    # The server's side.

    def next_number(self) -> int:
        """Return the number of the next call; the first is 1."""
        return self._received + 1

    def received(self, call: Call) -> None:
        """Add a call that has just arrived."""
        self._received = call.number
        self._calls.append(call)
        if call.operation in STARTS:
            self._starts.append(call)
        self.changed()

    def worked(self, call: Call, request_id: str, start: Literal["created", "reused"]) -> None:
        """Note which work a start call began or found."""
        call.request_id, call.start = request_id, start
        self._created += start == "created"
        self.changed()

    def spoiled(self, call: Call, fault: str) -> None:
        """Note which fault is about to be played."""
        call.fault = fault
        self.changed()

    def answered(self, call: Call, status: int) -> None:
        """Note the status that is about to be sent."""
        call.status = status
        self.changed()

    def changed(self) -> None:
        """Wake whoever waits for what is now the case."""
        for condition, met in self._waiting:
            if not met.done() and condition(self):
                met.set_result(None)
