"""The base of every HTTP client: one pool, one retry rule, one mapping of errors.

``send`` holds one conversation: a try, then another where repeating is safe and promises something. A call is
repeatable when it only reads or carries an ``Idempotency-Key``; every other call is made once.

    send                  tries and the waits between them
      _try_authorised     another token after a 401
        _try              one try, told to telemetry
          _guarded        circuit breaker and a place among the calls under way
            _converse     request, answer, mapping of errors
"""

from __future__ import annotations

import asyncio
import math
import random
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx
import orjson
from pydantic import SecretStr

import worker_agents
from worker_agents.clients.breaker import CircuitBreaker, Permit
from worker_agents.clients.http_errors import (
    GATEWAY_TROUBLE,
    AnswerTooLarge,
    AnswerUnreadable,
    Evidence,
    OutOfTime,
    Trouble,
    trouble_of_error,
    trouble_of_status,
)
from worker_agents.clients.http_retry import HttpRetryPolicy, RetryBudget, retry_after_seconds
from worker_agents.clients.http_tokens import FixedToken, TokenSource, bearer
from worker_agents.model.clock import Clock, SystemClock
from worker_agents.model.errors import BreakerOpen, CredentialsUnavailable, IntegrationUnavailable, TaskError
from worker_agents.model.json_text import read_json
from worker_agents.telemetry.events import Emit, ExternalCall
from worker_agents.telemetry.tracing import current_span, new_call_span

