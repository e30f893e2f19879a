"""One conversation over HTTP: what is repeated, what is not, and which error it ends with."""

import asyncio
import gc
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import httpx
import pytest
import respx
from pydantic import SecretStr
from starlette.responses import JSONResponse

from worker_agents.clients.http import IDEMPOTENCY_KEY, Answer, Call, HttpClient, HttpLimits
from worker_agents.devkit.executor_kit import VirtualClock
from worker_agents.devkit.loopback import LoopbackServer
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable, LeaseLost, UnknownOutcome
from worker_agents.telemetry.events import Event, ExternalCall
from worker_agents.telemetry.tracing import TraceContext, work_on

URL = "http://service.test"
READ = Call("look", "GET", "/thing")
START = Call("start", "POST", "/thing", body={"a": 1})
KEYED_START = Call("start", "POST", "/thing", headers={IDEMPOTENCY_KEY: "t1:start"}, body={"a": 1})
OK = httpx.Response(200, json={"n": 1})


class Service:
    """A client on a clock of its own, with everything that it emits."""

    def __init__(self, limits: HttpLimits | None = None, *, token: str = "", url: str = URL) -> None:
        self.events: list[Event] = []
        self.clock = VirtualClock()
        self.client = HttpClient(
            url,
            integration="service",
            emit=self.events.append,
            token=SecretStr(token),
            limits=limits,
            clock=self.clock,
            rng=random.Random(1),
        )

    async def send(self, call: Call) -> dict[str, Any]:
        return await self.client.send(call, Answer.json_object)

    @property
    def outcomes(self) -> list[str]:
        return [event.outcome for event in self.events if isinstance(event, ExternalCall)]


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    yield service
    await service.client.aclose()


@respx.mock
async def test_one_try_is_enough_when_it_succeeds(service: Service) -> None:
    route = respx.get(f"{URL}/thing").mock(return_value=OK)

    assert await service.send(READ) == {"n": 1}

    assert route.call_count == 1
    assert service.outcomes == ["ok"]
    assert service.clock.monotonic() == 0


@respx.mock
@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_a_passing_fault_is_tried_again(service: Service, status: int) -> None:
    route = respx.get(f"{URL}/thing").mock(side_effect=[httpx.Response(status), OK])

    assert await service.send(READ) == {"n": 1}

    assert route.call_count == 2
    assert service.outcomes == ["unavailable", "ok"]


@respx.mock
@pytest.mark.parametrize(
    ("status", "tries"), [(500, 3), (501, 1), (503, 5)], ids=["500 twice more", "501 never", "503 up to the limit"]
)
async def test_a_lasting_fault_ends_as_unavailable(service: Service, status: int, tries: int) -> None:
    route = respx.get(f"{URL}/thing").mock(return_value=httpx.Response(status, json={"detail": "no\nstore"}))

    with pytest.raises(IntegrationUnavailable, match=f"service look: HTTP {status}: no store"):
        await service.send(READ)

    assert route.call_count == tries


@respx.mock
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
async def test_a_refusal_is_not_repeated(service: Service, status: int) -> None:
    route = respx.post(f"{URL}/thing").mock(return_value=httpx.Response(status))

    with pytest.raises(IntegrationRejected, match=f"HTTP {status}"):
        await service.send(KEYED_START)

    assert route.call_count == 1
    assert service.outcomes == ["rejected"]


@respx.mock
async def test_a_redirect_is_not_followed_but_told(service: Service) -> None:
    respx.get(f"{URL}/thing").mock(return_value=httpx.Response(302, headers={"Location": "https://login.test"}))

    with pytest.raises(IntegrationRejected, match="check the address"):
        await service.send(READ)


@respx.mock
async def test_problems_are_told_without_what_we_sent(service: Service) -> None:
    problem = {"loc": ["body", "parameters"], "msg": "must be text", "input": "s3cret"}
    respx.post(f"{URL}/thing").mock(return_value=httpx.Response(422, json={"detail": [problem, "?"]}))

    with pytest.raises(IntegrationRejected) as raised:
        await service.send(START)

    assert "body.parameters: must be text" in str(raised.value)
    assert "s3cret" not in str(raised.value)


