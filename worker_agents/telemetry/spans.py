"""OpenTelemetry spans out of events: one for each ticket, and below it its waits, attempts, calls and its result.

    process execution.tickets           a child of the span that sent the ticket
      queue wait, retry wait            with what it waited for as events
      attempt                           with its polls as events
        code_forge pipeline             a call
      send execution.results            the result's header names this one

A span is made when it is over: what it tells stands in the event that says so, and its id, which calls and results have
passed on before, in the event's :class:`TraceContext`. So nothing is kept of a ticket but what its open attempt polled and
what it waited for, and a ticket that is not sampled costs nothing here.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import field
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, Sampler
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

import worker_agents
from worker_agents.model.errors import Reason
from worker_agents.model.result import Status
from worker_agents.model.structs import struct
from worker_agents.telemetry import events, semconv
from worker_agents.telemetry.tracing import Headers, TraceContext, current_span

_Attributes = dict[str, str | int | float | bool]


@struct
class Places:
    """What the spans of messages name."""

    tickets_topic: str
    results_topic: str
    group: str
    client_id: str


class TraceSampler:
    """Decides once for each ticket whether its spans are recorded; ``traceparent`` passes the decision on."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def begin(self, headers: Headers) -> TraceContext:
        """A ``tracing.BeginTrace``."""
        sender = TraceContext.of_sender(headers)
        base = sender or TraceContext.new()
        parent = None if sender is None else _inside(sender, sender.span_id, is_remote=True)
        result = self._sampler.should_sample(parent, int(base.trace_id, 16), semconv.PROCESS, SpanKind.CONSUMER)
        decided = base.sampled(here=result.decision is Decision.RECORD_AND_SAMPLE)
        return decided.child() if sender is not None and decided.recorded else decided


@struct
class _Moment:
    """A span event to be: small, as an attempt of hours has many."""

    at: int
    name: str
    values: tuple[str | float, ...]


_NAMES_OF_VALUES = {
    semconv.POLL: (semconv.INTEGRATION, semconv.OPERATION, semconv.OUTCOME, semconv.DURATION),
    semconv.WAITING: (semconv.REASON, semconv.DELAY),
    semconv.RETRY_SCHEDULED: (semconv.REASON, semconv.DELAY),
    semconv.FALLBACK: (semconv.INTEGRATION, semconv.REASON),
    semconv.EXCEPTION: (semconv.EXCEPTION_MESSAGE, semconv.EXCEPTION_STACKTRACE),
}


@struct
class _Attempt:
    """An attempt that runs since ``began`` (epoch ns). ``moments`` are its latest."""

    moments: deque[_Moment]
    started: events.AttemptStarted
    began: int
    polls: list[int] = field(default_factory=lambda: [0])


class _PresetIds(IdGenerator):
    """Hands out the ids of the span that is being made."""

    def __init__(self, trace: TraceContext) -> None:
        self.trace = trace

    def generate_span_id(self) -> int:
        return int(self.trace.span_id, 16)

    def generate_trace_id(self) -> int:
        return int(self.trace.trace_id, 16)


