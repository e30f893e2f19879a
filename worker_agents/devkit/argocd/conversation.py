"""Calls at the reference Argo CD: what is logged of them, and what keeps one from being served."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers, QueryParams
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from worker_agents.devkit.argocd.behaviour import Fault
from worker_agents.devkit.argocd.calls import Call
from worker_agents.devkit.argocd.controller import Controller
from worker_agents.devkit.argocd.errors import Code, error_body
from worker_agents.devkit.argocd.operations import WITHOUT_TOKEN, Operation
from worker_agents.devkit.conversation import Conversation, DropConnection, parsed, recognised, retry_after


class ArgoCdConversation(Conversation[Call, Fault]):
    """Guards ``api``, whose ``routes`` are named after their operations."""

    def __init__(self, controller: Controller, api: ASGIApp, routes: Sequence[Route], drop: DropConnection) -> None:
        super().__init__(api, controller.log, drop)
        self._controller = controller
        self._routes = routes

    def _arrived(self, scope: Scope, body: bytes) -> Call:
        headers, (operation, path_params) = Headers(scope=scope), recognised(self._routes, scope)
        content = parsed(body)
        name = path_params.get("name")
        if operation == Operation.CREATE and isinstance(content, dict) and isinstance(content.get("metadata"), dict):
            name = content["metadata"].get("name")
        return Call(
            number=self._controller.log.next_number(),
            at=self._controller.now(),
            method=scope["method"],
            path=scope["path"],
            query=dict(QueryParams(scope["query_string"])),
            operation=Operation(operation),
            application=name,
            content_type=headers.get("content-type"),
            idempotency_key=headers.get("idempotency-key"),
            traceparent=headers.get("traceparent"),
            body=content,
        )

    async def _wait(self) -> None:
        if self._controller.behaviour.latency > 0:
            await self._controller.clock.sleep(self._controller.behaviour.latency)
        self._controller.catch_up()

    def _refusal(self, scope: Scope, call: Call) -> Response | None:
        behaviour = self._controller.behaviour
        if behaviour.down:
            self._controller.log.spoiled(call, "down")
            return PlainTextResponse("upstream connect error or disconnect/reset before headers", 503)
        if call.method != "GET" and call.content_type != "application/json":
            return PlainTextResponse("Invalid content type", 415)
        if behaviour.token is None or call.operation in WITHOUT_TOKEN:
            return None
        given = Headers(scope=scope).get("authorization")
        if given is None:
            return JSONResponse(error_body(Code.UNAUTHENTICATED, "no session information"), 401)
        if given != f"Bearer {behaviour.token}":
            return JSONResponse(error_body(Code.UNAUTHENTICATED, "invalid session: token signature is invalid"), 401)
        return None

    def _take_fault(self, _: Scope, call: Call) -> Fault | None:
        return self._controller.take_fault(call)

    def _spoiled_answer(self, fault: Fault) -> Response:
        headers = retry_after(fault.retry_after)
        if fault.body is not None:
            return Response(fault.body, fault.status, headers=headers, media_type="text/html")
        return JSONResponse(error_body(fault.code, "told to fail"), fault.status, headers=headers)
