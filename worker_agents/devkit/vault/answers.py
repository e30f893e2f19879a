"""The shapes of Vault's answers."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.responses import Response


class Refused(Exception):
    """An answer with an error list, which is empty for 404 and may be for others."""

    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(*errors)
        self.status = status
        self.errors = list(errors)


def permission_denied() -> Refused:
    """Vault's answer to a bad token, to a missing policy and to a path that no policy knows: always the same."""
    return Refused(403, "permission denied")


def document(
    *,
    data: Mapping[str, Any] | None = None,
    auth: Mapping[str, Any] | None = None,
    lease_seconds: int = 0,
    warnings: list[str] | None = None,
    status: int = 200,
    mount_type: str = "",
) -> Response:
    """The envelope of every answer that is not an error."""
    envelope = {
        "request_id": str(uuid.uuid4()),
        "lease_id": "",
        "renewable": False,
        "lease_duration": lease_seconds,
        "data": data,
        "wrap_info": None,
        "warnings": warnings,
        "auth": auth,
        "mount_type": mount_type,
    }
    return as_json(envelope, status)


def errors(refused: Refused) -> Response:
    return as_json({"errors": refused.errors}, refused.status)


def as_json(content: Any, status: int = 200) -> Response:
    # Vault names no charset, and hvac reads error lists only where the type is exactly this.
    return Response(
        orjson.dumps(content) + b"\n",
        status,
        headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
    )


def timestamp(seconds: float | None) -> str:
    """RFC 3339 with nine digits after the second, as Go writes it; empty for never."""
    if seconds is None:
        return ""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}000Z"
