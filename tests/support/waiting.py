"""Waiting for what other processes do: they send no events."""

import asyncio
import time
from collections.abc import Callable

from worker_agents.devkit.ports import accepts_connections

_LOOK_SECONDS = 0.1


async def until(condition: Callable[[], object], patience: float) -> bool:
    """Return once ``condition`` holds, or after ``patience`` seconds; whether it held."""
    end = time.monotonic() + patience
    # Nobody in this process sets an event for it.
    while not (met := condition()) and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_SECONDS)
    return bool(met)


async def listening(host: str, port: int, patience: float = 60.0) -> None:
    """Return once somebody listens there. Raises ``TimeoutError``."""
    async with asyncio.timeout(patience):
        while not await accepts_connections(host, port):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)
