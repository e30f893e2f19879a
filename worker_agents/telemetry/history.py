"""What happened lately, kept in memory for the status page: bounded, and lost with the process."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from worker_agents.model.clock import Clock
from worker_agents.model.result import Status
from worker_agents.model.structs import struct
from worker_agents.telemetry import events

BUCKET_SECONDS = 60
_BUCKETS = 60
_RECENT_RESULTS = 200
_ENDED_TIMELINES = 1_000
_TIMELINE = 200
_SAMPLES = 100

# More timelines than this are looked through for tickets that left without a word.
_TIMELINES = 20_000

Timeline = list[tuple[int, events.Event]]
"""What happened to one ticket, each with its time in epoch milliseconds, oldest first."""


@struct
class Result:
    """A settled ticket. ``at`` is epoch milliseconds."""

    at: int
    settled: events.TicketSettled


@dataclass(slots=True)
class Bucket:
    """What ended in one minute. ``began`` is epoch milliseconds; ``durations`` is a fair sample of the minute's."""

    began: int
    completed: int = 0
    failed: int = 0
    simulated: int = 0
    durations: list[float] = field(default_factory=list)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    calls: Counter[tuple[str, bool]] = field(default_factory=Counter)

    @property
    def duration_median(self) -> float | None:
        return median(self.durations) if self.durations else None


@dataclass(slots=True)
class CallRecord:
    """The latest calls of one integration. Seconds; ``last_failure_at`` is epoch milliseconds."""

    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_SAMPLES))
    last_failure: str = ""
    last_failure_at: int | None = None
    simulated: int = 0


