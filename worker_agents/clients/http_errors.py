"""What can go wrong in an HTTP conversation, and the only place where foreign errors become ours.

A ``Trouble`` says what one try came to. Its error, once no further try is worth it:

    rejected                                      -> IntegrationRejected
    the server may have acted, call not repeatable -> UnknownOutcome
    anything else                                 -> IntegrationUnavailable
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import httpx
import orjson

from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable, TaskError, UnknownOutcome
from worker_agents.model.json_text import read_json

AS_OFTEN_AS_ALLOWED = 1_000
REPEATS_OF_A_FAULT = 2
MAX_DETAIL_LENGTH = 300

# The server did not take the request up: it may be sent again whatever it asks for.
_NOT_TAKEN_UP = frozenset({408, 425, 429})
# Said by a gateway in front of the service, or by a service that cannot serve.
GATEWAY_TROUBLE = frozenset({502, 503, 504})


class AnswerTooLarge(Exception):
    """The body is longer than the client reads."""


class AnswerUnreadable(Exception):
    """A 2xx whose body is not what the interface promises."""


class OutOfTime(Exception):
    """The caller's own time was up before the answer came."""


class Evidence(Enum):
    """What a try tells of the service, for its circuit breaker.

    Down: no connection, no answer in time, 5xx. Up: any other status. Nothing: it was our request or our own hurry,
    or somebody answered who may not even be the service.
    """

    UP = auto()
    DOWN = auto()
    NOTHING = auto()


@dataclass(frozen=True, slots=True)
class Trouble:
    """One try failed. ``outcome`` is the label of ``ExternalCall``.

    ``repeats`` counts the further tries that it is worth in a call that may be repeated; ``may_have_acted`` is False
    only when the server certainly did nothing; ``retry_after`` is the server's wish in seconds; ``status`` is that of a
    rejection.
    """

    message: str
    outcome: str = "unavailable"
    repeats: int = 0
    may_have_acted: bool = True
    retry_after: float | None = None
    evidence: Evidence = Evidence.DOWN
    status: int | None = None

    @property
    def is_unauthorised(self) -> bool:
        """Another token may help."""
        return self.status == 401

    @property
    def is_rejection(self) -> bool:
        return self.outcome == "rejected"

    def error(self, call: str, *, tries: int, repeatable: bool) -> TaskError:
        """The error that ends ``call``, e.g. ``code_forge generate``."""
        text = f"{call}: {self.message}" + (f" ({tries} tries)" if tries > 1 else "")
        if self.is_rejection:
            return IntegrationRejected(text, status=self.status)
        if self.may_have_acted and not repeatable:
            return UnknownOutcome(f"{text}; whether it took effect is not known")
        return IntegrationUnavailable(text, retry_after=self.retry_after)


def trouble_of_status(
    status: int, body: bytes, *, retry_after: float | None, also_not_yet: frozenset[int] = frozenset()
) -> Trouble:
    """A status that is no answer; ``also_not_yet`` are further ones that this call treats as 503."""
    message = f"HTTP {status}{_detail(body)}"
    evidence = Evidence.DOWN if status >= 500 else Evidence.UP
    if status in _NOT_TAKEN_UP:
        return Trouble(message, "unavailable", AS_OFTEN_AS_ALLOWED, False, retry_after, evidence)
    if status in GATEWAY_TROUBLE or status in also_not_yet:
        return Trouble(message, "unavailable", AS_OFTEN_AS_ALLOWED, True, retry_after, evidence)
    if status >= 500:
        return Trouble(message, repeats=REPEATS_OF_A_FAULT if status == 500 else 0, retry_after=retry_after)
    if status < 400:
        message = f"HTTP {status}, a redirect or no answer at all: check the address"
    return Trouble(message, "rejected", may_have_acted=False, evidence=evidence, status=status)


def trouble_of_error(error: Exception) -> Trouble:
    """What an exception of the conversation means."""
    match error:
        case httpx.InvalidURL() | httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            text = f"the request cannot be sent: {error}"
            trouble = Trouble(text, "rejected", may_have_acted=False, evidence=Evidence.NOTHING)
        case httpx.TimeoutException() | TimeoutError() | OutOfTime():
            trouble = _too_late(error)
        case httpx.ConnectError():
            trouble = _not_connected(error)
        case AnswerTooLarge():
            trouble = Trouble(str(error), evidence=Evidence.UP)
        case AnswerUnreadable():
            trouble = Trouble(str(error), repeats=REPEATS_OF_A_FAULT, evidence=Evidence.NOTHING)
        case _:
            trouble = Trouble(f"connection lost: {_words(error)}", repeats=AS_OFTEN_AS_ALLOWED)
    return trouble


def _too_late(error: Exception) -> Trouble:
    match error:
        case OutOfTime():
            return Trouble("no answer in the time that was left", "timeout", evidence=Evidence.NOTHING)
        case httpx.PoolTimeout():
            text = "no connection in time: too many calls under way"
            return Trouble(text, "timeout", AS_OFTEN_AS_ALLOWED, may_have_acted=False, evidence=Evidence.NOTHING)
        case httpx.ConnectTimeout():
            return Trouble("no connection in time", "timeout", AS_OFTEN_AS_ALLOWED, may_have_acted=False)
        case _:
            return Trouble("no answer in time", "timeout", REPEATS_OF_A_FAULT)


def _not_connected(error: httpx.ConnectError) -> Trouble:
    if any(isinstance(cause, ssl.SSLError) for cause in _causes(error)):
        return Trouble(f"TLS failure: {_words(error)}", may_have_acted=False)
    return Trouble(f"no connection: {_words(error)}", repeats=AS_OFTEN_AS_ALLOWED, may_have_acted=False)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _detail(body: bytes) -> str:
    """The server's own words where it has any, on one line and without what we sent.

    They are ``{"detail": ...}``, or ``{"kind": "Status", "message": ...}`` of Kubernetes.
    """
    try:
        document = read_json(body)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(document, dict):
        return ""
    detail = document.get("message" if document.get("kind") == "Status" else "detail")
    words = _problems(detail) if isinstance(detail, list) else detail
    if not isinstance(words, str) or not words:
        return ""
    line = "".join(each if each.isprintable() else " " for each in words)
    return f": {line[:MAX_DETAIL_LENGTH]}"


def _problems(details: list[Any]) -> str:
    """FastAPI's list of problems, without its ``input``: that echoes parameters, which may be secret."""
    return "; ".join(f"{_place(each.get('loc'))}: {each.get('msg')}" for each in details if isinstance(each, dict))


def _place(loc: object) -> str:
    return ".".join(map(str, loc)) if isinstance(loc, list) else str(loc or "")
