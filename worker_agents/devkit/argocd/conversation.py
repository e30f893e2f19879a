"""One call from arrival to answer: logged, delayed, refused or spoiled where the behaviour says so, else served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
from starlette.datastructures import Headers, QueryParams
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker_agents.devkit.argocd.api import CALL
from worker_agents.devkit.argocd.behaviour import Fault
from worker_agents.devkit.argocd.calls import Call
from worker_agents.devkit.argocd.controller import Controller
from worker_agents.devkit.argocd.errors import Code, error_body
from worker_agents.devkit.argocd.operations import WITHOUT_TOKEN, Operation
from worker_agents.devkit.code_forge import FaultKind
from worker_agents.devkit.loopback import until_disconnected

DropConnection = Callable[[Scope], None]
"""Resets the connection that a call came over."""


class Conversation:
    """ASGI application in front of the API: keeps the log and plays the faults."""

    def __init__(self, controller: Controller, api: ASGIApp, routes: Sequence[Route], drop: DropConnection) -> None:
        self._controller = controller
        self._api = api
        self._routes = routes
        self._drop = drop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        if body is None:
            return
        call = self._logged(scope, body)
        scope[CALL] = call
        if self._controller.behaviour.latency > 0:
            await self._controller.clock.sleep(self._controller.behaviour.latency)
        self._controller.catch_up()
        refusal = self._refusal(call, Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, _noting(call, send))
            return
        fault = self._controller.take_fault(call)
        if fault is None:
            await self._api(scope, receive, _noting(call, send))
            return
        call.fault = fault.kind
        if fault.after_work:
            await self._api(scope, receive, _nowhere)
        await self._play(fault, call, scope, receive, send)

    def _logged(self, scope: Scope, body: bytes) -> Call:
        headers, (operation, path_params) = Headers(scope=scope), self._recognise(scope)
        parsed = _parsed(body)
        name = path_params.get("name")
        if operation is Operation.CREATE and isinstance(parsed, dict) and isinstance(parsed.get("metadata"), dict):
            name = parsed["metadata"].get("name")
        call = Call(
            number=len(self._controller.log) + 1,
            at=self._controller.now(),
            method=scope["method"],
            path=scope["path"],
            query=dict(QueryParams(scope["query_string"])),
            operation=operation,
            application=name,
            content_type=headers.get("content-type"),
            idempotency_key=headers.get("idempotency-key"),
            traceparent=headers.get("traceparent"),
            body=parsed,
        )
        self._controller.log.add(call)
        return call

    def _recognise(self, scope: Scope) -> tuple[Operation, dict[str, Any]]:
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                return Operation(route.name), found["path_params"]
        return Operation.OTHER, {}

    def _refusal(self, call: Call, headers: Headers) -> Response | None:
        behaviour = self._controller.behaviour
        if behaviour.down:
            call.fault = "down"
            return PlainTextResponse("upstream connect error or disconnect/reset before headers", 503)
        if call.method != "GET" and call.content_type != "application/json":
            return PlainTextResponse("Invalid content type", 415)
        if behaviour.token is None or call.operation in WITHOUT_TOKEN:
            return None
        given = headers.get("authorization")
        if given is None:
            return JSONResponse(error_body(Code.UNAUTHENTICATED, "no session information"), 401)
        if given != f"Bearer {behaviour.token}":
            return JSONResponse(error_body(Code.UNAUTHENTICATED, "invalid session: token signature is invalid"), 401)
        return None

    async def _play(self, fault: Fault, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        match fault.kind:
            case FaultKind.DROP:
                self._drop(scope)
                await until_disconnected(receive)
            case FaultKind.HANG:
                await until_disconnected(receive)
            case FaultKind.STATUS | FaultKind.NONSENSE:
                await _spoiled_answer(fault)(scope, receive, _noting(call, send))


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


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return None


def _noting(call: Call, send: Send) -> Send:
    async def noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            call.status = message["status"]
        await send(message)

    return noting


def _spoiled_answer(fault: Fault) -> Response:
    headers = {"Retry-After": f"{fault.retry_after:g}"} if fault.retry_after is not None else None
    if fault.body is not None:
        return Response(fault.body, fault.status, headers=headers, media_type="text/html")
    return JSONResponse(error_body(fault.code, "told to fail"), fault.status, headers=headers)


async def _nowhere(_: Message) -> None:
    pass
