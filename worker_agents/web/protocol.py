"""HTTP connections that cannot wear the worker out: slow, silent and too many clients lose theirs, probes keep theirs.

Uvicorn itself waits for ever for a request that has begun, and its ``limit_concurrency`` answers 503 to everybody alike:
a few hundred half-open requests would have the worker killed by its liveness probe.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from worker_agents.model.structs import struct


@struct
class ServerLimits:
    """Times are seconds. ``connections`` leaves file descriptors for Kafka; ``head_bytes`` bounds a request line with its headers.

    ``request`` is how long a whole request may take to arrive, with its body; ``stalled`` how long a client may read nothing.
    """

    connections: int = 256
    head_bytes: int = 16 * 1024
    keep_alive: int = 5
    request: float = 10.0
    stalled: float = 30.0


class GuardedProtocol(H11Protocol):
    """One connection; ``gone`` once it is closed. Subclassed with the limits of its server by :func:`guarded`."""

    limits = ServerLimits()

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.gone = asyncio.Event()
        self._since = self.loop.time()
        self._arrival: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        super().connection_made(transport)
        self._expect_request()
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._arrival, self._stall):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self.gone.set()

    def handle_events(self) -> None:
        super().handle_events()
        if self._request_is_whole and self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def on_response_complete(self) -> None:
        if self._arrival is None:
            self._expect_request()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self.loop.call_later(self.limits.stalled, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    @property
    def claim(self) -> tuple[bool, float]:
        """How much it may stay: the smallest goes first."""
        return self._request_is_whole, self._since

    @property
    def _request_is_whole(self) -> bool:
        """Whether a request has arrived to its end and is being answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    def _expect_request(self) -> None:
        self._since = self.loop.time()
        self._arrival = self.loop.call_later(self.limits.request, self.transport.abort)

    def _make_room(self) -> None:
        """With one connection too many, whoever has shown nothing for the longest time goes; else the longest answer."""
        if len(self.connections) > self.limits.connections:
            others = (each for each in self.connections if isinstance(each, GuardedProtocol) and each is not self)
            min(others, key=lambda each: each.claim, default=self).transport.abort()


def guarded(limits: ServerLimits) -> type[GuardedProtocol]:
    """The protocol with these limits; uvicorn makes one for each connection."""
    return type("GuardedProtocol", (GuardedProtocol,), {"limits": limits})
