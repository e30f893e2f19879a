"""Ends of tasks: waiting for one, for the first, or not for long."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine

# Longer than any clean-up takes, and each step of it.
_AGAIN_AFTER = 5.0
_STEP_AGAIN_AFTER = 1.0


async def cancelled(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait until it is over."""
    if task is not None and task is not asyncio.current_task():
        await _ended([task], _AGAIN_AFTER)


async def _ended(tasks: Collection[asyncio.Task[None]], again_after: float) -> None:
    """Cancel until all are over.

    Once is not enough: ``asyncio.wait_for`` before Python 3.12, through which aiokafka waits for answers, swallows a
    cancellation that comes in the same turn as the answer. Whoever waited for the end of such a task waited for ever.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=again_after)


async def until_first_ends(*steps: Coroutine[None, None, None]) -> None:
    """Run ``steps`` until one ends, then cancel the others; raises what that one raised."""
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _ended(tasks, _STEP_AGAIN_AFTER)
    for task in tasks:
        if not task.cancelled():
            task.result()


async def give_up_after(seconds: float, step: Coroutine[object, object, object]) -> None:
    """Wait so long for the end of a client, whatever that is.

    Not ``wait_for``: ending a sender cancels it, and its ``CancelledError`` would look like our own.
    """
    task = asyncio.ensure_future(step)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        await asyncio.wait([task], timeout=seconds)
    finally:
        task.cancel()
