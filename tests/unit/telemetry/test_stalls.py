"""An event loop that stands still is noticed, with what it is at, and how long it took."""

import asyncio
import threading
import time

import pytest

from worker_agents.telemetry.events import Event, EventLoopResumed, EventLoopStalled
from worker_agents.telemetry.stalls import LoopLag, LoopWatchdog

LIMIT = 0.2


class Told:
    """What the watchdog told, and when it is the loop's turn again."""

    def __init__(self) -> None:
        self.while_it_lasted: list[Event] = []
        self.threads: list[int] = []
        self.afterwards: list[Event] = []
        self.resumed = asyncio.Event()
        self.stalled = threading.Event()

    def log(self, event: Event) -> None:
        self.while_it_lasted.append(event)
        self.threads.append(threading.get_ident())
        self.stalled.set()

    def emit(self, event: Event) -> None:
        self.afterwards.append(event)
        self.resumed.set()


def block_until(stalled: threading.Event) -> None:
    """What an executor with a fault does to the loop: the test's end waits for the watchdog's word."""
    assert stalled.wait(10)


async def test_a_stall_is_told_while_it_lasts_with_the_stack_and_afterwards_with_its_duration() -> None:
    told = Told()
    watchdog = LoopWatchdog(LIMIT, told.emit, told.log)
    watchdog.start()
    try:
        asyncio.get_running_loop().call_soon(block_until, told.stalled)
        async with asyncio.timeout(10):
            await told.resumed.wait()
    finally:
        watchdog.stop()

    (stalled,), (resumed,) = told.while_it_lasted, told.afterwards
    assert isinstance(stalled, EventLoopStalled)
    assert isinstance(resumed, EventLoopResumed)
    assert told.threads != [threading.get_ident()]
    assert "block_until" in stalled.stack
    assert LIMIT <= stalled.seconds <= resumed.duration
    assert resumed.seen
    assert watchdog.greatest_lag() >= LIMIT


async def test_a_loop_that_turns_is_left_alone() -> None:
    told = Told()
    watchdog = LoopWatchdog(5.0, told.emit, told.log)
    watchdog.start()
    for _ in range(1_000):
        await asyncio.sleep(0)
    watchdog.stop()

    assert told.while_it_lasted == told.afterwards == []
    assert watchdog.greatest_lag() < 5.0


async def test_a_stall_that_nobody_saw_is_told_afterwards() -> None:
    """The whole process stood still, so the watching thread did too."""
    told = Told()
    watchdog = LoopWatchdog(LIMIT, told.emit, told.log)
    watchdog._lag = LoopLag(time.monotonic() - 3.0, LIMIT)
    watchdog._beat(asyncio.get_running_loop())
    watchdog.stop()

    (resumed,) = told.afterwards
    assert isinstance(resumed, EventLoopResumed)
    assert not resumed.seen
    assert resumed.duration == pytest.approx(3.0 - LIMIT, abs=0.1)


def test_the_watching_thread_ends_with_the_watch() -> None:
    async def watched() -> None:
        told = Told()
        watchdog = LoopWatchdog(LIMIT, told.emit, told.log)
        watchdog.start()
        watchdog.stop()

    asyncio.run(watched())
    for thread in threading.enumerate():
        if thread.name == "event-loop-watchdog":
            thread.join(5)
            assert not thread.is_alive()


def test_the_lag_is_what_the_beat_is_late() -> None:
    lag = LoopLag(100.0, 0.25)
    assert lag.beat(100.25) == 0.0
    assert lag.beat(100.75) == 0.25
    assert lag.lag(101.0) == 0.0
    assert lag.lag(103.0) == 2.0
    assert lag.greatest(103.0) == 2.0


def test_the_greatest_lag_is_forgotten_after_about_a_minute() -> None:
    lag = LoopLag(0.0, 0.25)
    lag.beat(2.25)
    now = 2.25
    while now < 55:
        now += 0.25
        lag.beat(now)
        assert lag.greatest(now) == 2.0
    while now < 75:
        now += 0.25
        lag.beat(now)
    assert lag.greatest(now) == 0.0


def test_a_stop_of_days_is_one_lag() -> None:
    lag = LoopLag(0.0, 0.25)
    assert lag.beat(1_000_000.0) == 999_999.75
    assert lag.greatest(1_000_000.0) == 999_999.75
