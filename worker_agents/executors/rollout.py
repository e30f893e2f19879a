"""One deployment through Argo CD: the application, our sync, and the wait for what comes of it."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from worker_agents.clients.argocd import Application, OperationView, ResourceHealth
from worker_agents.executors.base import ExecutionContext
from worker_agents.executors.deploy_parameters import Deployment
from worker_agents.executors.polling import Streak, heeding, poll_delays
from worker_agents.executors.remote_work_clock import RemoteWorkClock
from worker_agents.executors.rollout_judgement import (
    Doubtful,
    End,
    Ending,
    Judgement,
    OurOperation,
    Waiting,
    is_compared,
    judge,
)
from worker_agents.executors.rollout_start import OPERATION, SyncStart
from worker_agents.executors.rollout_view import (
    ApplicationGone,
    DeployService,
    RolloutPatience,
    RolloutView,
    described,
    unhealthy,
)
from worker_agents.model.errors import Reason, TaskError
from worker_agents.model.structs import struct

PROGRESS_SECONDS = 30.0
# Argo CD looks by itself when a resource changes, or else every few minutes.
REFRESH_SECONDS = 60.0
URGENT_REFRESH_SECONDS = 10.0
FIRST_POLL_SECONDS = 0.5
TERMINATE_SECONDS = 5.0


@struct
class RolloutEnd:
    """How it ended, with what was seen last. ``operation`` is the last view of ours; none was begun without one."""

    end: End
    application: Application | None
    operation: OperationView | None
    unhealthy: tuple[ResourceHealth, ...]
    polls: int


@dataclass(slots=True)
class Rollout:
    """Brings one deployment to its end. One for each attempt; ``ours`` is what an earlier attempt began.

    ``limit`` is the seconds that it may take since it was begun, in whatever attempt; ``interval`` the longest time
    between two polls.
    """

    service: DeployService
    deployment: Deployment
    context: ExecutionContext
    limit: float
    interval: float
    patience: RolloutPatience = field(default_factory=RolloutPatience)
    rng: random.Random | None = None
    ours: OurOperation | None = None
    _clock: RemoteWorkClock = field(init=False)
    _view: RolloutView = field(init=False)
    _start: SyncStart | None = None
    _application: Application | None = None
    _operation: OperationView | None = None
    _was_compared: bool = False
    _refreshed_at: float = -math.inf
    _doubt: tuple[Ending, Streak] | None = None
    _why: str = "nothing was seen yet"
    _shown: str = ""
    _progress: dict[str, Any] = field(default_factory=dict)
    _reported_at: float = 0.0

    def __post_init__(self) -> None:
        self._clock = RemoteWorkClock(self.context, self.limit)
        self._view = RolloutView(self.service, self.deployment.key, self.context, self._clock, self.patience)

    @property
    def operation_name(self) -> str | None:
        """``{application}/{mark}`` of the operation that is, or may be, under way; ``None`` if none was asked for."""
        if self.ours is not None:
            return f"{self.deployment.key.name}/{self.ours.mark}"
        if self._start is not None and self._start.may_have_begun:
            return f"{self.deployment.key.name}/{self._start.mark}"
        return None

    async def run(self) -> RolloutEnd:
        """Deploy, or go on with what an earlier attempt began.

        Raises :class:`IntegrationUnavailable` when Argo CD stays out of reach and :class:`IntegrationRejected` when it
        refuses; everything else is an end. An operator's cancellation ends our operation at Argo CD too; any other
        leaves it to whoever goes on with the ticket.
        """
        try:
            end = (None if self.ours else await self._begin()) or await self._follow()
        except ApplicationGone:
            end = End(Ending.APPLICATION_MISSING, "the application does not exist any more: somebody deleted it")
        except asyncio.CancelledError:
            if (self.context.cancel_reason or "").startswith(Reason.CANCELLED):
                await self._terminate()
            raise
        bad = () if end.ending is Ending.DEPLOYED or self.ours is None else unhealthy(await self._view.resources())
        return RolloutEnd(end, self._application, self._operation, bad, self._view.polls)

    async def _begin(self) -> End | None:
        """Write the application and start our sync, unless it turns out to be begun already. An end if it cannot be."""
        mark = self.context.start_remote(OPERATION)["Idempotency-Key"]
        self._start = SyncStart(self.service, self.deployment, self.context, mark)
        known: Application | None = await self._start.prepare()
        for delay in self._delays():
            # Only what was just seen tells whether there is still something to start.
            begun = None if known is None else await self._start.attempt(known)
            if isinstance(begun, Application):
                await self._adopt(OurOperation(mark, after=self._start.after), begun)
                return None
            if begun is not None:
                return begun
            self._application = known or self._application
            self._say(_obstacle(known))
            if self._clock.left_in_attempt() <= 0:
                return End(Ending.TIMEOUT, f"our sync did not begin within {self.limit:g} s: {self._why}")
            await self._pause(delay)
            known = await self._view.look(working=self._start.may_have_begun)
        raise AssertionError("delays never end")

    async def _adopt(self, ours: OurOperation, application: Application) -> None:
        """Remember that our operation is there: from here on it is followed, in whatever attempt."""
        self.ours = replace(ours, is_kept_marked=ours.find(application) is not None)
        self._see(application)
        await self._checkpoint({})
        self.context.log(f"sync {self.operation_name} has begun")

    async def _follow(self) -> End:
        for delay in self._delays():
            await self._pause(delay)
            application = await self._view.look(working=True)
            if application is not None:
                end = self._believed(await self._judge(application))
                if end is not None:
                    return end
                await self._report()
            if self._clock.left_in_attempt() <= 0:
                return End(Ending.TIMEOUT, f"not deployed within {self.limit:g} s: {self._why}")
        raise AssertionError("delays never end")

    async def _pause(self, delay: float) -> None:
        await self.context.sleep(min(heeding(delay, self._view.hint), self._clock.left_in_attempt()))

    async def _judge(self, application: Application) -> Judgement:
        ours = self._see(application)
        judgement = judge(application, self.deployment, ours, compared=self._was_compared)
        if not isinstance(judgement, End) and self._needs_comparison(application):
            self._refreshed_at = self._clock.passed()
            refreshed = await self._view.refreshed()
            if refreshed is not None:
                self._was_compared = True
                judgement = judge(refreshed, self.deployment, self._see(refreshed), compared=True)
        return judgement

    def _see(self, application: Application) -> OurOperation:
        assert self.ours is not None, "followed is only what was begun"
        self._application = application
        operation = self.ours.find(application)
        if operation is not None:
            self._operation = operation
            self.ours = replace(self.ours, started_at=operation.started_at or self.ours.started_at)
        return self.ours

    def _needs_comparison(self, application: Application) -> bool:
        """Our operation has ended, and what is shown may be older than that, or than what has happened since."""
        operation = self.ours.find(application) if self.ours else None
        if operation is None or not operation.is_over:
            return False
        compared = is_compared(application, operation.finished_at, asked=self._was_compared)
        pause = REFRESH_SECONDS if compared else URGENT_REFRESH_SECONDS
        return self._clock.passed() - self._refreshed_at >= pause

    def _believed(self, judgement: Judgement) -> End | None:
        """The end, once it is certain; a doubtful one when it has lasted long enough."""
        match judgement:
            case End():
                return judgement
            case Doubtful(end):
                self._why = end.why
                if self._doubt is None or self._doubt[0] is not end.ending:
                    self._doubt = (end.ending, Streak())
                lasted = self._doubt[1].observe(self._clock.passed())
                return end if lasted >= self.patience.of(end.ending) else None
            case Waiting(why):
                self._why, self._doubt = why, None
                return None

    async def _report(self) -> None:
        """Progress: a log line for every change, and now and then a checkpoint with the health of the resources."""
        self._say(self._why)
        if self._clock.passed() - self._reported_at < PROGRESS_SECONDS:
            return
        self._reported_at = self._clock.passed()
        resources = await self._view.resources()
        counts = Counter(each.health.status for each in resources if each.health is not None)
        progress = {"why": self._why, **counts, "unhealthy": [described(each) for each in unhealthy(resources)]}
        if progress != self._progress:
            self._progress = progress
            await self._checkpoint(progress)

    async def _checkpoint(self, progress: dict[str, Any]) -> None:
        assert self.ours is not None, "remembered is only what was begun"
        seen, status = self._operation, self._application.status if self._application else None
        await self.context.checkpoint(
            {
                "application": self.deployment.key.name,
                "project": self.deployment.key.project,
                "mark": self.ours.mark,
                "is_kept_marked": self.ours.is_kept_marked,
                "started_at": _text(self.ours.started_at),
                "after": _text(self.ours.after),
                "revision": seen.revision if seen else None,
                "phase": seen.phase if seen else None,
                "sync_status": status.sync.status if status else None,
                "health_status": status.health.status if status else None,
                "progress": progress,
            }
        )

    def _say(self, why: str) -> None:
        self._why = why
        if why != self._shown:
            self._shown = why
            self.context.log(f"application {self.deployment.key.name}: {why}")

    async def _terminate(self) -> None:
        """End our operation, if it is still the one under way."""
        if self.ours is None:
            return
        try:
            async with asyncio.timeout(TERMINATE_SECONDS):
                terminated = await self._terminated(self.ours)
        except (TaskError, TimeoutError) as error:
            self.context.log(f"sync {self.operation_name} could not be terminated: {str(error) or 'no answer in time'}")
        else:
            self.context.log(f"sync {self.operation_name} {'was terminated' if terminated else 'was over already'}")

    async def _terminated(self, ours: OurOperation) -> bool:
        key, headers = self.deployment.key, self.context.trace_headers()
        answer = await self.service.get_application(key, headers)
        operation = ours.find(answer) if isinstance(answer, Application) else None
        if operation is None or operation.is_over:
            return False
        await self.service.terminate_operation(key, headers)
        return True

    def _delays(self) -> Iterator[float]:
        first, age = min(FIRST_POLL_SECONDS, self.interval), self.context.seconds_since_checkpoint()
        return poll_delays(first=first, longest=self.interval, rng=self.rng, age=age)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _obstacle(application: Application | None) -> str:
    latest = application.latest_operation if application else None
    if latest is None or latest.is_over:
        return "the sync has not begun"
    return f"waiting for the end of another operation, by {latest.initiator} ({latest.phase})"
