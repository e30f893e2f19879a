"""One call from arrival to answer: logged, delayed, refused or spoiled where the behaviour says so, else served."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker_agents.devkit.code_forge.api import CALL
from worker_agents.devkit.code_forge.calls import Call
from worker_agents.devkit.code_forge.faults import Fault, FaultKind
from worker_agents.devkit.code_forge.forge import Forge
from worker_agents.devkit.code_forge.operations import STARTS, Operation
from worker_agents.devkit.code_forge.work import WorkKind

DropConnection = Callable[[Scope], None]
"""Resets the connection that a call came over."""

_POLLED: Final = {Operation.POLL_GENERATION: WorkKind.GENERATION, Operation.POLL_PIPELINE: WorkKind.PIPELINE}
_KEY_SUFFIX: Final = {Operation.START_GENERATION: ":generate", Operation.START_PIPELINE: ":pipeline"}


class Conversation:
    """ASGI application in front of the API: keeps the log and plays the faults."""

    def __init__(self, forge: Forge, api: ASGIApp, routes: Sequence[Route], drop: DropConnection) -> None:
        """Guard `api`, whose `routes` are named after their operations."""
        self._forge = forge
        self._api = api
        self._routes = routes
        self._drop = drop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hold one conversation."""
        body = await _read(receive)
        if body is None:
            return
        operation, path_params = self._recognise(scope)
        headers = Headers(scope=scope)
        call = self._logged(scope, headers, body, operation)
        script = self._script(call, path_params)
        if self._forge.behaviour.latency > 0:
            await self._forge.clock.sleep(self._forge.behaviour.latency)
        scope[CALL] = call
        refusal = self._refusal(call, headers)
        if refusal is not None:
            await refusal(scope, receive, self._noting(call, send))
            return
        fault = self._forge.take_fault(call, script)
        if fault is None:
            await self._api(scope, receive, self._noting(call, send))
            return
        self._forge.log.spoiled(call, fault.kind)
        if fault.after_work:
            await self._api(scope, receive, _nowhere)
        await self._play(fault, call, scope, receive, send)

    def _recognise(self, scope: Scope) -> tuple[Operation, dict[str, Any]]:
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                return Operation(route.name), found["path_params"]
        return Operation.OTHER, {}

    def _logged(self, scope: Scope, headers: Headers, body: bytes, operation: Operation) -> Call:
        call = Call(
            number=self._forge.log.next_number(),
            at=self._forge.clock.now(),
            method=scope["method"],
            path=scope["path"],
            operation=operation,
            ticket_id=None,
            idempotency_key=headers.get("idempotency-key"),
            traceparent=headers.get("traceparent"),
            body=_parsed(body),
        )
        if operation in STARTS:
            call.ticket_id = _ticket_id(call)
        self._forge.log.received(call)
        return call

    def _script(self, call: Call, path_params: dict[str, Any]) -> str | None:
        """Return the script that the call's work follows; a poll's ticket and work are noted on the way."""
        kind = _POLLED.get(call.operation)
        if kind is not None:
            work = self._forge.known(kind, path_params["id"])
            call.request_id = path_params["id"]
            if work is None:
                return None
            call.ticket_id = work.ticket_id
            return work.script
        if call.operation in STARTS and isinstance(call.body, dict):
            subject = call.body.get("template_id" if call.operation is Operation.START_GENERATION else "artifact_id")
            return self._forge.behaviour.script_name(subject, call.body.get("parameters"))
        return None

    def _refusal(self, call: Call, headers: Headers) -> Response | None:
        behaviour = self._forge.behaviour
        if behaviour.down:
            self._forge.log.spoiled(call, "down")
            return JSONResponse({"detail": "Service Unavailable"}, 503)
        token = behaviour.token
        if token is not None and call.path.startswith("/api/") and headers.get("authorization") != f"Bearer {token}":
            self._forge.log.spoiled(call, "unauthorised")
            return JSONResponse({"detail": "Not authenticated"}, 401, headers={"WWW-Authenticate": "Bearer"})
        return None

    async def _play(self, fault: Fault, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        match fault.kind:
            case FaultKind.DROP:
                self._drop(scope)
                await until_disconnected(receive)
            case FaultKind.HANG:
                await until_disconnected(receive)
            case FaultKind.STATUS | FaultKind.NONSENSE:
                await _spoiled_answer(fault)(scope, receive, self._noting(call, send))

    def _noting(self, call: Call, send: Send) -> Send:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._forge.log.answered(call, message["status"])
            await send(message)

        return noting


async def until_disconnected(receive: Receive) -> None:
    """Return when the client, or the server, has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(receive: Receive) -> bytes | None:
    """Return the whole body, or `None` if the client left before it was complete."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return None


def _ticket_id(call: Call) -> str | None:
    """Return the ticket that a start is for: as its key says, else the body, else the artifact, which is named so."""
    key, suffix = call.idempotency_key or "", _KEY_SUFFIX[call.operation]
    ticket_id, found, _ = key.rpartition(suffix)
    if found:
        return ticket_id
    body = call.body if isinstance(call.body, dict) else {}
    parameters = body.get("parameters")
    inner = parameters.get("ticket_id") if isinstance(parameters, dict) else None
    named = body.get("ticket_id") or inner or body.get("artifact_id")
    return str(named) if named else None


def _spoiled_answer(fault: Fault) -> Response:
    headers = {"Retry-After": f"{fault.retry_after:g}"} if fault.retry_after is not None else None
    if fault.body is not None:
        return Response(fault.body, fault.status, headers=headers, media_type=fault.content_type)
    return JSONResponse({"detail": "told to fail"}, fault.status, headers=headers)


async def _nowhere(_: Message) -> None:
    pass
