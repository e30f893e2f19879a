"""The HTTP side, asked over real connections."""

import asyncio
import errno
import re
import signal
import socket
import time
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import httpx
import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.unit.web.fakes import client_of
from worker_agents.model.errors import StartupError
from worker_agents.telemetry.events import KafkaTrouble
from worker_agents.telemetry.metrics import CONTENT_TYPE, Metrics, MetricsSubscriber
from worker_agents.web import server as server_module
from worker_agents.web.app import create_app
from worker_agents.web.server import HttpServer, _explain
from worker_agents.web.status import Liveness, Readiness


class Status:
    """A service whose state the test sets."""

    def __init__(self) -> None:
        self.live = Liveness(ok=True, details={"seconds_since_last_poll": 0.2})
        self.ready = Readiness(ok=True)

    def liveness(self) -> Liveness:
        return self.live

    def readiness(self) -> Readiness:
        return self.ready


@pytest.fixture
def status() -> Status:
    return Status()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def client(status: Status, metrics: Metrics) -> AsyncIterator[httpx.AsyncClient]:
    server = HttpServer(create_app(status, metrics), "127.0.0.1", 0)
    await server.start()
    async with client_of(server) as opened:
        yield opened
    await server.stop()


async def test_health_says_that_the_process_makes_progress(client: httpx.AsyncClient) -> None:
    response = await client.get("/health")
    assert response.status_code == 200
    assert response.json() == {"status": "alive", "reasons": [], "details": {"seconds_since_last_poll": 0.2}}
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
async def test_what_is_true_now_is_kept_by_nobody_and_is_what_it_says(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


async def test_health_is_503_when_nothing_moves(client: httpx.AsyncClient, status: Status) -> None:
    status.live = Liveness(ok=False, reasons=("Kafka was last polled 95 s ago, the limit is 60 s",))
    response = await client.get("/health")
    assert response.status_code == 503
    assert response.json()["status"] == "stuck"
    assert response.json()["reasons"] == ["Kafka was last polled 95 s ago, the limit is 60 s"]


async def test_ready_follows_the_service(client: httpx.AsyncClient, status: Status) -> None:
    assert (await client.get("/ready")).status_code == 200
    status.ready = Readiness(
        ok=False, reasons=("partitions 3 and 7 are being restored",), details={"restoring": (3, 7)}
    )
    response = await client.get("/ready")
    assert response.status_code == 503
    assert response.json() == {
        "status": "not_ready",
        "reasons": ["partitions 3 and 7 are being restored"],
        "details": {"restoring": [3, 7]},
    }
    status.ready = Readiness(ok=True)
    assert (await client.get("/ready")).json()["status"] == "ready"


async def test_metrics_are_in_the_text_format(client: httpx.AsyncClient, metrics: Metrics) -> None:
    MetricsSubscriber(metrics)(KafkaTrouble("poll", "timed out"))
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert "worker_agents_kafka_errors_total 1.0" in response.text


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1", "openmetrics"),
        ("text/plain, Application/OpenMetrics-Text", "openmetrics"),
        ("text/plain;version=0.0.4", "text"),
        ("application/openmetrics-text;q=0, text/plain", "text"),
        ("application/openmetrics-text-or-so", "text"),
        ("*/*", "text"),
        ("", "text"),
    ],
)
async def test_metrics_are_in_the_format_that_is_asked_for(client: httpx.AsyncClient, accept: str, kind: str) -> None:
    response = await client.get("/metrics", headers={"Accept": accept})

    types = {"openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8", "text": CONTENT_TYPE}
    assert response.headers["content-type"] == types[kind]
    assert response.headers["vary"] == "Accept"
    assert response.text.endswith("# EOF\n") is (kind == "openmetrics")


async def test_probes_may_use_head(client: httpx.AsyncClient, status: Status) -> None:
    status.ready = Readiness(ok=False, reasons=("draining",))
    response = await client.head("/ready")
    assert (response.status_code, response.content) == (503, b"")


@pytest.mark.parametrize(("method", "path", "code"), [("GET", "/nowhere", 404), ("POST", "/health", 405)])
async def test_other_requests_are_refused(client: httpx.AsyncClient, method: str, path: str, code: int) -> None:
    response = await client.request(method, path)
    assert response.status_code == code
    assert "server" not in response.headers


