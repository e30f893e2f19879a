"""An attempt's alarm: what it cancels, and what it leaves behind."""

from __future__ import annotations

import asyncio

import pytest

from worker_agents.engine.time_limit import Alarm


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


def cancellations() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def test_an_alarm_cancels_the_task_that_set_it_and_takes_that_back() -> None:
    alarm = Alarm(0.0)
    with pytest.raises(asyncio.CancelledError):
        await for_ever()
    assert alarm.was_alone()
    alarm.put_off()
    assert cancellations() == 0


async def test_an_alarm_that_is_put_off_does_not_ring() -> None:
    alarm = Alarm(0.0)
    alarm.put_off()
    reached = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.01, reached.set_result, None)
    await reached
    assert not alarm.rang


async def test_an_alarm_that_was_swallowed_leaves_no_cancellation_behind() -> None:
    alarm = Alarm(0.0)
    with pytest.raises(asyncio.CancelledError):
        await for_ever()
    alarm.put_off()
    assert alarm.rang
    assert cancellations() == 0


async def test_an_alarm_is_not_alone_when_somebody_gave_up_too() -> None:
    told: list[bool] = []
    alarms: list[Alarm] = []

    async def attempt() -> None:
        alarm = Alarm(60.0)
        alarms.append(alarm)
        try:
            await for_ever()
        except asyncio.CancelledError:
            told.append(alarm.was_alone())
            raise
        finally:
            alarm.put_off()

    task = asyncio.create_task(attempt())
    await asyncio.sleep(0)
    # Both before the task has its next turn.
    task.cancel("given up")
    alarms[0]._ring()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == [False]
