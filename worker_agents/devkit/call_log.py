"""The log of every call that reached a reference server, for tests to read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Generic, Protocol, Self, TypeVar


class LoggedCall(Protocol):
    """What is filled in as a call is dealt with."""

    status: int | None
    """``None`` while there is no answer, and for ever where none was given."""
    fault: str | None
    """Why it was not served: the kind of the fault that was played, or a word of the server's own."""


C = TypeVar("C", bound=LoggedCall)


class CallLog(Generic[C]):
    """The calls in order of arrival, the latest ``limit`` of them; its length counts all that ever arrived."""

    def __init__(self, *, limit: int | None = None) -> None:
        self._calls: deque[C] = deque(maxlen=limit)
        self._received = 0
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def __len__(self) -> int:
        return self._received

    def __iter__(self) -> Iterator[C]:
        return iter(tuple(self._calls))

    async def wait_until(self, condition: Callable[[Self], bool]) -> None:
        """Return once ``condition`` holds; it is asked at every change, so let it be cheap."""
        if condition(self):
            return
        met: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (partial(condition, self), met)
        self._waiting.append(entry)
        try:
            await met
        finally:
            self._waiting.remove(entry)

    def clear(self) -> None:
        """Forget every call; numbers go on."""
        self._calls.clear()

    # The server's side.

    def next_number(self) -> int:
        """The number of the next call; the first is 1."""
        return self._received + 1

    def received(self, call: C) -> None:
        """Add a call that has just arrived."""
        self._received += 1
        self._calls.append(call)
        self.changed()

    def spoiled(self, call: C, fault: str) -> None:
        """Note which fault is about to be played."""
        call.fault = fault
        self.changed()

    def answered(self, call: C, status: int) -> None:
        """Note the status that is about to be sent."""
        call.status = status
        self.changed()

    def changed(self) -> None:
        """Wake whoever waits for what is now the case."""
        for holds, met in self._waiting:
            if not met.done() and holds():
                met.set_result(None)