async def test_a_port_in_use_is_one_clear_sentence(status: Status, metrics: Metrics) -> None:
    first = HttpServer(create_app(status, metrics), "127.0.0.1", 0)
    await first.start()
    second = HttpServer(create_app(status, metrics), "127.0.0.1", first.port)
    with pytest.raises(
        StartupError, match=rf"^HTTP_PORT {first.port} is already in use on 127\.0\.0\.1; set HTTP_PORT"
    ):
        await second.start()
    await second.stop()
    await first.stop()


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"])
async def test_a_foreign_address_is_one_clear_sentence(host: str, status: Status, metrics: Metrics) -> None:
    server = HttpServer(create_app(status, metrics), host, 0)
    with pytest.raises(StartupError, match=rf"^HTTP_HOST '{re.escape(host)}' is no address of this machine"):
        await server.start()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "HTTP_HOST 'web' is no address"),
        (OSError(errno.EACCES, "Permission denied"), "HTTP_PORT 80 may not be opened by this user"),
        (OSError(errno.EMFILE, "Too many open files"), "HTTP_PORT 80 cannot be opened on web: Too many open files"),
    ],
)
def test_what_else_can_go_wrong_is_explained(error: OSError, sentence: str) -> None:
    assert _explain(error, "web", 80).startswith(sentence)


async def test_a_stopped_server_gives_its_port_back(status: Status, metrics: Metrics) -> None:
    server = HttpServer(create_app(status, metrics), "127.0.0.1", 0)
    await server.start()
    port = server.port
    await server.stop()
    again = HttpServer(create_app(status, metrics), "127.0.0.1", port)
    await again.start()
    assert again.port == port
    await again.stop()


async def test_stopping_twice_or_before_the_start_is_harmless(status: Status, metrics: Metrics) -> None:
    server = HttpServer(create_app(status, metrics), "127.0.0.1", 0)
    await server.stop()
    assert server.port == 0
    await server.start()
    await server.stop()
    await server.stop()


async def test_stopping_closes_idle_connections(status: Status, metrics: Metrics) -> None:
    server = HttpServer(create_app(status, metrics), "127.0.0.1", 0)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await server.stop()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


class Slow:
    """An application whose one answer comes when ``go`` is set."""

    def __init__(self) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.set()
        await self.go.wait()
        await Response("done")(scope, receive, send)


async def test_stopping_waits_for_what_is_being_answered() -> None:
    app = Slow()
    server = HttpServer(app, "127.0.0.1", 0)
    await server.start()
    async with client_of(server) as client:
        answer = asyncio.create_task(client.get("/"))
        await app.asked.wait()
        stopping = asyncio.create_task(server.stop())
        assert (await asyncio.wait([stopping], timeout=0.1))[1] == {stopping}
        app.go.set()
        assert (await answer).text == "done"
        async with asyncio.timeout(1.5):
            await stopping


async def test_an_answer_that_does_not_come_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "_SHUTDOWN_SECONDS", 0.05)
    app = Slow()
    server = HttpServer(app, "127.0.0.1", 0)
    await server.start()
    async with client_of(server) as client:
        answer = asyncio.create_task(client.get("/"))
        await app.asked.wait()
        async with asyncio.timeout(5):
            await server.stop()
            assert (await answer).status_code == 500
    assert "answers given up" in caplog.text


async def test_answers_bear_the_time(client: httpx.AsyncClient) -> None:
    first = (await client.get("/health")).headers["date"]
    async with asyncio.timeout(10):
        while (await client.get("/health")).headers["date"] == first:
            pass
    assert abs(parsedate_to_datetime(first).timestamp() - time.time()) < 10


async def test_answers_are_not_held_back_for_more_to_send(status: Status, metrics: Metrics) -> None:
    server = HttpServer(create_app(status, metrics), "127.0.0.1", 0)
    await server.start()
    async with client_of(server) as client:
        await client.get("/health")
        assert server._server is not None
        (connection,) = server._server.server_state.connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await server.stop()


async def test_signals_stay_with_the_application(status: Status, metrics: Metrics) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    server = HttpServer(create_app(status, metrics), "127.0.0.1", 0)
    await server.start()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    await server.stop()


async def test_the_ipv6_wildcard_serves_both_families(status: Status, metrics: Metrics) -> None:
    server = HttpServer(create_app(status, metrics), "::", 0)
    await server.start()
    async with httpx.AsyncClient(trust_env=False) as client:
        for host in ("[::1]", "127.0.0.1"):
            assert (await client.get(f"http://{host}:{server.port}/health")).status_code == 200
    await server.stop()
