"""The reference server's idea of time, so that tests can hold it still."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Seconds since the epoch, and a way to wait for them to pass."""

    def now(self) -> float:
        """Return the present time in seconds since the epoch."""

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` have passed on this clock."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Return the present time in seconds since the epoch."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` have really passed."""
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that moves only when `advance()` is called; for tests."""

    def __init__(self, now: float = 1_767_225_600.0) -> None:
        """Start at `now`, by default at the beginning of 2026 (UTC)."""
        self._now = now
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._someone_sleeps = asyncio.Event()

    def now(self) -> float:
        """Return the time that `advance()` has reached."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return once `advance()` has moved the clock by `seconds`."""
        awake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + seconds, awake))
        self._someone_sleeps.set()
        await awake

    async def until_someone_sleeps(self) -> None:
        """Return as soon as at least one `sleep()` is waiting."""
        await self._someone_sleeps.wait()

    def advance(self, seconds: float) -> None:
        """Move the clock on and wake whoever's time has come."""
        self._now += seconds
        due = [awake for until, awake in self._sleepers if until <= self._now]
        self._sleepers = [(until, awake) for until, awake in self._sleepers if until > self._now]
        for awake in due:
            if not awake.done():
                awake.set_result(None)
        if not self._sleepers:
            self._someone_sleeps.clear()
