"""One asking for everybody who wants the same thing at the same time."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Callers of :meth:`share` with equal keys share one coroutine and what comes of it, good or bad.

    A caller that is cancelled leaves it to the others; it is ended only by :meth:`aclose`.
    """

    def __init__(self) -> None:
        self._flights: dict[str, asyncio.Task[T]] = {}

    async def share(self, key: str, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(begin())
            flight.add_done_callback(functools.partial(self._landed, key))
        return await asyncio.shield(flight)

    async def aclose(self) -> None:
        """Cancel what is under way."""
        flights = tuple(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _landed(self, key: str, flight: asyncio.Task[T]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # looked at: whoever waited may be gone, and asyncio would complain
