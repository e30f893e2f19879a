"""An operator brings the next attempt of a waiting ticket forward."""

from __future__ import annotations

from tests.unit.dispatch.fakes import DONE, NOW_MS, World, let_it_work, record
from worker_agents.dispatch.config import DispatchConfig, Ordering
from worker_agents.dispatch.pausing import PauseRequest
from worker_agents.dispatch.retrying import Retried, RetryRequest
from worker_agents.model.errors import BreakerOpen, IntegrationUnavailable, Reason
from worker_agents.model.state import Phase, TicketState
from worker_agents.telemetry.events import TicketRetried

REQUEST = RetryRequest("t", by="ana", why="forge is back")
DOWN = IntegrationUnavailable("down", retry_after=100.0)


async def test_a_ticket_that_waits_for_its_retry_is_tried_at_once() -> None:
    world = World()
    await world.accept(record(0, "t", sla={"max_retries": 1}))
    await world.finish("t", DOWN)
    assert world.dispatcher.retry_now(REQUEST) is Retried.NOW
    await world.work()
    assert world.run("t").context.attempt == 2
    assert [event for event in world.events if isinstance(event, TicketRetried)] == [
        TicketRetried("t", "EXECUTE", "ana", "forge is back", 2, Reason.DEPENDENCY_UNAVAILABLE)
    ]
    await world.finish("t", DOWN)
    assert world.journal.reason_of("t") == Reason.RETRIES_EXHAUSTED, "no attempt is given or taken"
    world.assert_nothing_left()


async def test_one_that_waits_for_a_breaker_is_tried_at_once_and_pays_nothing() -> None:
    world = World()
    await world.accept(record(0, "t"))
    await world.finish("t", BreakerOpen("down", integration="opa", retry_after=50.0))
    assert world.dispatcher.retry_now(REQUEST) is Retried.NOW
    await world.work()
    assert world.run("t").context.attempt == 1
    await world.finish("t")
    world.assert_nothing_left()


async def test_whoever_takes_it_over_before_it_begins_need_not_wait_either() -> None:
    world = World(DispatchConfig(max_concurrent=1))
    await world.accept(record(0, "t"))
    await world.finish("t", DOWN)
    await world.accept(*(record(n, f"busy{n}") for n in range(1, 20)))
    assert world.dispatcher.retry_now(REQUEST) is Retried.NOW
    await world.work()
    known = world.journal.known["t"]
    assert isinstance(known, TicketState)
    assert (known.phase, known.attempt, known.reason) == (Phase.PARKED, 2, Reason.DEPENDENCY_UNAVAILABLE)
    assert known.remaining(NOW_MS) == 0.0
    assert world.dispatcher.retry_now(REQUEST) is Retried.READY


async def test_what_waits_for_others_is_not_tried() -> None:
    world = World(DispatchConfig(ordering=Ordering.KEY), task_types=("EXECUTE", "BUILD"))
    await world.accept(record(0, "t", dependencies=["a"]), record(1, "first", key=b"k"), record(2, "second", key=b"k"))
    world.dispatcher.pause(PauseRequest("BUILD"))
    await world.accept(record(3, "paused", "BUILD"))
    asked = {name: world.dispatcher.retry_now(RetryRequest(name)) for name in ("t", "first", "second", "paused", "no")}
    assert asked == {
        "t": Retried.DEPENDENCY,
        "first": Retried.RUNNING,
        "second": Retried.KEY_ORDER,
        "paused": Retried.PAUSED,
        "no": Retried.UNKNOWN,
    }
    await world.work()
    assert set(world.live()) == {"first"}


async def test_a_retry_of_a_paused_type_is_not_tried() -> None:
    world = World()
    await world.accept(record(0, "t"))
    await world.finish("t", DOWN)
    world.dispatcher.pause(PauseRequest("EXECUTE", seconds=1_000.0))
    assert world.dispatcher.retry_now(REQUEST) is Retried.PAUSED
    await world.work()
    assert not world.live()


async def test_one_that_is_about_to_wait_is_still_running() -> None:
    world = World()
    await world.accept(record(0, "t"))
    world.run("t").do(DOWN)
    await let_it_work()
    assert world.dispatcher.retry_now(REQUEST) is Retried.RUNNING
    await world.work()
    assert world.dispatcher.retry_now(REQUEST) is Retried.NOW


async def test_what_is_settled_stays_so_and_a_worker_that_drains_tries_nothing() -> None:
    world = World()
    await world.accept(record(0, "t"))
    await world.finish("t", DONE)
    assert world.dispatcher.retry_now(REQUEST) is Retried.SETTLED
    world.dispatcher.quiet()
    assert world.dispatcher.retry_now(REQUEST) is Retried.DRAINING
    assert world.journal.status_of("t") == "COMPLETED"
    world.assert_nothing_left()
