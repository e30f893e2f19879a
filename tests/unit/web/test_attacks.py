"""Clients that mean harm, over raw sockets: slow, silent, endless, ambiguous."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.unit.web.fakes import BEARER, TOKEN, Worker, serving
from worker_agents.web.protocol import ServerLimits

IMPATIENT = ServerLimits(connections=20, request=0.3, stalled=0.3)


class Socket:
    """A client that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def everything(self) -> bytes:
        """What the server says until it closes the connection; fails where it never does."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@asynccontextmanager
async def connected(worker: Worker) -> AsyncIterator[Socket]:
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.server.port)
    try:
        yield Socket(reader, writer)
    finally:
        writer.transport.abort()


async def said(worker: Worker, *parts: bytes) -> bytes:
    async with connected(worker) as client:
        for part in parts:
            client.send(part)
        return await client.everything()


def statuses(answers: bytes) -> list[int]:
    return [int(line.split()[1]) for line in answers.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


def request(target: str = "/api/v1/drain", *headers: str, method: str = "POST", body: bytes = b"") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: w", f"Authorization: Bearer {TOKEN}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


CLOSE = ("Connection: close", "Content-Type: application/json")


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with serving() as started:
        yield started


@pytest.fixture
async def impatient() -> AsyncIterator[Worker]:
    async with serving(limits=IMPATIENT) as started:
        yield started


# --- slow clients ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"G",
        b"GET /health HTTP/1.1\r\nHost: w\r\nX-Slow: ",
        request("/api/v1/drain", "Content-Type: application/json", "Content-Length: 100", body=b"{"),
        request("/api/v1/drain", "Content-Type: application/json", "Transfer-Encoding: chunked", body=b"1\r\n{\r\n"),
    ],
)
async def test_a_request_that_never_comes_to_its_end_is_given_up(impatient: Worker, beginning: bytes) -> None:
    assert await said(impatient, beginning) == b""
    assert not impatient.drains


async def test_trickling_does_not_help(impatient: Worker) -> None:
    """Every byte would start a time-out between bytes anew: the whole request has one."""
    async with connected(impatient) as client:
        client.send(b"GET /health HTTP/1.1\r\nHost: w\r\n")
        closed = asyncio.create_task(client.everything())
        while not closed.done():
            client.send(b"X: y\r\n")
            await asyncio.wait([closed], timeout=0.05)
        assert closed.result() == b""


async def test_a_connection_that_was_used_once_is_watched_again(impatient: Worker) -> None:
    answer = await said(impatient, b"GET /health HTTP/1.1\r\nHost: w\r\n\r\n", b"GET /hea")
    assert statuses(answer) == [200]


async def test_a_body_that_nobody_reads_does_not_keep_the_connection(impatient: Worker) -> None:
    answer = await said(impatient, request("/health", "Content-Length: 1000000", method="GET", body=b"x"))
    assert statuses(answer) == [200]


@pytest.mark.parametrize("beginning", [b"", b"GET /health HTTP/1.1\r\nHost: w\r\n", b"POST /api/v1/drain HTTP/1.1\r\n"])
async def test_many_half_open_requests_do_not_hold_up_the_probes(beginning: bytes) -> None:
    async with serving(limits=ServerLimits(connections=20, request=600.0)) as worker, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(worker)) for _ in range(60)]
        for client in clients:
            client.send(beginning)
        async with asyncio.timeout(5):
            for _ in range(5):
                assert (await worker.http.get("/health")).status_code == 200
        closed = await asyncio.gather(*(client.everything() for client in clients[:40]))
        assert closed == [b""] * 40, "the oldest go first"


async def test_a_client_that_reads_nothing_loses_its_connection(impatient: Worker) -> None:
    async with connected(impatient) as client:
        # Answers to requests that came in one go are written until no buffer takes more.
        for _ in range(3_000):
            client.send(b"GET /metrics HTTP/1.1\r\nHost: w\r\n\r\n")
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionError):
                await send_for_ever(client)
        assert (await impatient.http.get("/health")).status_code == 200


async def send_for_ever(client: Socket) -> None:
    while True:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: w\r\n\r\n")
        await client.writer.drain()


# --- endless ones ------------------------------------------------------------------------------------------------


async def test_a_huge_body_is_refused_by_what_it_declares(worker: Worker) -> None:
    for length in ("16385", "9" * 9, "9" * 18):
        answer = await said(worker, request("/api/v1/drain", *CLOSE, f"Content-Length: {length}"))
        assert statuses(answer) == [413]
    assert not worker.drains


async def test_a_huge_body_in_chunks_is_refused_when_it_is_too_long(worker: Worker) -> None:
    chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    head = request("/api/v1/drain", "Content-Type: application/json", "Transfer-Encoding: chunked")
    answer = await said(worker, head, *[chunk] * 5)
    assert statuses(answer) == [413]
    assert not worker.drains


async def test_without_the_token_nothing_of_a_body_is_read(worker: Worker) -> None:
    head = b"POST /api/v1/drain HTTP/1.1\r\nHost: w\r\nContent-Length: 999999999\r\nConnection: close\r\n\r\n"
    assert statuses(await said(worker, head)) == [401]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: w\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: w\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: w\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    ],
)
async def test_a_head_that_is_too_large_is_refused(worker: Worker, head: bytes) -> None:
    assert statuses(await said(worker, head)) in ([400], [431], []), "the rest of it may meet a closed connection"
    assert (await worker.http.get("/health")).status_code == 200


# --- ambiguous ones ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: 2", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 2"],
        ["Content-Length: 2", "Content-Length: 40"],
        ["Content-Length: 2, 40"],
        ["Content-Length: +2"],
        ["Content-Length: -1"],
        ["Content-Length: 0x2"],
        ["Transfer-Encoding: chunked, chunked"],
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding: gzip"],
        ["Transfer-Encoding : chunked"],
        ["Content-Type : application/json"],
    ],
)
async def test_a_request_whose_end_is_ambiguous_is_refused_and_nothing_after_it_is_read(
    worker: Worker, headers: Sequence[str]
) -> None:
    hidden = request("/api/v1/drain", *CLOSE, "Content-Length: 0")
    sent = request("/api/v1/drain", "Content-Type: application/json", *headers, body=b"0\r\n\r\n" + hidden)
    answer = await said(worker, sent)
    assert statuses(answer) in ([400], [501])
    assert not worker.drains


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"-1\r\n\r\n", b"2\r\n{}xx", b"ffffffffffffffffffffff\r\n"])
async def test_chunks_that_are_none_are_refused(impatient: Worker, chunk: bytes) -> None:
    head = request("/api/v1/drain", "Content-Type: application/json", "Transfer-Encoding: chunked")
    assert all(status >= 400 for status in statuses(await said(impatient, head, chunk)))
    assert not impatient.drains


# --- paths, methods and headers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/tickets/../drain",
        "/api/v1/tickets/%2e%2e/drain",
        "/api/v1//drain",
        "//api/v1/drain",
        "/api/v1/drain/",
        "/api/v1/drain%00",
        "/api/v1/drain;x",
        "/API/V1/DRAIN",
        "/health/../api/v1/drain",
        "/api/v1/task-types/..%2fdrain",
    ],
)
async def test_a_path_is_what_it_says_and_nothing_else(worker: Worker, target: str) -> None:
    answer = await said(worker, request(target, *CLOSE, "Content-Length: 0"))
    assert statuses(answer) in ([404], [405]), "a ticket of such a name may be looked at, not acted upon"
    assert b"location" not in answer.lower(), "nobody is sent to the address in the Host header"
    assert not worker.drains


@pytest.mark.parametrize(
    ("ticket_id", "status"),
    [
        ("%00", 422),
        ("a%0dX-Injected:%201", 422),
        ("a%1b%5b2J", 422),
        ("%e2%80%ae", 422),
        ("x" * 201, 422),
        ("x" * 10_000, 422),
        ("%ff%fe", 404),
        ("..", 404),
        ("%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404),
        ("%25%30%30", 404),
        ("", 422),
    ],
)
async def test_ticket_ids_that_can_be_none_are_refused(worker: Worker, ticket_id: str, status: int) -> None:
    for action in ("cancel", "retry"):
        target = f"/api/v1/tickets/{ticket_id}/{action}"
        answer = await said(worker, request(target, *CLOSE, "Content-Length: 2", body=b"{}"))
        assert statuses(answer) == [status]
        assert b"injected" not in answer.partition(b"\r\n\r\n")[0].lower()
    for event in worker.audited:
        assert event.target.isprintable()
        assert len(event.target) <= 800
    assert len(worker.audited) == 2


async def test_a_line_break_in_a_path_leads_nowhere(worker: Worker) -> None:
    answer = await said(worker, request("/api/v1/tickets/a%0d%0aX-Injected:%201/cancel", *CLOSE, "Content-Length: 0"))
    assert statuses(answer) == [404]
    assert b"injected" not in answer.lower()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post", "PROPFIND"])
async def test_only_a_post_acts(worker: Worker, method: str) -> None:
    overrides = ["X-HTTP-Method-Override: POST", "X-Method-Override: POST", "X-HTTP-Method: POST"]
    for target in ("/api/v1/drain", "/api/v1/task-types/BUILD/pause", "/api/v1/drain?_method=POST"):
        sent = request(target, *CLOSE, "Content-Length: 0", *overrides, method=method)
        assert statuses(await said(worker, sent)) == [405]
    assert nothing_happened(worker)


def nothing_happened(worker: Worker) -> bool:
    return not worker.drains and not list(worker.world.dispatcher.pauses)


async def test_line_ends_of_other_kinds_hide_no_request(worker: Worker) -> None:
    hidden = request("/api/v1/drain", *CLOSE, "Content-Length: 0")
    sent = request(
        "/api/v1/drain", "Content-Type: application/json", "X: a\nContent-Length: 2", body=b"0\r\n\r\n" + hidden
    )
    assert all(status >= 400 for status in statuses(await said(worker, sent)))
    assert nothing_happened(worker)


async def test_a_note_cannot_add_a_header(worker: Worker) -> None:
    for note in ("x\r\nX-Injected: 1", "x\nX-Injected: 1", "x\u2028y"):
        answer = await worker.http.post("/api/v1/drain", json={"reason": note}, headers=BEARER)
        assert answer.status_code == 422
        assert "x-injected" not in answer.headers


async def test_what_is_no_http_is_refused(worker: Worker) -> None:
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"GET /health\r\n\r\n",
        b"\x00" * 100,
    ):
        assert all(status == 400 for status in statuses(await said_at_once(worker, nonsense)))
    assert (await worker.http.get("/health")).status_code == 200


async def said_at_once(worker: Worker, data: bytes) -> bytes:
    async with connected(worker) as client:
        client.send(data)
        client.writer.write_eof()
        return await client.everything()


async def test_no_upgrade_is_offered(worker: Worker) -> None:
    headers = ("Connection: Upgrade, close", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
    assert statuses(await said(worker, request("/health", *headers, "Connection: close", method="GET"))) == [200]


@pytest.mark.parametrize("host", ["evil.example", "", "a b", "[::1", "w:99999999"])
async def test_the_host_header_decides_nothing(worker: Worker, host: str) -> None:
    sent = f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    answer = await said(worker, sent)
    assert statuses(answer) in ([200], [400])
    assert not host or host.encode() not in answer
