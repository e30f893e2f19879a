"""Tasks that do not end at the first word."""

from __future__ import annotations

import asyncio

import pytest

from worker_agents.kafka import tasks
from worker_agents.kafka.tasks import cancelled, until_first_ends


class Deaf:
    """Swallows its first cancellation, as ``asyncio.wait_for`` may, and goes on."""

    def __init__(self) -> None:
        self.heard = 0

    async def run(self) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.heard += 1
                if self.heard > 1:
                    raise


async def test_a_task_that_swallowed_its_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_AGAIN_AFTER", 0.01)
    deaf = Deaf()
    task = asyncio.create_task(deaf.run())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await cancelled(task)
    assert task.cancelled()
    assert deaf.heard == 2


async def test_steps_that_swallow_their_cancellation_do_not_hold_up_the_first_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "_STEP_AGAIN_AFTER", 0.01)
    deaf = Deaf()

    async def end() -> None:
        await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await until_first_ends(deaf.run(), end())
    assert deaf.heard == 2


async def test_nothing_and_oneself_are_not_waited_for() -> None:
    async with asyncio.timeout(5):
        await cancelled(None)
        await cancelled(asyncio.current_task())