IDEMPOTENCY_KEY = "Idempotency-Key"
_NO_STREAM = httpx.ByteStream(b"")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Seconds a try may take, bytes it may answer, and connections kept.

    ``read`` is the longest silence, ``whole`` bounds the whole try. ``connections`` is how many tries run at once,
    the rest queue up to ``queue`` seconds. ``idle_connections`` stays small on purpose: httpcore looks at every idle
    connection on every request (measured: 6.0 ms of CPU a request with 64 of them, 1.2 ms with 16).
    """

    connect: float = 5.0
    read: float = 30.0
    whole: float = 60.0
    queue: float = 30.0
    body: int = 8 * 1024 * 1024
    connections: int = 128
    idle_connections: int = 16
    idle_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``operation`` is its name in metrics and messages.

    ``body`` is sent as JSON of this ``content_type``. ``reads_only`` marks a POST that starts nothing. ``accepted`` are
    statuses beside 2xx that the caller reads itself;
    ``not_yet`` further ones that are worth a repetition. ``polls`` marks a call that is made again and again until
    something is over. ``before_repeat`` runs before each further try and may refuse
    it by raising: a call that starts remote work checks its lease again there.
    """

    operation: str
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    content_type: str = "application/json"
    reads_only: bool = False
    accepted: frozenset[int] = frozenset()
    not_yet: frozenset[int] = frozenset()
    polls: bool = False
    before_repeat: Callable[[], object] | None = None

    @property
    def is_repeatable(self) -> bool:
        return (
            self.reads_only
            or self.method in ("GET", "HEAD")
            or any(name.lower() == IDEMPOTENCY_KEY.lower() for name in self.headers)
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx, or a status that the call accepts. ``date`` is the header of that name."""

    status: int
    body: bytes
    retry_after: float | None = None
    date: str | None = None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object; raises ``ValueError`` when it is none."""
        document = read_json(self.body)
        if not isinstance(document, dict):
            raise ValueError("not a JSON object")  # noqa: TRY004 # what was read is wrong, not what was passed
        return document


@dataclass(frozen=True, slots=True)
class _Success(Generic[T]):
    value: T
    status: int


class HttpClient:
    """Talks to one service. ``integration`` names it in metrics and messages; ``token`` is sent as bearer token.

    ``breaker`` is asked before each try and told what came of it; without one every call is let through. ``authority`` is a file with
    the certificates (PEM) that the service is checked with, in place of those that everybody trusts.
    """

    def __init__(
        self,
        base_url: str,
        *,
        integration: str,
        emit: Emit,
        token: SecretStr | TokenSource | None = None,
        retry: HttpRetryPolicy | None = None,
        retry_budget: RetryBudget | None = None,
        limits: HttpLimits | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        breaker: CircuitBreaker | None = None,
        authority: Path | None = None,
    ) -> None:
        self._integration = integration
        self._emit = emit
        self._tokens = FixedToken(token or SecretStr("")) if token is None or isinstance(token, SecretStr) else token
        self._retry = retry or HttpRetryPolicy()
        self._budget = retry_budget or RetryBudget()
        self._limits = limits or HttpLimits()
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._breaker = breaker
        # In front of httpcore's own queue, which is searched from end to end for every request that waits in it.
        self._places = asyncio.Semaphore(self._limits.connections)
        self._client = _pooled_client(base_url, self._limits, authority)

    async def send(self, call: Call, read: Callable[[Answer], T], *, within: float | None = None) -> T:
        """Make the call and return what ``read`` makes of the answer; it raises ``ValueError`` on nonsense.

        ``within`` is the seconds that the caller has left: no try outlasts them, and none is begun that would come
        after them. Raises :class:`IntegrationRejected`, :class:`IntegrationUnavailable` (:class:`BreakerOpen` where the
        breaker is or has just been opened) or :class:`UnknownOutcome`, and what the source of the token raises.
        """
        ends_at = math.inf if within is None else self._clock.monotonic() + within
        self._budget.called(self._clock.monotonic())
        made, waited = 0, 0.0
        while True:
            outcome = await self._try_authorised(call, read, ends_at)
            if isinstance(outcome, _Success):
                return outcome.value
            made += 1
            delay = self._delay_before_repeat(call, outcome, made, waited, ends_at)
            if delay is None:
                raise self._error(call, outcome, made)
            waited += delay
            await self._clock.sleep(delay)
            if call.before_repeat is not None:
                call.before_repeat()

    async def aclose(self) -> None:
        """Close all connections; calls under way fail."""
        await self._client.aclose()

    async def _try_authorised(self, call: Call, read: Callable[[Answer], T], ends_at: float) -> _Success[T] | Trouble:
        """A try, and one more with another token where there is one: on a 401 the service did nothing."""
        token = await self._token()
        outcome = await self._try(call, read, token, ends_at)
        if not (isinstance(outcome, Trouble) and outcome.is_unauthorised):
            return outcome
        await self._tokens.renew(token)
        another = await self._token()
        if another == token:
            return outcome
        if call.before_repeat is not None:
            call.before_repeat()
        return await self._try(call, read, another, ends_at)

    async def _token(self) -> str:
        """Whoever keeps the token being down must not look as if the integration were: that may be simulated."""
        try:
            return await self._tokens.current()
        except IntegrationUnavailable as error:
            raise CredentialsUnavailable(f"the token for {self._integration}: {error}") from error

    async def _try(self, call: Call, read: Callable[[Answer], T], token: str, ends_at: float) -> _Success[T] | Trouble:
        authorization = bearer(self._integration, token)
        began = self._clock.monotonic()
        if ends_at <= began:
            return Trouble("no time left for a try", "timeout", may_have_acted=False, evidence=Evidence.NOTHING)
        span = current_span() if call.polls else new_call_span()
        traced = call if span is None else replace(call, headers={**call.headers, **span.headers()})
        outcome = await self._guarded(traced, read, authorization, ends_at - began)
        label, took = outcome.outcome if isinstance(outcome, Trouble) else "ok", self._clock.monotonic() - began
        self._emit(ExternalCall(self._integration, call.operation, label, took, polls=call.polls, trace=span))
        return outcome

    async def _guarded(
        self, call: Call, read: Callable[[Answer], T], authorization: str | None, left: float
    ) -> _Success[T] | Trouble:
        """The breaker is asked twice: at once, and again after a wait for a place, which calls that hang may make long."""
        if self._breaker is not None:
            self._breaker.check()
        try:
            await self._take_place(left)
        except (httpx.PoolTimeout, OutOfTime) as error:
            return trouble_of_error(error)
        try:
            if self._breaker is None:
                return await self._converse(call, read, authorization, left)
            with self._breaker.admit() as permit:
                outcome = await self._converse(call, read, authorization, left)
                _report(permit, outcome)
                return outcome
        finally:
            self._places.release()

    async def _take_place(self, left: float) -> None:
        try:
            async with asyncio.timeout(min(self._limits.queue, left)):
                await self._places.acquire()
        except TimeoutError as error:
            if left < self._limits.queue:
                raise OutOfTime from error
            raise httpx.PoolTimeout("no place") from error

    async def _converse(
        self, call: Call, read: Callable[[Answer], T], authorization: str | None, left: float
    ) -> _Success[T] | Trouble:
        try:
            answer = await self._exchange(call, authorization, left)
            if not answer.is_success and answer.status not in call.accepted:
                return trouble_of_status(
                    answer.status, answer.body, retry_after=answer.retry_after, also_not_yet=call.not_yet
                )
            return _Success(_read(answer, read), answer.status)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, AnswerTooLarge, AnswerUnreadable, OutOfTime) as error:
            return trouble_of_error(error)

    async def _exchange(self, call: Call, authorization: str | None, left: float) -> Answer:
        content = None if call.body is None else orjson.dumps(call.body)
        headers = _headers(call, authorization)
        request = self._client.build_request(call.method, call.path, headers=headers, content=content)
        try:
            async with asyncio.timeout(min(self._limits.whole, left)):
                response = await self._client.send(request, stream=True)
                try:
                    body = await _body_of(response, self._limits.body)
                finally:
                    await response.aclose()
                    # It and its response hold each other: forty objects a call that only the garbage collector would free,
                    # and with thousands of polls to free it holds the event loop up for 0.2 s.
                    response.stream = _NO_STREAM
        except TimeoutError as error:
            if left < self._limits.whole:
                raise OutOfTime from error
            raise
        retry_after = retry_after_seconds(response.headers.get("Retry-After"), self._clock.now_ms())
        return Answer(response.status_code, body, retry_after, response.headers.get("Date"))

    def _delay_before_repeat(
        self, call: Call, trouble: Trouble, made: int, waited: float, ends_at: float
    ) -> float | None:
        """``None`` where there is no point in another try, no time for it, or none is left in the budget."""
        if not call.is_repeatable or made > trouble.repeats:
            return None
        delay = self._retry.delay(made, waited, trouble.retry_after, self._rng)
        if delay is None or self._clock.monotonic() + delay >= ends_at:
            return None
        if self._breaker is not None and self._breaker.wait_seconds() > delay:
            return None
        return delay if self._budget.take(self._clock.monotonic()) else None

    def _error(self, call: Call, trouble: Trouble, made: int) -> TaskError:
        """Whoever failed while the breaker is open waits for it like everyone else, the failed probe's ticket too."""
        error = trouble.error(f"{self._integration} {call.operation}", tries=made, repeatable=call.is_repeatable)
        wait = 0.0 if self._breaker is None else self._breaker.wait_seconds()
        if wait > 0 and isinstance(error, IntegrationUnavailable):
            retry_after = max(wait, trouble.retry_after or 0.0)
            return BreakerOpen(str(error), integration=self._integration, retry_after=retry_after)
        return error