class SpanSubscriber:
    """Makes a span of every event that ends something, and gives it to ``processor``. Lives in one thread.

    ``mask`` keeps secrets out of the texts of errors; ``now`` is nanoseconds since the epoch.
    """

    def __init__(
        self,
        places: Places,
        processor: SpanProcessor,
        resource: Resource,
        *,
        mask: Callable[[str], str],
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._places = places
        self._mask = mask
        self._now = now
        self._ids = _PresetIds(TraceContext.new())
        # The decision was made when the ticket came.
        provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=self._ids)
        provider.add_span_processor(processor)
        self._tracer = provider.get_tracer("worker_agents", worker_agents.__version__, semconv.SCHEMA_URL)
        self._most_moments = SpanLimits().max_events or None
        self._attempts: dict[str, _Attempt] = {}
        self._waits: dict[str, list[_Moment]] = {}
        self._first_waits: dict[str, int] = {}
        self._handlers: dict[type[events.Event], Callable[[Any, TraceContext], None]] = {
            events.AttemptStarted: self._attempt_started,
            events.AttemptEnded: self._attempt_ended,
            events.ExternalCall: self._external_call,
            events.TicketSettled: self._ticket_settled,
            events.TicketReleased: self._ticket_left,
            events.TicketPutBack: self._ticket_left,
            events.TicketWaiting: self._ticket_waiting,
            events.RetryScheduled: self._retry_scheduled,
            events.FallbackUsed: self._fallback_used,
            events.ExecutorCrashed: self._executor_crashed,
        }

    def __call__(self, event: events.Event) -> None:
        handler = self._handlers.get(type(event))
        if handler is None:
            return
        # Executors tell of what they do without saying where.
        trace = getattr(event, "trace", None) or current_span()
        if trace is not None and trace.recorded:
            handler(event, trace)

    # --- attempts ------------------------------------------------------------------------------------------------

    def _attempt_started(self, event: events.AttemptStarted, trace: TraceContext) -> None:
        waits = self._waits.pop(trace.parent_span_id, [])
        retried = any(moment.name == semconv.RETRY_SCHEDULED for moment in waits)
        name = semconv.RETRY_WAIT if retried else semconv.QUEUE_WAIT
        begins = self._ago(event.waited)
        self._first_waits.setdefault(trace.parent_span_id, begins)
        self._add(name, trace.sibling(), begins, _about(event), moments=waits)
        self._attempts[trace.span_id] = _Attempt(deque(maxlen=self._most_moments), event, self._now())

    def _attempt_ended(self, event: events.AttemptEnded, trace: TraceContext) -> None:
        attempt = self._attempts.pop(trace.span_id, None)
        attributes = _about(event) | {semconv.ATTEMPT_NUMBER: event.attempt, semconv.OUTCOME: event.outcome}
        moments: Iterable[_Moment] = ()
        begins = self._ago(event.duration)
        if attempt is not None:
            # Reckoned back from now it would begin after its first call, where the event loop is late.
            begins = attempt.began
            attributes |= {
                semconv.DELIVERY: attempt.started.delivery,
                semconv.RESUMED: attempt.started.resumed,
                semconv.POLLS: attempt.polls[0],
            }
            moments = attempt.moments
        self._add(semconv.ATTEMPT, trace, begins, attributes, moments=moments, error=_error(event.reason))

    def _external_call(self, event: events.ExternalCall, trace: TraceContext) -> None:
        if event.polls:
            if (attempt := self._attempts.get(trace.span_id)) is not None:
                attempt.polls[0] += 1
                values = (event.integration, event.operation, event.outcome, event.duration)
                attempt.moments.append(_Moment(self._now(), semconv.POLL, values))
            return
        attributes: _Attributes = {
            semconv.PEER_SERVICE: event.integration,
            semconv.INTEGRATION: event.integration,
            semconv.OPERATION: event.operation,
            semconv.OUTCOME: event.outcome,
        }
        error = "" if event.outcome == "ok" else event.outcome
        name = f"{event.integration} {event.operation}"
        self._add(name, trace, self._ago(event.duration), attributes, kind=SpanKind.CLIENT, error=error)

    def _fallback_used(self, event: events.FallbackUsed, trace: TraceContext) -> None:
        self._note(trace, semconv.FALLBACK, (event.integration, event.reason))

    def _executor_crashed(self, event: events.ExecutorCrashed, trace: TraceContext) -> None:
        self._note(trace, semconv.EXCEPTION, (self._mask(event.error), self._mask(event.traceback)))

    def _note(self, trace: TraceContext, name: str, values: tuple[str | float, ...]) -> None:
        if (attempt := self._attempts.get(trace.span_id)) is not None:
            attempt.moments.append(_Moment(self._now(), name, values))

    # --- waits ---------------------------------------------------------------------------------------------------

    def _ticket_waiting(self, event: events.TicketWaiting, trace: TraceContext) -> None:
        self._waits_of(trace).append(_Moment(self._now(), semconv.WAITING, (event.reason, event.delay)))

    def _retry_scheduled(self, event: events.RetryScheduled, trace: TraceContext) -> None:
        self._waits_of(trace).append(_Moment(self._now(), semconv.RETRY_SCHEDULED, (event.reason, event.delay)))

    def _waits_of(self, trace: TraceContext) -> list[_Moment]:
        return self._waits.setdefault(trace.span_id, [])

    # --- tickets -------------------------------------------------------------------------------------------------

    def _ticket_settled(self, event: events.TicketSettled, trace: TraceContext) -> None:
        passage, error = event.passage, _error(event.reason)
        if passage is None:
            return
        if passage.answer is not None:
            self._add_send(event, passage, passage.answer)
        outcome: _Attributes = {
            semconv.STATUS: event.status,
            semconv.SIMULATED: event.simulated,
            semconv.ATTEMPTS: event.attempts,
        }
        if event.status == Status.FAILED:
            outcome[semconv.REASON] = event.reason
        self._add_process(event, passage, trace, outcome, error)

    def _ticket_left(self, event: events.TicketReleased | events.TicketPutBack, trace: TraceContext) -> None:
        if event.passage is not None:
            left: _Attributes = {semconv.OUTCOME: "released", semconv.REASON: event.why}
            self._add_process(event, event.passage, trace, left, error="")

    def _add_process(
        self,
        event: events.TicketEvent,
        passage: events.Passage,
        trace: TraceContext,
        outcome: _Attributes,
        error: str,
    ) -> None:
        moments = self._waits.pop(trace.span_id, [])
        attributes = _about(event) | outcome | self._message(semconv.PROCESS, self._places.tickets_topic)
        attributes |= {
            semconv.MESSAGING_OPERATION_TYPE: semconv.PROCESS,
            semconv.MESSAGING_DESTINATION_PARTITION_ID: passage.partition,
            semconv.MESSAGING_CONSUMER_GROUP_NAME: self._places.group,
            semconv.MESSAGING_KAFKA_OFFSET: passage.offset,
            semconv.MESSAGING_MESSAGE_ID: event.ticket_id,
        }
        if passage.conversation_id:
            attributes[semconv.MESSAGING_MESSAGE_CONVERSATION_ID] = passage.conversation_id
        name = semconv.span_name(semconv.PROCESS, self._places.tickets_topic)
        begins = self._ago(passage.age)
        begins = min(begins, self._first_waits.pop(trace.span_id, begins))
        self._add(name, trace, begins, attributes, kind=SpanKind.CONSUMER, moments=moments, error=error)

    def _add_send(self, event: events.TicketSettled, passage: events.Passage, answer: TraceContext) -> None:
        attributes = _about(event) | self._message(semconv.SEND, self._places.results_topic)
        attributes |= {semconv.MESSAGING_OPERATION_TYPE: semconv.SEND, semconv.STATUS: event.status}
        name = semconv.span_name(semconv.SEND, self._places.results_topic)
        self._add(name, answer, self._ago(passage.publishing), attributes, kind=SpanKind.PRODUCER)

    def _message(self, operation: str, topic: str) -> _Attributes:
        return {
            semconv.MESSAGING_SYSTEM: semconv.KAFKA,
            semconv.MESSAGING_OPERATION_NAME: operation,
            semconv.MESSAGING_DESTINATION_NAME: topic,
            semconv.MESSAGING_CLIENT_ID: self._places.client_id,
        }

    # --- making spans --------------------------------------------------------------------------------------------

    def _add(
        self,
        name: str,
        trace: TraceContext,
        begins: int,
        attributes: _Attributes,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        moments: Iterable[_Moment] = (),
        error: str = "",
    ) -> None:
        """Make a span that ends now."""
        self._ids.trace = trace
        parent = _inside(trace, trace.parent_span_id, is_remote=kind is SpanKind.CONSUMER)
        span = self._tracer.start_span(name, parent, kind, attributes, start_time=begins)
        for moment in moments:
            named = dict(zip(_NAMES_OF_VALUES[moment.name], moment.values, strict=True))
            span.add_event(moment.name, named, moment.at)
        if error:
            span.set_attribute(semconv.ERROR_TYPE, error)
            span.set_status(StatusCode.ERROR)
        span.end(self._now())

    def _ago(self, seconds: float) -> int:
        return self._now() - max(int(seconds * 1e9), 0)


def _inside(trace: TraceContext, span_id: str, *, is_remote: bool) -> Context:
    """What a span of this trace stands in; without ``span_id`` it is the first one."""
    if not span_id:
        return Context()
    parent = SpanContext(
        int(trace.trace_id, 16),
        int(span_id, 16),
        is_remote,
        TraceFlags(trace.flags),
        TraceState.from_header([trace.tracestate]) if trace.tracestate else None,
    )
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _about(event: events.TicketEvent) -> _Attributes:
    return {semconv.TICKET_ID: event.ticket_id, semconv.TASK_TYPE: event.task_type}


def _error(reason: str) -> str:
    """A negative verdict is an answer, not an error."""
    return "" if reason == Reason.VERDICT_FAILED else str(reason)
