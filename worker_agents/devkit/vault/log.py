"""The log of every call that reached the reference Vault, for tests to read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class Call:
    """One call. ``path`` is what follows ``/v1/``; ``status`` stays ``None`` where no answer was given."""

    method: str
    path: str
    query: dict[str, str]
    token: str | None = field(repr=False)
    namespace: str | None
    request_header: bool
    """Whether ``X-Vault-Request: true`` was sent, as Vault's agents can demand."""
    body: Any = field(repr=False)
    status: int | None = None


class CallLog:
    """The calls in order of arrival."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._waiting: list[tuple[Callable[[CallLog], bool], asyncio.Future[None]]] = []

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._calls))

    @property
    def asked(self) -> list[str]:
        """``METHOD path`` of each call."""
        return [f"{call.method} {call.path}" for call in self._calls]

    def to(self, path: str) -> list[Call]:
        """The calls whose path begins so."""
        return [call for call in self._calls if call.path.startswith(path)]

    def received(self, call: Call) -> None:
        self._calls.append(call)
        self._wake()

    def answered(self, call: Call, status: int) -> None:
        call.status = status
        self._wake()

    def clear(self) -> None:
        self._calls.clear()

    async def wait_until(self, condition: Callable[[CallLog], bool]) -> None:
        """Return as soon as ``condition`` holds; it is asked again after each call and each answer."""
        if not condition(self):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((condition, future))
            await future

    def _wake(self) -> None:
        for each in tuple(self._waiting):
            condition, future = each
            if future.done():
                self._waiting.remove(each)
            elif condition(self):
                self._waiting.remove(each)
                future.set_result(None)
