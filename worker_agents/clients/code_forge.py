"""Code Forge: code generation from templates (``contracts.md`` 1.9).

What its server does and this client makes harmless:

- a generation without artifacts - queued, processing, failed - is HTTP 500 when it is read, and a new one may be 404
  for a moment: both come back as a status ``unknown`` with the HTTP status on it, and whoever polls decides;
- absent values arrive as the text ``"None"``, an empty list of artifacts as text too;
- requests are forgotten after 24 hours: 404 from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from worker_agents.clients.http import Answer, Call, HttpClient

UNKNOWN: Final = "unknown"
COMPLETED: Final = frozenset({"completed", "succeeded"})
FAILED: Final = frozenset({"failed", "cancelled", "timeout", "error"})

# Answered while the request exists: everything but a refusal (400, 401, 403 ...) of the question itself.
_NOT_YET: Final = frozenset({404, 408, 425, 429, *range(500, 600)})
# Another call with the same idempotency key is still being served.
_KEY_IN_USE: Final = frozenset({409})


def _text(value: object) -> str | None:
    """Text or ``None``, which the server also spells ``"None"``; anything else as its JSON."""
    if value is None or value in ("", "None"):
        return None
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _status(value: object) -> object:
    return (_text(value) or UNKNOWN).strip().lower() if value is None or isinstance(value, str) else value


def _artifacts(value: object) -> object:
    """A list, or the text of one; what is neither counts as none."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return ()
    return value if isinstance(value, list) else ()


Text = Annotated[str | None, BeforeValidator(_text)]


class GenerationStatus(BaseModel):
    """How a generation stands. ``status`` is the server's word in lower case, known or not.

    It is ``unknown`` when the server could not say; then ``http_status`` tells why (404: it does not know the request).
    ``retry_after`` is the server's wish, in seconds, for the next poll.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    request_id: str
    status: Annotated[str, BeforeValidator(_status)]
    artifacts: Annotated[tuple[Any, ...], BeforeValidator(_artifacts)] = ()
    pipeline_id: Text = None
    error: Text = None
    created_at: Text = None
    updated_at: Text = None
    http_status: int = 200
    retry_after: float | None = None

    @classmethod
    def unseen(cls, request_id: str, http_status: int, retry_after: float | None = None) -> GenerationStatus:
        return cls(request_id=request_id, status=UNKNOWN, http_status=http_status, retry_after=retry_after)

    @property
    def is_missing(self) -> bool:
        """The server does not know the request: not yet, or no longer."""
        return self.http_status == 404

    @property
    def is_completed(self) -> bool:
        return self.status in COMPLETED

    @property
    def is_over(self) -> bool:
        return self.status in COMPLETED or self.status in FAILED


class _Accepted(BaseModel):
    """The answer to a submission; only the id matters."""

    model_config = ConfigDict(extra="ignore")

    request_id: Annotated[str, BeforeValidator(_text), Field(min_length=1)]


class CodeForgeClient:
    """Code Forge's generation API. ``http`` is given over: ``aclose`` closes it."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def submit_generation_request(
        self,
        *,
        ticket_id: str,
        template_id: str,
        parameters: Mapping[str, Any],
        target_repo: str | None = None,
        branch: str | None = None,
        headers: Mapping[str, str],
        before_repeat: Callable[[], object] | None = None,
    ) -> str:
        """Start a generation and return its request id.

        Repeated after a lost answer only if ``headers`` carry an ``Idempotency-Key``, and then only when
        ``before_repeat`` does not raise. A server that ignores the key may start the work once for each repetition.
        """
        body: dict[str, Any] = {"ticket_id": ticket_id, "template_id": template_id, "parameters": dict(parameters)}
        optional = {"target_repo": target_repo, "branch": branch}
        call = Call(
            operation="generate",
            method="POST",
            path="/api/v1/generate",
            headers=headers,
            body=body | {name: value for name, value in optional.items() if value is not None},
            not_yet=_KEY_IN_USE,
            before_repeat=before_repeat,
        )
        return await self._http.send(call, _request_id)

    async def get_generation_status(self, request_id: str, headers: Mapping[str, str]) -> GenerationStatus:
        """Ask once how a generation stands.

        Raises :class:`IntegrationUnavailable` when Code Forge cannot be reached or talks nonsense, and
        :class:`IntegrationRejected` when it refuses the question.
        """
        call = Call(
            operation="generation_status",
            method="GET",
            path=f"/api/v1/generate/{quote(request_id, safe='')}",
            headers=headers,
            accepted=_NOT_YET,
        )
        return await self._http.send(call, lambda answer: _generation_status(request_id, answer))

    async def aclose(self) -> None:
        await self._http.aclose()


def _request_id(answer: Answer) -> str:
    return _Accepted.model_validate(answer.json_object()).request_id


def _generation_status(request_id: str, answer: Answer) -> GenerationStatus:
    if not answer.is_success:
        return GenerationStatus.unseen(request_id, answer.status, answer.retry_after)
    ours = {"request_id": request_id, "http_status": answer.status, "retry_after": answer.retry_after}
    return GenerationStatus.model_validate(answer.json_object() | ours)
