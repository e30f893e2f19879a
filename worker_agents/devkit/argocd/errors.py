"""Refusals as Argo CD words them: gRPC codes behind HTTP statuses (contracts 2.3)."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class Code(IntEnum):
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    FAILED_PRECONDITION = 9
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


_STATUS: Final = {
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.NOT_FOUND: 404,
    Code.PERMISSION_DENIED: 403,
    Code.FAILED_PRECONDITION: 400,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}


class Refused(Exception):
    """A call is answered with an error."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def error_body(code: int, message: str) -> dict[str, Any]:
    return {"error": message, "code": code, "message": message}


def as_answer(_: Request, error: Exception) -> Response:
    """Exception handler for starlette."""
    if not isinstance(error, Refused):
        raise error
    return JSONResponse(error_body(error.code, error.message), _STATUS[error.code])
