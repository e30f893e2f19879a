"""A server that answers every request with the input: status and headers in lines, a blank line, the body."""

import asyncio
import math
import random
import re
from collections.abc import Awaitable, Callable
from functools import cache
from typing import TypeVar

import httpx

from tests.fuzz.harness import assert_readable, split_head
from worker_agents.clients.http import HttpClient
from worker_agents.clients.http_retry import HttpRetryPolicy, RetryBudget
from worker_agents.devkit.executor_kit import VirtualClock
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable, TaskError, UnknownOutcome

T = TypeVar("T")
Ask = Callable[[HttpClient], Awaitable[T]]

HEAD = (
    b"status: 200\n\n",
    b"status: 404\n\n",
    b"status: 500\n\n",
    b"retry-after: 1\n",
    b"\n\n",
    b'{"detail":[{"loc":',
    b'"msg":',
)
_EXPECTED = (IntegrationRejected, IntegrationUnavailable, UnknownOutcome)
# What no HTTP library lets through.
_NO_HEADER = re.compile(rb"[^\x20-\x7e\x80-\xff]")
_ADDRESS = "http://service"


def answers_to(content: bytes, *asked: Ask[object]) -> list[object]:
    """What the client makes of the answer to each question; ``None`` for one that ended in a typed error."""
    http = _client()
    _SERVER.respond = _response(content)
    return asyncio.run(_asked(http, asked))


class _Server:
    respond: Callable[[], httpx.Response]


_SERVER = _Server()


@cache
def _client() -> HttpClient:
    """One for all inputs: making one takes far longer than a conversation."""
    http = HttpClient(
        _ADDRESS,
        integration="service",
        emit=lambda _: None,
        clock=VirtualClock(),
        retry=HttpRetryPolicy(tries=2),
        retry_budget=RetryBudget(capacity=math.inf),
        rng=random.Random(7),
    )
    asyncio.run(http.aclose())
    http._client = httpx.AsyncClient(base_url=_ADDRESS, transport=httpx.MockTransport(lambda _: _SERVER.respond()))
    return http


async def _asked(http: HttpClient, asked: tuple[Ask[object], ...]) -> list[object]:
    return [await _answer(http, ask) for ask in asked]


async def _answer(http: HttpClient, ask: Ask[object]) -> object:
    try:
        return await ask(http)
    except TaskError as error:
        assert isinstance(error, _EXPECTED), error
        assert_readable(str(error))
        assert error.retry_after is None or 0 <= error.retry_after <= 3600
        return None


def _response(content: bytes) -> Callable[[], httpx.Response]:
    lines, body = split_head(content)
    head = {name.lower(): value for name, value in lines}
    status = head.get("status", b"200")
    code = int(status) if re.fullmatch(rb"[2-5]\d\d", status) else 200
    headers = {"Retry-After": _NO_HEADER.sub(b"", head["retry-after"])} if "retry-after" in head else {}
    return lambda: httpx.Response(code, headers=httpx.Headers(headers), stream=httpx.ByteStream(body))