def _report(permit: Permit, outcome: _Success[T] | Trouble) -> None:
    """Tell the breaker. Gateway errors count even where the caller reads them itself, as pollers do."""
    match outcome:
        case _Success(status=status) if status in GATEWAY_TROUBLE:
            permit.failed(f"HTTP {status}")
        case _Success() | Trouble(evidence=Evidence.UP):
            permit.succeeded()
        case Trouble(evidence=Evidence.DOWN):
            permit.failed(outcome.message)


def _pooled_client(base_url: str, limits: HttpLimits, authority: Path | None) -> httpx.AsyncClient:
    headers = {
        "User-Agent": f"worker-agents/{worker_agents.__version__}",
        "Accept": "application/json",
        # Uncompressed, so that the cap on the body is a cap on memory.
        "Accept-Encoding": "identity",
    }
    return httpx.AsyncClient(
        base_url=base_url,
        headers=headers,
        verify=True if authority is None else ssl.create_default_context(cafile=authority),
        timeout=httpx.Timeout(limits.read, connect=limits.connect, pool=limits.queue),
        limits=httpx.Limits(
            max_connections=limits.connections,
            max_keepalive_connections=limits.idle_connections,
            keepalive_expiry=limits.idle_seconds,
        ),
        follow_redirects=False,
    )


def _headers(call: Call, authorization: str | None) -> list[tuple[bytes, bytes]]:
    """Headers as bytes: ticket ids, and so idempotency keys, need not be ASCII."""
    headers = [(name.encode("ascii"), value.encode()) for name, value in call.headers.items()]
    if authorization is not None:
        headers.append((b"Authorization", authorization.encode("ascii")))
    return headers if call.body is None else [*headers, (b"Content-Type", call.content_type.encode("ascii"))]


async def _body_of(response: httpx.Response, limit: int) -> bytes:
    """The whole body of a success. Of a failure only what is readable: its status says enough."""
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        if response.is_success:
            raise AnswerUnreadable(f"HTTP {response.status_code} in {encoding[:20]}, which was not asked for")
        return b""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > limit:
            if response.is_success:
                raise AnswerTooLarge(f"HTTP {response.status_code} with a body of more than {limit} bytes")
            return b""
    return bytes(body)


def _read(answer: Answer, read: Callable[[Answer], T]) -> T:
    try:
        return read(answer)
    except ValueError as error:
        raise AnswerUnreadable(f"HTTP {answer.status} with an answer that is not the interface's") from error