@respx.mock
@pytest.mark.parametrize(
    ("loc", "words"), [(5, "5: no"), ("body", "body: no"), (None, ": no"), ([["a"], 0], "['a'].0: no"), ({}, ": no")]
)
async def test_a_problem_may_have_its_place_in_any_form(service: Service, loc: object, words: str) -> None:
    respx.get(f"{URL}/thing").mock(return_value=httpx.Response(422, json={"detail": [{"loc": loc, "msg": "no"}]}))

    with pytest.raises(IntegrationRejected, match=rf"HTTP 422: {re.escape(words)}$"):
        await service.send(READ)


@respx.mock
@pytest.mark.parametrize(
    "lost", [httpx.ReadTimeout("slow"), httpx.ReadError("reset"), httpx.RemoteProtocolError("gone")]
)
async def test_a_lost_answer_is_asked_for_again_only_with_an_idempotency_key(
    service: Service, lost: httpx.TransportError
) -> None:
    route = respx.post(f"{URL}/thing").mock(side_effect=[lost, OK, lost])

    assert await service.send(KEYED_START) == {"n": 1}
    assert [call.request.headers[IDEMPOTENCY_KEY] for call in route.calls] == ["t1:start", "t1:start"]

    with pytest.raises(UnknownOutcome, match="whether it took effect is not known"):
        await service.send(START)
    assert route.call_count == 3


@respx.mock
@pytest.mark.parametrize(
    "answer",
    [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), httpx.Response(429)],
    ids=["refused", "not connected", "not taken up"],
)
async def test_a_start_that_certainly_did_nothing_is_unavailable_not_unknown(
    service: Service, answer: httpx.Response | Exception
) -> None:
    route = respx.post(f"{URL}/thing").mock(side_effect=[answer])

    with pytest.raises(IntegrationUnavailable):
        await service.send(START)

    assert route.call_count == 1


@respx.mock
async def test_a_post_that_starts_nothing_is_repeated(service: Service) -> None:
    respx.post(f"{URL}/thing").mock(side_effect=[httpx.ReadError("reset"), OK])

    assert await service.send(Call("query", "POST", "/thing", body={}, reads_only=True)) == {"n": 1}


async def test_tls_failures_are_not_repeated() -> None:
    async with listener() as port:
        service = Service(url=f"https://127.0.0.1:{port}")

        with pytest.raises(IntegrationUnavailable, match="TLS failure"):
            await service.send(READ)

        assert service.outcomes == ["unavailable"]
        await service.client.aclose()


async def test_a_server_that_is_not_there_is_tried_a_few_times() -> None:
    service = Service(url="http://127.0.0.1:1")

    with pytest.raises(IntegrationUnavailable, match=r"no connection: .* \(5 tries\)"):
        await service.send(READ)

    assert service.clock.monotonic() <= 0.25 + 0.5 + 1 + 2
    await service.client.aclose()


@respx.mock
@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"[]", b""])
async def test_nonsense_is_asked_again_and_then_unavailable(service: Service, body: bytes) -> None:
    route = respx.get(f"{URL}/thing").mock(return_value=httpx.Response(200, content=body))

    with pytest.raises(IntegrationUnavailable, match="not the interface's"):
        await service.send(READ)

    assert route.call_count == 3


@respx.mock
async def test_nonsense_after_a_start_without_a_key_leaves_the_outcome_unknown(service: Service) -> None:
    respx.post(f"{URL}/thing").mock(return_value=httpx.Response(200, content=b"<html>"))

    with pytest.raises(UnknownOutcome):
        await service.send(START)


@respx.mock
async def test_retry_after_within_the_budget_is_waited_for(service: Service) -> None:
    respx.get(f"{URL}/thing").mock(side_effect=[httpx.Response(503, headers={"Retry-After": "4"}), OK])

    await service.send(READ)

    assert 4 <= service.clock.monotonic() <= 4.25


@respx.mock
async def test_retry_after_beyond_the_budget_is_handed_on(service: Service) -> None:
    route = respx.get(f"{URL}/thing").mock(return_value=httpx.Response(429, headers={"Retry-After": "90"}))

    with pytest.raises(IntegrationUnavailable) as raised:
        await service.send(READ)

    assert raised.value.retry_after == 90
    assert route.call_count == 1
    assert service.clock.monotonic() == 0


@respx.mock
async def test_who_may_not_start_any_more_does_not_repeat(service: Service) -> None:
    def refuse() -> None:
        raise LeaseLost("stale")

    route = respx.post(f"{URL}/thing").mock(side_effect=httpx.ReadError("reset"))
    call = Call("start", "POST", "/thing", headers={IDEMPOTENCY_KEY: "k"}, before_repeat=refuse)

    with pytest.raises(LeaseLost):
        await service.send(call)

    assert route.call_count == 1


