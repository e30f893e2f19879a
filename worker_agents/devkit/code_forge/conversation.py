"""Calls at the reference Code Forge: what is logged of them, and what keeps one from being served."""

from collections.abc import Sequence
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from worker_agents.devkit.code_forge.calls import Call
from worker_agents.devkit.code_forge.faults import Fault
from worker_agents.devkit.code_forge.forge import Forge
from worker_agents.devkit.code_forge.operations import STARTS, Operation
from worker_agents.devkit.code_forge.work import WorkKind
from worker_agents.devkit.conversation import Conversation, DropConnection, parsed, recognised, retry_after

_SCRIPT: Final = "code_forge.script"
_POLLED: Final = {Operation.POLL_GENERATION: WorkKind.GENERATION, Operation.POLL_PIPELINE: WorkKind.PIPELINE}
_KEY_SUFFIX: Final = {Operation.START_GENERATION: ":generate", Operation.START_PIPELINE: ":pipeline"}


class CodeForgeConversation(Conversation[Call, Fault]):
    """Guards `api`, whose `routes` are named after their operations."""

    def __init__(self, forge: Forge, api: ASGIApp, routes: Sequence[Route], drop: DropConnection) -> None:
        """Keep the log of `forge` and play its faults."""
        super().__init__(api, forge.log, drop)
        self._forge = forge
        self._routes = routes

    def _arrived(self, scope: Scope, body: bytes) -> Call:
        headers, (name, path_params) = Headers(scope=scope), recognised(self._routes, scope)
        call = Call(
            number=self._forge.log.next_number(),
            at=self._forge.clock.now(),
            method=scope["method"],
            path=scope["path"],
            operation=Operation(name),
            ticket_id=None,
            idempotency_key=headers.get("idempotency-key"),
            traceparent=headers.get("traceparent"),
            body=parsed(body),
        )
        if call.operation in STARTS:
            call.ticket_id = _ticket_id(call)
        scope[_SCRIPT] = self._script(call, path_params)
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

    async def _wait(self) -> None:
        if self._forge.behaviour.latency > 0:
            await self._forge.clock.sleep(self._forge.behaviour.latency)

    def _refusal(self, scope: Scope, call: Call) -> Response | None:
        behaviour = self._forge.behaviour
        if behaviour.down:
            self._forge.log.spoiled(call, "down")
            return JSONResponse({"detail": "Service Unavailable"}, 503)
        token, given = behaviour.token, Headers(scope=scope).get("authorization")
        if token is not None and call.path.startswith("/api/") and given != f"Bearer {token}":
            self._forge.log.spoiled(call, "unauthorised")
            return JSONResponse({"detail": "Not authenticated"}, 401, headers={"WWW-Authenticate": "Bearer"})
        return None

    def _take_fault(self, scope: Scope, call: Call) -> Fault | None:
        return self._forge.take_fault(call, scope[_SCRIPT])

    def _spoiled_answer(self, fault: Fault) -> Response:
        headers = retry_after(fault.retry_after)
        if fault.body is not None:
            return Response(fault.body, fault.status, headers=headers, media_type=fault.content_type)
        return JSONResponse({"detail": "told to fail"}, fault.status, headers=headers)


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
