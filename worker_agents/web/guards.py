"""Who may act, and with which requests: the same for every action."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlsplit

import orjson
from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request

from worker_agents.model.ticket import describe_problems

MAX_BODY_BYTES = 16 * 1024

B = TypeVar("B", bound=BaseModel)


class Refused(Exception):
    """The request is not even looked at; the message is a sentence for whoever sent it."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


def is_same(given: str, secret: str) -> bool:
    """Compared as bytes, which may be anything, and in constant time."""
    return hmac.compare_digest(given.encode(), secret.encode())


def require_token(request: Request, token: SecretStr) -> None:
    """Raises :class:`Refused` unless the request carries the admin token; nobody does while there is none."""
    if not token:
        raise Refused(403, "actions are off: ADMIN_TOKEN is not set")
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    right = is_same(given.strip(), token.get_secret_value())
    if not (scheme.lower() == "bearer" and right):
        detail = "Authorization: Bearer ADMIN_TOKEN is missing or wrong"
        raise Refused(401, detail, {"WWW-Authenticate": "Bearer"})


def refuse_other_sites(request: Request) -> None:
    """Raises :class:`Refused` for what a page of another site sends, whatever else it carries."""
    origin, fetched_from = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", "none")
    is_ours = origin is None or urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower()
    if not is_ours or fetched_from not in ("none", "same-origin"):
        raise Refused(403, "pages of other sites may not act here")


async def read_order(request: Request, model: type[B]) -> B:
    """The request's body. Raises :class:`Refused`: one sentence that names the field where there is one.

    Only JSON: forms of other sites cannot send that without being asked for leave first.
    """
    content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise Refused(415, "Content-Type: application/json is required")
    body = await read_body(request)
    try:
        return model.model_validate(orjson.loads(body or b"{}"))
    except ValidationError as error:
        raise Refused(422, describe_problems(error)) from error
    except ValueError as error:
        raise Refused(400, f"the body is not JSON: {error}") from error


def read_query(request: Request, model: type[B]) -> B:
    """The request's query. Raises :class:`Refused`."""
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise Refused(422, describe_problems(error)) from error


def read_name(request: Request, field: str, kind: TypeAdapter[str]) -> str:
    """A name in the request's path. Raises :class:`Refused`."""
    try:
        return kind.validate_python(request.path_params[field])
    except ValidationError as error:
        raise Refused(422, f"{field}: {error.errors()[0]['msg']}") from error


async def read_body(request: Request) -> bytes:
    """The whole body, which is bounded. Raises :class:`Refused`."""
    too_large = Refused(413, f"the body is longer than {MAX_BODY_BYTES} bytes", {"Connection": "close"})
    declared = request.headers.get("Content-Length", "0")
    if len(declared) > 9 or int(declared) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise too_large
    except ClientDisconnect as error:
        raise Refused(400, "the body did not come to its end") from error
    return bytes(body)