@respx.mock
async def test_accepted_statuses_are_the_callers_to_read(service: Service) -> None:
    route = respx.get(f"{URL}/thing").mock(return_value=httpx.Response(500, headers={"Retry-After": "3"}))

    answer = await service.client.send(Call("look", "GET", "/thing", accepted=frozenset({500})), lambda answer: answer)

    assert (answer.status, answer.is_success, answer.retry_after) == (500, False, 3)
    assert route.call_count == 1


@respx.mock
async def test_a_status_may_mean_not_yet_for_one_call(service: Service) -> None:
    respx.post(f"{URL}/thing").mock(side_effect=[httpx.Response(409), OK])
    call = Call("start", "POST", "/thing", headers={IDEMPOTENCY_KEY: "k"}, not_yet=frozenset({409}))

    assert await service.send(call) == {"n": 1}


@respx.mock
async def test_keys_need_not_be_ascii(service: Service) -> None:
    route = respx.get(f"{URL}/thing").mock(return_value=OK)

    await service.send(Call("look", "GET", "/thing", headers={IDEMPOTENCY_KEY: "tíquete-ß:start"}))

    raw = dict(route.calls.last.request.headers.raw)
    assert raw[IDEMPOTENCY_KEY.encode()] == "tíquete-ß:start".encode()


async def test_a_request_that_cannot_be_written_is_refused_not_repeated() -> None:
    async with listener() as port:
        service = Service(url=f"http://127.0.0.1:{port}")

        with pytest.raises(IntegrationRejected, match="the request cannot be sent"):
            await service.send(Call("look", "GET", "/thing", headers={IDEMPOTENCY_KEY: " blank:start"}))

        assert service.outcomes == ["rejected"]
        await service.client.aclose()


@respx.mock
async def test_the_words_of_kubernetes_are_told_too(service: Service) -> None:
    status = {"kind": "Status", "message": 'pods "worker-0"\nis forbidden', "reason": "Forbidden"}
    respx.get(f"{URL}/thing").mock(return_value=httpx.Response(403, json=status))

    with pytest.raises(IntegrationRejected, match=r'HTTP 403: pods "worker-0" is forbidden$') as raised:
        await service.send(READ)

    assert raised.value.status == 403


@respx.mock
@pytest.mark.parametrize("detail", [None, 5, {"why": "secret"}, ""])
async def test_details_that_are_no_text_are_left_out(service: Service, detail: object) -> None:
    respx.get(f"{URL}/thing").mock(return_value=httpx.Response(400, json={"detail": detail}))

    with pytest.raises(IntegrationRejected, match=r"HTTP 400$"):
        await service.send(READ)


@respx.mock
async def test_the_token_is_sent_and_never_told() -> None:
    service = Service(token="t0ken")
    route = respx.get(f"{URL}/thing").mock(return_value=httpx.Response(401))

    with pytest.raises(IntegrationRejected) as raised:
        await service.send(READ)

    assert route.calls.last.request.headers["Authorization"] == "Bearer t0ken"
    assert "t0ken" not in str(raised.value)
    await service.client.aclose()


@respx.mock
async def test_a_body_over_the_cap_is_not_read() -> None:
    service = Service(HttpLimits(body=10))
    route = respx.get(f"{URL}/thing").mock(return_value=httpx.Response(200, content=b"x" * 11))

    with pytest.raises(IntegrationUnavailable, match="more than 10 bytes"):
        await service.send(READ)

    assert route.call_count == 1
    await service.client.aclose()


@respx.mock
async def test_a_failure_with_a_huge_or_compressed_page_is_still_that_failure() -> None:
    service = Service(HttpLimits(body=10))
    huge = httpx.Response(400, content=b"x" * 11)
    compressed = httpx.Response(403, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"\x1f\x8b"))
    respx.get(f"{URL}/thing").mock(side_effect=[huge, compressed])

    with pytest.raises(IntegrationRejected, match="HTTP 400"):
        await service.send(READ)
    with pytest.raises(IntegrationRejected, match="HTTP 403"):
        await service.send(READ)
    await service.client.aclose()


@respx.mock
async def test_a_compressed_answer_was_not_asked_for(service: Service) -> None:
    bomb = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"\x1f\x8b"))
    route = respx.get(f"{URL}/thing").mock(return_value=bomb)

    with pytest.raises(IntegrationUnavailable, match="in gzip"):
        await service.send(READ)

    assert route.calls.last.request.headers["Accept-Encoding"] == "identity"


