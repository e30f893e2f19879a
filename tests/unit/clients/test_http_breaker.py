"""What a client tells its circuit breaker, and what an open one means for its calls."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import respx

from worker_agents.clients.breaker import BreakerPolicy, BreakerState, CircuitBreaker
from worker_agents.clients.http import IDEMPOTENCY_KEY, Answer, Call, HttpClient, HttpLimits
from worker_agents.clients.http_retry import HttpRetryPolicy, RetryBudget
from worker_agents.devkit.executor_kit import VirtualClock
from worker_agents.model.errors import BreakerOpen, IntegrationRejected, IntegrationUnavailable, UnknownOutcome
from worker_agents.telemetry.events import Event, ExternalCall

URL = "http://service.test"
READ = Call("look", "GET", "/thing")
POLL = Call("poll", "GET", "/thing", accepted=frozenset({404, 500, 503}))
START = Call("start", "POST", "/thing", body={"a": 1})
KEYED_START = Call("start", "POST", "/thing", headers={IDEMPOTENCY_KEY: "t1:start"}, body={"a": 1})
OK = httpx.Response(200, json={"n": 1})
# One failure opens it: what counts is then seen at once.
TOUCHY = BreakerPolicy(failures=1, spread=0.0)
ONE_TRY = HttpRetryPolicy(tries=1)


class Service:
    """A client with a breaker, on a clock of its own, with everything that it emits."""

    def __init__(self, policy: BreakerPolicy = TOUCHY, *, limits: HttpLimits | None = None, **http: Any) -> None:
        self.events: list[Event] = []
        self.clock = VirtualClock()
        self.breaker = CircuitBreaker(
            "service", clock=self.clock, emit=self.events.append, rng=random.Random(1), policy=policy
        )
        self.client = HttpClient(
            URL,
            integration="service",
            emit=self.events.append,
            limits=limits,
            clock=self.clock,
            rng=random.Random(1),
            breaker=self.breaker,
            **http,
        )

    async def send(self, call: Call = READ, within: float | None = None) -> Answer:
        return await self.client.send(call, lambda answer: answer, within=within)

    async def open(self) -> None:
        with respx.mock:
            respx.get(f"{URL}/thing").mock(side_effect=httpx.ConnectError("refused"))
            with pytest.raises(BreakerOpen):
                await self.send()
        assert self.breaker.state is BreakerState.OPEN

    def wait(self) -> None:
        self.clock.advance(self.breaker.wait_seconds())

    @property
    def calls(self) -> int:
        return sum(isinstance(event, ExternalCall) for event in self.events)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service(retry=ONE_TRY)
    yield service
    await service.client.aclose()


@respx.mock
@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.ReadTimeout("slow"),
        httpx.ReadError("reset"),
        *(httpx.Response(status) for status in (500, 501, 502, 503, 504)),
    ],
    ids=lambda answer: str(getattr(answer, "status_code", type(answer).__name__)),
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_counts_as_a_failure(service: Service, answer: httpx.Response | Exception, method: str) -> None:
    respx.route(method=method, url=f"{URL}/thing").mock(side_effect=[answer])

    with pytest.raises((IntegrationUnavailable, UnknownOutcome)):
        await service.send(Call("x", method, "/thing"))

    assert service.breaker.state is BreakerState.OPEN


@respx.mock
@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 408, 409, 422, 425, 429])
async def test_any_other_answer_shows_that_the_service_lives(service: Service, status: int) -> None:
    await service.open()
    service.wait()
    respx.get(f"{URL}/thing").mock(return_value=httpx.Response(status))

    with pytest.raises((IntegrationRejected, IntegrationUnavailable)):
        await service.send()

    assert service.breaker.state is BreakerState.CLOSED


@respx.mock
@pytest.mark.parametrize("status", [200, 404, 500])
async def test_a_status_that_the_poller_expects_shows_that_the_service_lives(service: Service, status: int) -> None:
    """Code Forge answers 500 for as long as a generation has no artifacts."""
    await service.open()
    service.wait()
    respx.get(f"{URL}/thing").mock(return_value=httpx.Response(status))

    assert (await service.send(POLL)).status == status

    assert service.breaker.state is BreakerState.CLOSED


@respx.mock
async def test_a_gateways_503_counts_even_where_the_poller_reads_it(service: Service) -> None:
    respx.get(f"{URL}/thing").mock(return_value=httpx.Response(503))

    assert (await service.send(POLL)).status == 503

    assert service.breaker.state is BreakerState.OPEN


@respx.mock
async def test_nonsense_and_requests_that_cannot_be_sent_say_nothing_of_the_service(service: Service) -> None:
    await service.open()
    service.wait()
    respx.get(f"{URL}/thing").mock(return_value=httpx.Response(200, content=b"<html>"))

    with pytest.raises(IntegrationUnavailable):
        await service.client.send(READ, Answer.json_object)
    respx.get(f"{URL}/thing").mock(side_effect=httpx.LocalProtocolError("blank"))
    with pytest.raises(IntegrationRejected):
        await service.send()

    assert service.breaker.state is BreakerState.HALF_OPEN
    assert service.breaker.wait_seconds() == 0


@respx.mock
async def test_an_open_breaker_sends_nothing_and_counts_no_call(service: Service) -> None:
    await service.open()
    route = respx.get(f"{URL}/thing").mock(return_value=OK)
    made = service.calls

    for _ in range(3):
        with pytest.raises(BreakerOpen, match="no connection: refused"):
            await service.send()

    assert route.call_count == 0
    assert service.calls == made


@respx.mock
async def test_it_recovers_by_itself(service: Service) -> None:
    await service.open()
    service.wait()
    route = respx.get(f"{URL}/thing").mock(return_value=OK)

    for _ in range(3):
        assert (await service.send()).status == 200

    assert route.call_count == 3


@respx.mock
async def test_the_call_that_opens_it_and_the_probe_that_fails_wait_like_all_others(service: Service) -> None:
    """Else the ticket that probes would burn an attempt for each probe."""
    respx.get(f"{URL}/thing").mock(return_value=httpx.Response(503, headers={"Retry-After": "90"}))

    for _ in range(2):
        with pytest.raises(BreakerOpen) as raised:
            await service.send()
        assert raised.value.retry_after == 90
        service.wait()


@respx.mock
async def test_a_start_that_may_have_acted_stays_unknown_when_the_breaker_opens(service: Service) -> None:
    respx.post(f"{URL}/thing").mock(side_effect=httpx.ReadError("reset"))

    with pytest.raises(UnknownOutcome):
        await service.send(START)

    assert service.breaker.state is BreakerState.OPEN


@respx.mock
async def test_no_call_is_repeated_once_the_breaker_is_open() -> None:
    service = Service(BreakerPolicy(failures=2, spread=0.0))
    route = respx.get(f"{URL}/thing").mock(return_value=httpx.Response(503))

    with pytest.raises(BreakerOpen, match="2 tries"):
        await service.send()

    assert route.call_count == 2
    await service.client.aclose()


@respx.mock
async def test_a_service_that_stays_down_is_noticed_by_a_single_call() -> None:
    service = Service(BreakerPolicy())
    route = respx.get(f"{URL}/thing").mock(side_effect=httpx.ConnectError("refused"))

    with pytest.raises(BreakerOpen):
        await service.send()

    assert route.call_count == 5
    await service.client.aclose()


@respx.mock
async def test_a_cancelled_probe_makes_room_for_the_next_call(service: Service) -> None:
    await service.open()
    service.wait()
    arrived = asyncio.Event()

    async def silent(_: httpx.Request) -> httpx.Response:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError("waits for ever")

    respx.get(f"{URL}/thing").mock(side_effect=silent)
    probe = asyncio.create_task(service.send())
    await arrived.wait()
    with pytest.raises(BreakerOpen):
        await service.send()
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)

    respx.get(f"{URL}/thing").mock(return_value=OK)
    assert (await service.send()).status == 200
    assert service.breaker.state is BreakerState.CLOSED


@respx.mock
async def test_what_waited_for_a_place_is_not_sent_when_the_breaker_opened_meanwhile() -> None:
    service = Service(limits=HttpLimits(connections=1), retry=ONE_TRY)
    arrived, release = asyncio.Event(), asyncio.Event()

    async def fails_late(_: httpx.Request) -> httpx.Response:
        arrived.set()
        await release.wait()
        return httpx.Response(503)

    route = respx.get(f"{URL}/thing").mock(side_effect=fails_late)
    first, second = asyncio.create_task(service.send()), asyncio.create_task(service.send())
    await arrived.wait()
    release.set()

    outcomes = await asyncio.gather(first, second, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [BreakerOpen, BreakerOpen]
    assert route.call_count == 1
    await service.client.aclose()


# --- the caller's own time ---------------------------------------------------------------------------------------


@respx.mock
async def test_a_try_never_outlasts_the_callers_time_and_blames_nobody_for_it(service: Service) -> None:
    async def silent(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError("waits for ever")

    respx.get(f"{URL}/thing").mock(side_effect=silent)

    with pytest.raises(IntegrationUnavailable, match="no answer in the time that was left"):
        await service.send(within=0.01)

    assert service.breaker.state is BreakerState.CLOSED


@respx.mock
async def test_nothing_is_sent_when_the_callers_time_is_up(service: Service) -> None:
    route = respx.post(f"{URL}/thing").mock(return_value=OK)

    with pytest.raises(IntegrationUnavailable, match="no time left for a try"):
        await service.send(START, within=0)

    assert route.call_count == 0


@respx.mock
async def test_a_repetition_that_would_come_too_late_is_not_waited_for() -> None:
    service = Service(BreakerPolicy())
    route = respx.get(f"{URL}/thing").mock(side_effect=[httpx.Response(503, headers={"Retry-After": "4"}), OK, OK])

    with pytest.raises(IntegrationUnavailable):
        await service.send(within=4)
    assert service.clock.monotonic() == 0

    assert (await service.send(within=60)).status == 200
    assert route.call_count == 2
    await service.client.aclose()


@respx.mock
async def test_a_place_is_not_waited_for_longer_than_the_caller_has() -> None:
    service = Service(limits=HttpLimits(connections=1), retry=ONE_TRY)
    arrived = asyncio.Event()

    async def occupied(_: httpx.Request) -> httpx.Response:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError("waits for ever")

    respx.get(f"{URL}/thing").mock(side_effect=occupied)
    first = asyncio.create_task(service.send())
    await arrived.wait()

    with pytest.raises(IntegrationUnavailable, match="no answer in the time that was left"):
        await service.send(within=0.01)

    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await service.client.aclose()


# --- all repetitions together ------------------------------------------------------------------------------------


@respx.mock
async def test_many_calls_share_one_budget_of_repetitions() -> None:
    service = Service(
        BreakerPolicy(failures=10_000, calls=10_000), retry_budget=RetryBudget(share=0, per_second=0, capacity=6)
    )
    route = respx.post(f"{URL}/thing").mock(return_value=httpx.Response(503))

    outcomes = await asyncio.gather(*(service.send(KEYED_START) for _ in range(20)), return_exceptions=True)

    assert all(isinstance(outcome, IntegrationUnavailable) for outcome in outcomes)
    assert route.call_count == 20 + 6
    await service.client.aclose()
