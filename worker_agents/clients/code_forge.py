"""Code Forge: code generation from templates, and build pipelines (``contracts.md`` 1.9).

What its server does and this client makes harmless:

- a generation without artifacts - queued, processing, failed - is HTTP 500 when it is read, and a new one may be 404
  for a moment: both come back as a status ``unknown`` with the HTTP status on it, and whoever polls decides;
- a new pipeline is 404 until a background task has stored it;
- absent values arrive as the text ``"None"``, an empty list of artifacts as text too;
- a pipeline's stage may be a word or a list, and its history may be there or not;
- a pipeline that succeeded may be stored as failed, because its artifacts could not be stored
  (:attr:`PipelineStatus.is_false_failure`);
- generations and pipelines are forgotten after 24 hours: 404 from then on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from worker_agents.clients.http import Answer, Call, HttpClient
from worker_agents.model.json_text import read_json

UNKNOWN: Final = "unknown"
COMPLETED: Final = frozenset({"completed", "succeeded"})
FAILED: Final = frozenset({"failed", "cancelled", "timeout", "error"})
# What the server stores as completed and as failed, should it ever show them as they are.
COMPLETED_PIPELINE: Final = COMPLETED | {"requires_review"}
FAILED_PIPELINE: Final = FAILED | {"partial"}
MAX_STAGES: Final = 100

# The question is taken up later, or its subject is not known (yet).
_LATER: Final = frozenset({404, 408, 425, 429})
# Answered while a generation exists: everything but a refusal (400, 401, 403 ...) of the question itself.
_NOT_YET: Final = _LATER | frozenset(range(500, 600))
# Python's words for a value that its JSON cannot hold, which is what the server then notes as the pipeline's error.
_NOT_STORED: Final = "is not JSON serializable"
# Another call with the same idempotency key is still being served.
_KEY_IN_USE: Final = frozenset({409})


def _text(value: object) -> str | None:
    """Text or ``None``, which the server also spells ``"None"``; anything else as its JSON."""
    if value is None or value in ("", "None"):
        return None
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return "(nested too deeply)"


def _status(value: object) -> object:
    if value is not None and not isinstance(value, str):
        return value
    return (_text(value) or "").strip().lower() or UNKNOWN


def _list(value: object) -> object:
    """A list, or the text of one; what is neither counts as none."""
    if isinstance(value, str):
        try:
            value = read_json(value)
        except orjson.JSONDecodeError:
            return ()
    return value if isinstance(value, list) else ()


def _document(value: object) -> object:
    """Any JSON; an object or a list may come as text."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith(("{", "[")):
        return _text(value)
    try:
        return read_json(value)
    except orjson.JSONDecodeError:
        return value


def _milliseconds(value: object) -> float | None:
    """A number or the text of one; anything else counts as unknown."""
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _name(value: object) -> str | None:
    return _text(value.get("name")) if isinstance(value, dict) else _text(value)


def _stage(value: object) -> str | None:
    """A stage's name, from a word, an object with a ``name``, or a list of either of which the last is the present one."""
    if isinstance(value, list):
        return next((name for name in map(_name, reversed(value)) if name is not None), None)
    return _name(value)


def _stages(value: object) -> object:
    """The history, from objects or bare names; entries without a name are left out."""
    entries = _list(value)
    assert isinstance(entries, list | tuple)
    shaped = [entry if isinstance(entry, dict) else {"name": entry} for entry in entries[:MAX_STAGES]]
    return [entry for entry in shaped if _name(entry) is not None]


Text = Annotated[str | None, BeforeValidator(_text)]


class GenerationStatus(BaseModel):
    """How a generation stands. ``status`` is the server's word in lower case, known or not.

    It is ``unknown`` when the server could not say; then ``http_status`` tells why (404: it does not know the request).
    ``retry_after`` is the server's wish, in seconds, for the next poll.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    request_id: str
    status: Annotated[str, BeforeValidator(_status)]
    artifacts: Annotated[tuple[Any, ...], BeforeValidator(_list)] = ()
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


class PipelineStage(BaseModel):
    """One stage of a pipeline, as the server tells it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: Annotated[str, BeforeValidator(_text)]
    status: Text = None
    duration_ms: Annotated[float | None, BeforeValidator(_milliseconds)] = None


class PipelineStatus(BaseModel):
    """How a pipeline stands. ``status`` is the server's word in lower case, known or not.

    It is ``unknown`` when the server could not say; then ``http_status`` tells why (404: it does not know the pipeline).
    ``stage`` is the present stage, ``stages`` the server's own history, empty where it keeps none. ``sbom`` and
    ``signature`` are any JSON, and ``None`` with every server seen so far. ``retry_after`` is the server's wish, in
    seconds, for the next poll.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    pipeline_id: str
    status: Annotated[str, BeforeValidator(_status)]
    stage: Annotated[str | None, BeforeValidator(_stage)] = None
    stages: Annotated[tuple[PipelineStage, ...], BeforeValidator(_stages)] = ()
    duration_ms: Annotated[float | None, BeforeValidator(_milliseconds)] = None
    artifacts: Annotated[tuple[Any, ...], BeforeValidator(_list)] = ()
    sbom: Annotated[Any, BeforeValidator(_document)] = None
    signature: Annotated[Any, BeforeValidator(_document)] = None
    error: Text = None
    http_status: int = 200
    retry_after: float | None = None

    @classmethod
    def unseen(cls, pipeline_id: str, http_status: int, retry_after: float | None = None) -> PipelineStatus:
        return cls(pipeline_id=pipeline_id, status=UNKNOWN, http_status=http_status, retry_after=retry_after)

    @property
    def is_missing(self) -> bool:
        """The server does not know the pipeline: not yet, or no longer."""
        return self.http_status == 404

    @property
    def is_completed(self) -> bool:
        return self.status in COMPLETED_PIPELINE

    @property
    def is_over(self) -> bool:
        return self.status in COMPLETED_PIPELINE or self.status in FAILED_PIPELINE

    @property
    def is_false_failure(self) -> bool:
        """Failed only because the server could not store the artifacts of what may well be a success."""
        return self.status in FAILED_PIPELINE and _NOT_STORED in (self.error or "")


class _Accepted(BaseModel):
    """The answer to a submission; only the id matters."""

    model_config = ConfigDict(extra="ignore")

    request_id: Annotated[str, BeforeValidator(_text), Field(min_length=1)]


class _Triggered(BaseModel):
    """The answer to a trigger; only the id matters. Its ``ticket_id`` is the server's own, not ours."""

    model_config = ConfigDict(extra="ignore")

    pipeline_id: Annotated[str, BeforeValidator(_text), Field(min_length=1)]


class CodeForgeClient:
    """Code Forge's APIs of generations and pipelines. ``http`` is given over: ``aclose`` closes it.

    ``within`` is the seconds that the caller has left; see :meth:`HttpClient.send`.
    """

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
        within: float | None = None,
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
        return await self._http.send(call, _request_id, within=within)

    async def get_generation_status(
        self, request_id: str, headers: Mapping[str, str], *, within: float | None = None
    ) -> GenerationStatus:
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
            polls=True,
        )
        return await self._http.send(call, lambda answer: _generation_status(request_id, answer), within=within)

    async def trigger_pipeline(
        self,
        *,
        artifact_id: str,
        parameters: Mapping[str, Any],
        headers: Mapping[str, str],
        before_repeat: Callable[[], object] | None = None,
        within: float | None = None,
    ) -> str:
        """Start a pipeline and return its id; repeated as a generation is."""
        call = Call(
            operation="pipeline",
            method="POST",
            path="/api/v1/pipelines",
            headers=headers,
            body={"artifact_id": artifact_id, "parameters": dict(parameters)},
            not_yet=_KEY_IN_USE,
            before_repeat=before_repeat,
        )
        return await self._http.send(call, _pipeline_id, within=within)

    async def get_pipeline_status(
        self, pipeline_id: str, headers: Mapping[str, str], *, within: float | None = None
    ) -> PipelineStatus:
        """Ask once how a pipeline stands; raises as for a generation, and here a 5xx is an outage."""
        call = Call(
            operation="pipeline_status",
            method="GET",
            path=f"/api/v1/pipelines/{quote(pipeline_id, safe='')}",
            headers=headers,
            accepted=_LATER,
            polls=True,
        )
        return await self._http.send(call, lambda answer: _pipeline_status(pipeline_id, answer), within=within)

    async def aclose(self) -> None:
        await self._http.aclose()


def _request_id(answer: Answer) -> str:
    return _Accepted.model_validate(answer.json_object()).request_id


def _pipeline_id(answer: Answer) -> str:
    return _Triggered.model_validate(answer.json_object()).pipeline_id


def _pipeline_status(pipeline_id: str, answer: Answer) -> PipelineStatus:
    if not answer.is_success:
        return PipelineStatus.unseen(pipeline_id, answer.status, answer.retry_after)
    ours = {"pipeline_id": pipeline_id, "http_status": answer.status, "retry_after": answer.retry_after}
    return PipelineStatus.model_validate(answer.json_object() | ours)


def _generation_status(request_id: str, answer: Answer) -> GenerationStatus:
    if not answer.is_success:
        return GenerationStatus.unseen(request_id, answer.status, answer.retry_after)
    ours = {"request_id": request_id, "http_status": answer.status, "retry_after": answer.retry_after}
    return GenerationStatus.model_validate(answer.json_object() | ours)
