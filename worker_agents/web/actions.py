"""What operators may do over HTTP, with the admin token."""

from __future__ import annotations

import hmac
from typing import Any, Protocol

import orjson
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker_agents.dispatch.cancellation import Cancelled, CancelRequest
from worker_agents.model.ticket import describe_problems

MAX_BODY_BYTES = 16 * 1024

_OUTCOMES = {
    Cancelled.RUNNING: (202, "its executor has been told and ends soon"),
    Cancelled.WAITING: (202, "it had not begun and is being settled"),
    Cancelled.TOO_LATE: (409, "its result is being written already"),
    Cancelled.SETTLED: (409, "it is settled already"),
    Cancelled.UNKNOWN: (404, "it is not in a partition of this worker, or was not read yet"),
}


class Operations(Protocol):
    """What the service lets operators do; see ``dispatch.dispatcher``."""

    def cancel(self, request: CancelRequest) -> Cancelled: ...


class Cancellation(BaseModel):
    """The body of a cancellation; both fields may be absent."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    by: str = Field("operator", min_length=1, max_length=100)
    reason: str = Field("", max_length=500)


def action_routes(operations: Operations, token: SecretStr) -> list[Route]:
    """The routes of all actions. Without a token they are there and say that they are off."""

    async def cancel(request: Request) -> Response:
        refusal = _refusal(request, token)
        if refusal is not None:
            return refusal
        try:
            wanted = Cancellation.model_validate(orjson.loads(await _body(request) or b"{}"))
        except ValidationError as error:
            return _answer(422, detail=describe_problems(error))
        except ValueError as error:
            return _answer(400, detail=f"the body is not JSON: {error}")
        ticket_id = request.path_params["ticket_id"]
        outcome = operations.cancel(CancelRequest(ticket_id, by=wanted.by, why=wanted.reason))
        status, detail = _OUTCOMES[outcome]
        return _answer(status, ticket_id=ticket_id, outcome=outcome.value, detail=detail)

    return [Route("/api/v1/tickets/{ticket_id:path}/cancel", cancel, methods=["POST"])]


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ValueError(f"longer than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _refusal(request: Request, token: SecretStr) -> Response | None:
    """Why the caller may not act; ``None`` when they may. A header that no page of another site can send keeps forms out."""
    if not token:
        return _answer(403, detail="actions are off: ADMIN_TOKEN is not set")
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # Compared as bytes, which may be anything, and in constant time.
    right = hmac.compare_digest(given.strip().encode(), token.get_secret_value().encode())
    if scheme.lower() == "bearer" and right:
        return None
    return _answer(401, {"WWW-Authenticate": "Bearer"}, detail="Authorization: Bearer ADMIN_TOKEN is missing or wrong")


def _answer(status: int, headers: dict[str, str] | None = None, **body: Any) -> Response:
    return Response(
        orjson.dumps(body),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
