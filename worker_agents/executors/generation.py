"""Following a generation at Code Forge from its start to its end, in whatever attempt that comes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from worker_agents.clients.code_forge import GenerationStatus
from worker_agents.executors.base import CodeForge, ExecutionContext
from worker_agents.executors.polling import Patience, Streak, heeding, poll_delays
from worker_agents.model.errors import IntegrationUnavailable, Reason, UnknownOutcome

# The attempt's own limit may be the same one: the executor must come first, or its time-out would cost an attempt.
_RESERVE_SHARE = 0.05
_RESERVE_SECONDS = 1.0


class GenerationService(CodeForge, Protocol):
    """What it takes to submit a generation and to follow it; see ``clients.code_forge``."""

    async def get_generation_status(self, request_id: str, headers: Mapping[str, str]) -> GenerationStatus: ...


@dataclass(frozen=True, slots=True)
class Followed:
    """A generation that ended, and the polls that it took in this attempt."""

    status: GenerationStatus
    polls: int


@dataclass(slots=True)
class GenerationFollower:
    """Polls one generation until it is over. One for each attempt.

    ``limit`` is the seconds that the generation may take since it was begun, in whatever attempt.
    """

    service: GenerationService
    request_id: str
    context: ExecutionContext
    limit: float
    patience: Patience = field(default_factory=Patience)
    rng: random.Random | None = None
    _missing: Streak = field(default_factory=Streak)
    _unreachable: Streak = field(default_factory=Streak)
    _shown: str = ""

    async def follow(self) -> Followed:
        """Wait for the end, asking at least once.

        Raises :class:`IntegrationUnavailable` when the limit passes (reason ``timeout``) or Code Forge stays out of
        reach, and :class:`UnknownOutcome` when it has forgotten the request.
        """
        clock = _TimeLeft(self.context, self.limit)
        hint: float | None = None
        for polls, delay in enumerate(self._delays(), start=1):
            await self.context.sleep(min(heeding(delay, hint), clock.left()))
            status = await self._look()
            if status.is_over:
                return Followed(status, polls)
            if clock.left() <= 0:
                raise IntegrationUnavailable(
                    f"generation {self.request_id} was not over within {self.limit:g} s (last seen: {status.status})",
                    reason=Reason.TIMEOUT,
                    retryable=False,
                )
            hint = status.retry_after
        raise AssertionError("delays never end")

    def _delays(self) -> Iterator[float]:
        return poll_delays(rng=self.rng)

    async def _look(self) -> GenerationStatus:
        """One poll. Silence is put up with for a while, as real work goes on behind it."""
        now = self.context.seconds_since_checkpoint()
        try:
            status = await self.service.get_generation_status(self.request_id, self.context.trace_headers())
        except IntegrationUnavailable:
            if self._unreachable.observe(now) >= self.patience.unreachable:
                raise
            return GenerationStatus.unseen(self.request_id, 503)
        self._unreachable.end()
        self._believe_missing_when_it_lasts(status)
        self._show(status)
        return status

    def _believe_missing_when_it_lasts(self, status: GenerationStatus) -> None:
        if not status.is_missing:
            self._missing.end()
            return
        lasted = self._missing.observe(self.context.seconds_since_checkpoint())
        if lasted >= self.patience.missing:
            raise UnknownOutcome(
                f"Code Forge accepted generation {self.request_id} but does not know it any more (404 for "
                f"{lasted:.0f} s; it forgets requests after a day), so what became of it is not known"
            )

    def _show(self, status: GenerationStatus) -> None:
        if status.status != self._shown:
            self._shown = status.status
            self.context.log(f"generation {self.request_id} is {status.status}")


class _TimeLeft:
    """Seconds until the limit: counted from when the remote work began, and at least from this attempt's begin."""

    def __init__(self, context: ExecutionContext, limit: float) -> None:
        self._context = context
        self._limit = limit - min(_RESERVE_SECONDS, limit * _RESERVE_SHARE)
        self._at_begin = context.remaining()

    def left(self) -> float:
        in_this_attempt = self._at_begin - self._context.remaining()
        return max(self._limit - max(self._context.seconds_since_checkpoint(), in_this_attempt), 0.0)