class History:
    """Subscribes to events and remembers so many buckets, results and timelines of them.

    ``is_here`` tells whether the worker still has a ticket: those of a lost partition leave without an event.
    """

    def __init__(self, clock: Clock, rng: random.Random | None = None) -> None:
        self.results: deque[Result] = deque(maxlen=_RECENT_RESULTS)
        self.integrations: defaultdict[str, CallRecord] = defaultdict(CallRecord)
        self.simulated = 0
        self.dead_letters = 0
        self.is_here: Callable[[str], bool] = lambda _: True
        self._clock = clock
        self._rng = rng or random.Random()
        self._buckets: deque[Bucket] = deque(maxlen=_BUCKETS)
        self._last_failures: dict[tuple[str, str], Result] = {}
        self._timelines: dict[str, Timeline] = {}
        self._sweep_at = _TIMELINES
        self._ended: OrderedDict[str, Timeline] = OrderedDict()
        self._handlers: dict[type[events.Event], Callable[[int, Any], None]] = {
            events.TicketSettled: self._settled,
            events.TicketReleased: self._released,
            events.TicketPutBack: self._released,
            events.ExternalCall: self._called,
            events.FallbackUsed: self._fell_back,
            # These are told of tickets that may have ended already.
            events.DuplicateSeen: self._add_to_known,
            events.DeadLettered: self._dead_lettered,
            events.ResultTrimmed: self._add_to_known,
        }

    def __call__(self, event: events.Event) -> None:
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(self._clock.now_ms(), event)
        elif isinstance(event, events.TicketEvent):
            self._note(self._clock.now_ms(), event)

    # --- what is asked -------------------------------------------------------------------------------------------

    def timeline(self, ticket_id: str) -> Timeline:
        """Empty for a ticket of which nothing was heard, or too long ago."""
        return [*self._ended.get(ticket_id, ()), *self._timelines.get(ticket_id, ())]

    def buckets(self) -> list[Bucket]:
        """One for each minute of the last hour, oldest first, also where nothing happened."""
        newest = self._clock.now_ms() // (BUCKET_SECONDS * 1000)
        known = {bucket.began: bucket for bucket in self._buckets}
        begins = ((newest - back) * BUCKET_SECONDS * 1000 for back in reversed(range(_BUCKETS)))
        return [known.get(began) or Bucket(began) for began in begins]

    def failures(self) -> list[tuple[int, Result]]:
        """How often each kind of failure came in the last hour, most frequent first, with its latest."""
        counts: Counter[tuple[str, str]] = sum((bucket.failures for bucket in self.buckets()), Counter())
        return [(count, self._last_failures[kind]) for kind, count in counts.most_common()]

    def calls(self, integration: str) -> tuple[int, int]:
        """Calls of the last hour, and how many of them failed."""
        buckets = self.buckets()
        failed = sum(bucket.calls[integration, False] for bucket in buckets)
        return failed + sum(bucket.calls[integration, True] for bucket in buckets), failed

    # --- what happens --------------------------------------------------------------------------------------------

    def _note(self, now_ms: int, event: Any) -> None:
        timeline = self._timelines.get(event.ticket_id)
        if timeline is None:
            self._timelines[event.ticket_id] = [(now_ms, event)]
            if len(self._timelines) > self._sweep_at:
                self._sweep()
            return
        timeline.append((now_ms, event))
        if len(timeline) > _TIMELINE:
            del timeline[1]  # how it began is worth more than what came next

    def _add_to_known(self, now_ms: int, event: Any) -> None:
        timeline = self._timelines.get(event.ticket_id) or self._ended.get(event.ticket_id)
        if timeline is not None and len(timeline) < _TIMELINE:
            timeline.append((now_ms, event))

    def _dead_lettered(self, now_ms: int, event: events.DeadLettered) -> None:
        self.dead_letters += 1
        self._add_to_known(now_ms, event)

    def _sweep(self) -> None:
        self._timelines = {key: value for key, value in self._timelines.items() if self.is_here(key)}
        self._sweep_at = max(2 * len(self._timelines), _TIMELINES)

    def _settled(self, now_ms: int, event: events.TicketSettled) -> None:
        self._note(now_ms, event)
        self._end(event.ticket_id)
        result = Result(now_ms, event)
        self.results.append(result)
        bucket = self._bucket(now_ms)
        if event.status == Status.FAILED:
            bucket.failed += 1
            kind = (event.task_type, event.reason)
            bucket.failures[kind] += 1
            self._last_failures[kind] = result
        else:
            bucket.completed += 1
        if event.simulated:
            bucket.simulated += 1
            self.simulated += 1
        self._sample(bucket, event.duration)

    def _released(self, now_ms: int, event: events.TicketReleased | events.TicketPutBack) -> None:
        self._note(now_ms, event)
        self._end(event.ticket_id)

    def _called(self, now_ms: int, event: events.ExternalCall) -> None:
        is_answer = event.outcome in ("ok", "rejected")
        record = self.integrations[event.integration]
        record.latencies.append(event.duration)
        self._bucket(now_ms).calls[event.integration, is_answer] += 1
        if not is_answer:
            record.last_failure_at, record.last_failure = now_ms, f"{event.operation}: {event.outcome}"

    def _fell_back(self, now_ms: int, event: events.FallbackUsed) -> None:
        self._note(now_ms, event)
        record = self.integrations[event.integration]
        record.simulated += 1
        record.last_failure_at, record.last_failure = now_ms, event.message

    def _end(self, ticket_id: str) -> None:
        """Its timeline is kept among the latest so many."""
        before = self._ended.pop(ticket_id, [])
        self._ended[ticket_id] = [*before, *self._timelines.pop(ticket_id)][-_TIMELINE:]
        if len(self._ended) > _ENDED_TIMELINES:
            self._ended.popitem(last=False)

    def _bucket(self, now_ms: int) -> Bucket:
        began = now_ms - now_ms % (BUCKET_SECONDS * 1000)
        if not self._buckets or self._buckets[-1].began < began:
            self._buckets.append(Bucket(began))
        return self._buckets[-1]

    def _sample(self, bucket: Bucket, duration: float) -> None:
        if len(bucket.durations) < _SAMPLES:
            bucket.durations.append(duration)
            return
        place = int(self._rng.random() * (bucket.completed + bucket.failed))
        if place < _SAMPLES:
            bucket.durations[place] = duration
