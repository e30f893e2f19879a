"""One call at a reference server, from arrival to answer: logged, delayed, refused or spoiled where told so, else served."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final, Generic, Protocol, TypeVar

import orjson
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker_agents.devkit.call_log import CallLog, LoggedCall
from worker_agents.devkit.loopback import until_disconnected

CALL: Final = "reference.call"
"""Key of an ASGI scope under which the logged call, body included, is handed to the routes."""

CONTROL: Final = "/_control"
"""Prefix of a control API, by which tests in other processes change the behaviour and read the call log."""

DropConnection = Callable[[Scope], None]
"""Resets the connection that a call came over."""


class FaultKind(StrEnum):
    """What the client sees instead of an answer."""

    STATUS = "status"
    """A status of ours in the API's own form of an error, or with ``body`` where one is given."""
    DROP = "drop"
    """A connection reset without an answer."""
    HANG = "hang"
    """Nothing, until the client goes away or the server stops."""
    NONSENSE = "nonsense"
    """``body`` as it stands."""


class Fault(Protocol):
    """A failure that a call is to meet."""

    @property
    def kind(self) -> str:
        """A :class:`FaultKind`, or another word for an answer that is spoiled."""
        ...

    @property
    def after_work(self) -> bool:
        """The call takes effect all the same; only its answer is spoiled."""
        ...


C = TypeVar("C", bound=LoggedCall)
F = TypeVar("F", bound=Fault)


class Conversation(ABC, Generic[C, F]):
    """ASGI application in front of ``api``, which finds its call under :data:`CALL`: keeps the log, plays the faults."""

    def __init__(self, api: ASGIApp, log: CallLog[C], drop: DropConnection) -> None:
        self._api = api
        self._log = log
        self._drop = drop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        if body is None:
            return
        call = scope[CALL] = self._arrived(scope, body)
        self._log.received(call)
        await self._wait()
        noting = self._noting(call, send)
        refusal = self._refusal(scope, call)
        if refusal is not None:
            await refusal(scope, receive, noting)
            return
        fault = self._take_fault(scope, call)
        if fault is None:
            await self._api(scope, receive, noting)
            return
        self._log.spoiled(call, fault.kind)
        if fault.after_work:
            await self._api(scope, receive, _nowhere)
        await self._play(fault, scope, receive, noting)

    @abstractmethod
    def _arrived(self, scope: Scope, body: bytes) -> C:
        """What is logged of a call."""

    async def _wait(self) -> None:
        """Let pass what every call waits before it is looked at."""

    @abstractmethod
    def _refusal(self, scope: Scope, call: C) -> Response | None:
        """The answer to a call that does not even reach the faults."""

    @abstractmethod
    def _take_fault(self, scope: Scope, call: C) -> F | None:
        """The fault that hits this call, charged."""

    @abstractmethod
    def _spoiled_answer(self, fault: F) -> Response:
        """What is answered instead, by a fault of a kind that answers."""

    async def _play(self, fault: F, scope: Scope, receive: Receive, send: Send) -> None:
        match fault.kind:
            case FaultKind.DROP:
                self._drop(scope)
                await until_disconnected(receive)
            case FaultKind.HANG:
                await until_disconnected(receive)
            case _:
                await self._spoiled_answer(fault)(scope, receive, send)

    def _noting(self, call: C, send: Send) -> Send:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._log.answered(call, message["status"])
            await send(message)

        return noting


def recognised(routes: Sequence[Route], scope: Scope) -> tuple[str, dict[str, Any]]:
    """Name and path parameters of the route that a call takes; the name is ``other`` where there is none."""
    for route in routes:
        match, found = route.matches(scope)
        if match is Match.FULL:
            return route.name, found["path_params"]
    return "other", {}


def parsed(body: bytes) -> Any:
    """The JSON in ``body``; ``None`` where there is none or it cannot be read."""
    try:
        return orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return None


def retry_after(seconds: float | None) -> dict[str, str] | None:
    """The header of an answer that says when to come again."""
    return None if seconds is None else {"Retry-After": f"{seconds:g}"}


def controlled(api: ASGIApp, control: ASGIApp) -> ASGIApp:
    """``api``, and ``control`` for calls of the control API: these are not logged, and no fault or outage hits them."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        is_control = scope["path"] == CONTROL or scope["path"].startswith(f"{CONTROL}/")
        await (control if is_control else api)(scope, receive, send)

    return serve


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or ``None`` if the client left before it was complete."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _nowhere(_: Message) -> None:
    pass