@respx.mock
async def test_a_try_is_bounded_as_a_whole() -> None:
    service = Service(HttpLimits(whole=0.01))
    respx.get(f"{URL}/thing").mock(side_effect=_never)

    with pytest.raises(IntegrationUnavailable, match="no answer in time"):
        await service.send(READ)

    assert set(service.outcomes) == {"timeout"}
    await service.client.aclose()


@respx.mock
async def test_calls_queue_for_a_place_and_give_up_in_time() -> None:
    service = Service(HttpLimits(connections=1, queue=0.01))
    arrived = asyncio.Event()

    async def occupied(request: httpx.Request) -> httpx.Response:
        arrived.set()
        return await _never(request)

    respx.get(f"{URL}/thing").mock(side_effect=occupied)
    first = asyncio.create_task(service.send(READ))
    await arrived.wait()

    with pytest.raises(IntegrationUnavailable, match="no connection in time"):
        await service.send(READ)

    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    respx.get(f"{URL}/thing").mock(return_value=OK)
    assert await service.send(READ) == {"n": 1}
    await service.client.aclose()


@asynccontextmanager
async def listener() -> AsyncIterator[int]:
    """The port of a server that answers every connection with plain text; all of them are over when it is left."""
    conversations: list[asyncio.Task[None]] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.append(asyncio.create_task(converse(reader, writer)))
        accepted.set()

    accepted = asyncio.Event()
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    await accepted.wait()
    await asyncio.gather(*conversations)
    server.close()
    await server.wait_closed()


async def _never(_: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError("waits for ever")


# --- memory ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 404])
async def test_a_call_leaves_nothing_to_the_garbage_collector(status: int) -> None:
    """Thousands of polls would: its pause then holds up everything."""
    look = replace(READ, accepted=frozenset({404}))
    async with LoopbackServer(JSONResponse({"n": 1}, status)) as server:
        service = Service(url=server.url)
        await service.send(look)
        gc.collect()
        gc.disable()
        try:
            before = count_of(httpx.Response)
            for _ in range(5):
                await service.send(look)
            assert count_of(httpx.Response) == before
        finally:
            gc.enable()
            await service.client.aclose()


def count_of(kind: type) -> int:
    return sum(type(each) is kind for each in gc.get_objects())


# --- traces ------------------------------------------------------------------------------------------------------


class Working:
    """What the test's task works on."""

    ticket_id = "t-1"

    def __init__(self, *, recorded: bool) -> None:
        self.span = replace(TraceContext.new(), recorded=recorded)


def traceparents(route: respx.Route) -> list[str]:
    return [call.request.headers["traceparent"] for call in route.calls]


@respx.mock
async def test_every_try_is_a_span_of_its_own_and_its_id_is_sent(service: Service) -> None:
    work = Working(recorded=True)
    work_on(work)
    route = respx.get(f"{URL}/thing").mock(side_effect=[httpx.Response(503), OK])

    await service.send(Call("look", "GET", "/thing", headers=work.span.headers()))

    spans = [event.trace for event in service.events if isinstance(event, ExternalCall)]
    assert [span.traceparent for span in spans if span] == traceparents(route)
    assert len(set(traceparents(route))) == 2
    assert [span.parent_span_id for span in spans if span] == [work.span.span_id] * 2


@respx.mock
async def test_a_poll_is_part_of_the_attempt_s_span(service: Service) -> None:
    work = Working(recorded=True)
    work_on(work)
    route = respx.get(f"{URL}/thing").mock(return_value=OK)

    await service.send(Call("look", "GET", "/thing", headers=work.span.headers(), polls=True))

    assert traceparents(route) == [work.span.traceparent]
    (event,) = service.events
    assert isinstance(event, ExternalCall)
    assert (event.polls, event.trace) == (True, work.span)


@respx.mock
async def test_a_call_of_a_ticket_that_is_not_recorded_is_sent_as_it_is(service: Service) -> None:
    work = Working(recorded=False)
    work_on(work)
    route = respx.get(f"{URL}/thing").mock(return_value=OK)

    await service.send(Call("look", "GET", "/thing", headers=work.span.headers()))

    assert traceparents(route) == [work.span.traceparent]
    (event,) = service.events
    assert isinstance(event, ExternalCall)
    assert event.trace is None
