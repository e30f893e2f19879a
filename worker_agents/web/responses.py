"""Answers in JSON."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel
from starlette.responses import Response

NOT_CACHED = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
JSON = "application/json"


def document(view: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A document of the API."""
    return Response(
        view.model_dump_json(), status_code=status, media_type=JSON, headers={**NOT_CACHED, **(headers or {})}
    )


def json_answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Anything that orjson can write."""
    return Response(
        orjson.dumps(body, default=str), status_code=status, media_type=JSON, headers={**NOT_CACHED, **(headers or {})}
    )


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """An error, as one sentence."""
    return json_answer({"detail": detail}, status, headers)
