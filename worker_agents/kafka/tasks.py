"""Ends of tasks: waiting for one, for the first, or not for long."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


async def cancelled(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait until it is over."""
    if task is None or task is asyncio.current_task():
        return
    task.cancel()
    await asyncio.wait([task])


async def until_first_ends(*steps: Coroutine[None, None, None]) -> None:
    """Run ``steps`` until one ends, then cancel the others; raises what that one raised."""
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
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
