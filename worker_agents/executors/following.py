"""Following remote work from its start to its end, in whatever attempt that comes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from worker_agents.executors.base import ExecutionContext
from worker_agents.executors.polling import LONGEST_SECONDS, Patience, Streak, heeding, poll_delays
from worker_agents.executors.remote_work_clock import RemoteWorkClock
from worker_agents.model.errors import IntegrationUnavailable, Reason, UnknownOutcome

_NEVER_SEEN = "unknown"


class RemoteStatus(Protocol):
    """How remote work stood when it was asked after. ``retry_after`` is the server's wish in seconds."""

    @property
    def status(self) -> str: ...

    @property
    def retry_after(self) -> float | None: ...

    @property
    def is_missing(self) -> bool:
        """The server does not know the work: not yet, or no longer."""
        ...

    @property
    def is_over(self) -> bool: ...


S = TypeVar("S", bound=RemoteStatus)


@dataclass(frozen=True, slots=True)
class Followed(Generic[S]):
    """Work that ended, and the polls that it took in this attempt."""

    status: S
    polls: int


async def _ignored(_: object) -> None:
    """Nobody wants to know of each status."""


@dataclass(slots=True)
class Follower(Generic[S]):
    """Polls one piece of remote work until it is over. One for each attempt.

    ``name`` is what the work is called in logs and errors (``pipeline p-1``), ``service`` who does it. ``ask`` asks
    once, within the seconds that it is given. ``limit`` is the seconds that the work may take since it was begun, in
    whatever attempt; ``longest`` the longest wait between two polls. ``seen`` is told of every status.
    """

    name: str
    service: str
    ask: Callable[[float], Awaitable[S]]
    context: ExecutionContext
    limit: float
    patience: Patience = field(default_factory=Patience)
    longest: float = LONGEST_SECONDS
    rng: random.Random | None = None
    seen: Callable[[S], Awaitable[None]] = _ignored
    _missing: Streak = field(default_factory=Streak)
    _unreachable: Streak = field(default_factory=Streak)
    _shown: str = _NEVER_SEEN

    async def follow(self) -> Followed[S]:
        """Wait for the end, asking at least once.

        Raises :class:`IntegrationUnavailable` when the limit passes (reason ``timeout``) or the service stays out of
        reach, as :class:`BreakerOpen` where its breaker is open, and :class:`UnknownOutcome` when it has forgotten the
        work.
        """
        try:
            return await self._follow()
        except asyncio.CancelledError:
            if (self.context.cancel_reason or "").startswith(Reason.CANCELLED):
                self.context.log(f"{self.name} is left running: {self.service} has no call that would cancel it")
            raise

    async def _follow(self) -> Followed[S]:
        clock = RemoteWorkClock(self.context, self.limit)
        hint: float | None = None
        delays = poll_delays(longest=self.longest, rng=self.rng, age=clock.passed())
        for polls, delay in enumerate(delays, start=1):
            await self.context.sleep(min(heeding(delay, hint), clock.left()))
            status, hint = await self._look()
            if status is not None and status.is_over:
                return Followed(status, polls)
            if clock.left() <= 0:
                raise IntegrationUnavailable(
                    f"{self.name} was not over within {self.limit:g} s (last seen: {self._shown})",
                    reason=Reason.TIMEOUT,
                    retryable=False,
                )
        raise AssertionError("delays never end")

    async def _look(self) -> tuple[S | None, float | None]:
        """One poll: the status, and the server's wish for the next one.

        Silence is put up with for a while, as real work goes on behind it.
        """
        now = self.context.seconds_since_checkpoint()
        try:
            status = await self.ask(self.context.remaining())
        except IntegrationUnavailable as error:
            if self._unreachable.observe(now) >= self.patience.unreachable:
                raise
            return None, error.retry_after
        self._unreachable.end()
        self._believe_missing_when_it_lasts(status)
        self._show(status)
        await self.seen(status)
        return status, status.retry_after

    def _believe_missing_when_it_lasts(self, status: S) -> None:
        if not status.is_missing:
            self._missing.end()
            return
        lasted = self._missing.observe(self.context.seconds_since_checkpoint())
        if lasted >= self.patience.missing:
            raise UnknownOutcome(
                f"{self.service} accepted {self.name} but does not know it any more (404 for {lasted:.0f} s; it forgets "
                "what is older than a day), so what became of it is not known"
            )

    def _show(self, status: S) -> None:
        if status.status != self._shown:
            self._shown = status.status
            self.context.log(f"{self.name} is {status.status}")
