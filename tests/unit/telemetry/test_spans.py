"""The spans of a ticket: one tree, whose ids are those that calls and results pass on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import SpanKind

from tests.unit.dispatch.fakes import DENIED, DONE, FakeClock, FakeJournal, World, record
from worker_agents.dispatch.config import DispatchConfig
from worker_agents.engine.context import AttemptContext
from worker_agents.model.errors import TaskError
from worker_agents.model.state import TicketState
from worker_agents.model.ticket import Envelope
from worker_agents.telemetry import semconv
from worker_agents.telemetry.events import ExternalCall, FallbackUsed, TicketSettled
from worker_agents.telemetry.spans import Places, SpanSubscriber, TraceSampler
from worker_agents.telemetry.tracing import current_work

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENDER = "00f067aa0ba902b7"
PLACES = Places("execution.tickets", "execution.results", "g", "w-1")
PROCESS, SEND = "process execution.tickets", "send execution.results"
OURS = {value for name, value in vars(semconv).items() if name.isupper()}


def sent(offset: int = 0, ticket_id: str = "t", **fields: Any) -> Envelope:
    """A record whose producer began a trace."""
    envelope = record(offset, ticket_id, correlation_id="c-1", **fields)
    envelope.headers = (("traceparent", f"00-{TRACE}-{SENDER}-01".encode()),)  # type: ignore[misc] # frozen in types only
    return envelope


class Traced(World):
    """A world whose spans are kept."""

    def __init__(self, sampler: Sampler = ALWAYS_ON, **more: Any) -> None:
        super().__init__(begin_trace=TraceSampler(sampler).begin, **more)
        self.exporter = InMemorySpanExporter()
        self.subscriber = SpanSubscriber(
            PLACES,
            SimpleSpanProcessor(self.exporter),
            Resource({}),
            mask=lambda text: text.replace("s3cr3t", "********"),
            now=self._now,
        )
        self.late_by_ms = 0
        self._looks = 0
        self.bus.subscribe(self.subscriber)

    def _now(self) -> int:
        """Nanoseconds; each look at the clock is late by some more."""
        self._looks += 1
        return (self.clock.now_ms() + self._looks * self.late_by_ms) * 1_000_000

    def context(self, ticket_id: str = "t") -> AttemptContext:
        context = self.run(ticket_id).context
        assert isinstance(context, AttemptContext)
        return context

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.spans(name)
        return span

    def names(self) -> list[str]:
        return [span.name for span in self.exporter.get_finished_spans()]

    def assert_forgotten(self) -> None:
        assert not self.subscriber._attempts
        assert not self.subscriber._waits
        assert not self.subscriber._first_waits


def ids(span: ReadableSpan) -> tuple[str, str, str]:
    """Trace, span and parent, as in headers."""
    assert span.context is not None
    parent = f"{span.parent.span_id:016x}" if span.parent else ""
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", parent


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def passed_on(traceparent: str) -> tuple[str, str]:
    _, trace_id, span_id, flags = traceparent.split("-")
    assert flags == "01"
    return trace_id, span_id


async def test_a_ticket_is_one_tree_below_the_span_that_sent_it() -> None:
    world = Traced()
    await world.accept(sent(17))
    await world.advance(2.0)
    header = world.context().start_remote("pipeline")["traceparent"]
    await world.finish("t")

    assert world.names() == ["queue wait", "attempt", SEND, PROCESS]
    process, attempt, send = world.one(PROCESS), world.one("attempt"), world.one(SEND)
    (answer,) = world.journal.answers
    assert ids(process)[::2] == (TRACE, SENDER)
    assert process.parent is not None
    assert process.parent.is_remote
    assert {ids(span)[2] for span in (attempt, send, world.one("queue wait"))} == {ids(process)[1]}
    assert passed_on(header) == ids(attempt)[:2]
    assert passed_on(answer.traceparent) == ids(send)[:2]
    assert seconds(process) == seconds(attempt) == 2.0
    assert (process.kind, send.kind) == (SpanKind.CONSUMER, SpanKind.PRODUCER)
    world.assert_forgotten()


async def test_the_span_of_a_ticket_says_what_the_conventions_ask_for() -> None:
    world = Traced()
    await world.accept(sent(17))
    await world.finish("t")

    assert world.one(PROCESS).attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "execution.tickets",
        "messaging.destination.partition.id": "0",
        "messaging.consumer.group.name": "g",
        "messaging.client.id": "w-1",
        "messaging.kafka.offset": 17,
        "messaging.message.id": "t",
        "messaging.message.conversation_id": "c-1",
        "worker_agents.ticket.id": "t",
        "worker_agents.task_type": "EXECUTE",
        "worker_agents.status": "COMPLETED",
        "worker_agents.simulated": False,
        "worker_agents.attempts": 1,
    }
    for span in world.exporter.get_finished_spans():
        assert set(span.attributes or {}) <= OURS
        assert {key for event in span.events for key in event.attributes or {}} <= OURS


async def test_a_ticket_without_a_trace_begins_one() -> None:
    world = Traced()
    await world.accept(record(0, "t"))
    await world.finish("t")

    process = world.one(PROCESS)
    assert process.parent is None
    assert passed_on(world.journal.answers[0].traceparent)[0] == ids(process)[0]
    assert len({ids(span)[0] for span in world.exporter.get_finished_spans()}) == 1


async def test_every_attempt_and_the_wait_for_it_is_a_span() -> None:
    world = Traced()
    await world.accept(sent())
    await world.finish("t", TaskError("odd", retryable=True, retry_after=5.0))
    await world.advance(5.0)
    await world.finish("t")

    assert world.names() == ["queue wait", "attempt", "retry wait", "attempt", SEND, PROCESS]
    failed, succeeded = world.spans("attempt")
    assert not failed.status.is_ok
    assert failed.attributes is not None
    assert (failed.attributes["worker_agents.outcome"], failed.attributes["error.type"]) == ("retry", "internal")
    assert succeeded.status.is_unset
    wait = world.one("retry wait")
    assert seconds(wait) == 5.0
    assert [event.name for event in wait.events] == ["retry scheduled", "waiting"]
    assert world.one(PROCESS).attributes["worker_agents.attempts"] == 2  # type: ignore[index]
    world.assert_forgotten()


async def test_a_dependency_is_waited_for_in_the_queue() -> None:
    world = Traced()
    await world.accept(sent(0, "t", dependencies=["d"]))
    await world.advance(3.0)
    await world.accept(record(1, "d"))
    await world.finish("d")
    await world.finish("t")

    wait = next(span for span in world.spans("queue wait") if ids(span)[0] == TRACE)
    assert seconds(wait) == 3.0
    assert [(event.name, dict(event.attributes or {})["worker_agents.reason"]) for event in wait.events] == [
        ("waiting", "dependency")
    ]
    world.assert_forgotten()


async def test_polls_are_events_of_the_attempt_and_calls_are_spans() -> None:
    world = Traced()
    await world.accept(sent())
    attempt = world.context().span
    call = attempt.child()
    world.bus.emit(ExternalCall("code_forge", "pipeline", "ok", 0.2, trace=call))
    for _ in range(1_000):
        world.bus.emit(ExternalCall("code_forge", "pipeline_status", "ok", 0.1, polls=True, trace=attempt))
    await world.finish("t")

    assert len(world.names()) == 5
    span = world.one("code_forge pipeline")
    assert ids(span) == (TRACE, call.span_id, attempt.span_id)
    assert span.kind is SpanKind.CLIENT
    done = world.one("attempt")
    assert len(done.events) == SpanLimits().max_events == 128
    assert {event.name for event in done.events} == {"poll"}
    assert done.attributes is not None
    assert done.attributes["worker_agents.polls"] == 1_000


async def test_a_span_lies_within_its_parent_also_where_the_worker_is_late_to_tell() -> None:
    world = Traced()
    world.late_by_ms = 5
    await world.accept(sent())
    await world.advance(1.0)
    world.bus.emit(ExternalCall("code_forge", "pipeline", "ok", 1.0, trace=world.context().span.child()))
    await world.finish("t")

    process, wait, attempt, call = map(world.one, (PROCESS, "queue wait", "attempt", "code_forge pipeline"))
    begins = [span.start_time or 0 for span in (process, wait, attempt, call)]
    assert begins == sorted(begins)
    ends = [span.end_time or 0 for span in (call, attempt, process)]
    assert ends == sorted(ends)


async def test_a_call_that_failed_is_an_error() -> None:
    world = Traced()
    await world.accept(sent())
    world.bus.emit(ExternalCall("opa", "decide", "timeout", 0.2, trace=world.context().span.child()))

    span = world.one("opa decide")
    assert not span.status.is_ok
    assert span.attributes is not None
    assert span.attributes["error.type"] == "timeout"


async def test_a_fallback_is_seen_on_the_attempt() -> None:
    world = Traced()
    await world.accept(sent())
    used = FallbackUsed("t", "EXECUTE", "opa", "timeout", "late", "validation_opa_error", trace=world.context().span)
    world.bus.emit(used)
    await world.finish("t")

    assert [event.name for event in world.one("attempt").events] == ["fallback"]


async def test_a_crash_is_told_without_secrets() -> None:
    world = Traced()
    await world.accept(sent())
    await world.finish("t", ValueError("token s3cr3t refused"))

    (event,) = world.one("attempt").events
    assert event.name == "exception"
    assert event.attributes is not None
    assert event.attributes["exception.message"] == "ValueError('token ******** refused')"
    assert "s3cr3t" not in str(event.attributes)


async def test_a_failure_is_an_error_and_a_verdict_is_none() -> None:
    world = Traced()
    await world.accept(sent(0, "late"), sent(1, "denied"))
    await world.finish("late", TaskError("no", retryable=False))
    await world.finish("denied", DENIED)

    late, denied = world.spans(PROCESS)
    assert late.attributes is not None
    assert denied.attributes is not None
    assert (late.status.is_unset, late.attributes["error.type"]) == (False, "internal")
    assert (denied.status.is_unset, denied.attributes["worker_agents.reason"]) == (True, "verdict_failed")


async def test_a_ticket_that_never_runs_has_spans_too() -> None:
    world = Traced()
    await world.accept(sent(0, "t", task_type="NOBODY"))

    assert world.names() == [SEND, PROCESS]
    assert world.one(PROCESS).attributes["error.type"] == "unknown_task_type"  # type: ignore[index]


async def test_what_is_handed_over_ends_here() -> None:
    world = Traced()
    await world.accept(sent(0, "runs"), sent(1, "waits"))
    await world.finish("waits", TaskError("odd", retryable=True, retry_after=60.0))
    await world.lane.stop("shutdown")

    assert sorted(world.names()) == sorted([*["queue wait", "attempt"] * 2, *[PROCESS] * 2])
    for process in world.spans(PROCESS):
        assert process.attributes is not None
        assert process.attributes["worker_agents.outcome"] == "released"
        assert process.attributes["worker_agents.reason"] == "shutdown"
    tops = {ids(process)[1] for process in world.spans(PROCESS)}
    assert {ids(span)[2] for span in (*world.spans("attempt"), *world.spans("queue wait"))} == tops
    world.assert_forgotten()


@pytest.mark.parametrize("envelope", [sent(), record(0, "t")], ids=["with a sender", "without"])
async def test_a_ticket_that_is_not_sampled_has_no_span_and_says_so_to_others(envelope: Envelope) -> None:
    world = Traced(ALWAYS_OFF)
    await world.accept(envelope)
    header = world.context().start_remote("pipeline")["traceparent"]
    await world.finish("t", DONE)

    assert world.names() == []
    assert header.endswith("-00")
    assert world.journal.answers[0].traceparent.endswith("-00")
    (settled,) = [event for event in world.events if isinstance(event, TicketSettled)]
    assert settled.passage is None


async def test_without_tracing_the_sender_s_span_is_passed_on() -> None:
    world = World()
    await world.accept(sent())
    header = world.run("t").context.start_remote("pipeline")["traceparent"]
    await world.finish("t")

    assert header == f"00-{TRACE}-{SENDER}-01"
    assert passed_on(world.journal.answers[0].traceparent)[0] == TRACE
    assert not any(getattr(event, "passage", None) for event in world.events)


class WatchedJournal(FakeJournal):
    """Notes in whose task each ticket's state was written."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.written: list[tuple[str, str]] = []

    def record(self, ticket_id: str, state: TicketState, running: object = None) -> asyncio.Future[None]:
        work = current_work()
        self.written.append((ticket_id, work.ticket_id if work is not None else ""))
        return super().record(ticket_id, state, running)


async def test_a_ticket_that_another_one_s_end_starts_is_not_taken_for_that_one() -> None:
    clock = FakeClock()
    journal = WatchedJournal(clock)
    world = World(DispatchConfig(max_concurrent=1), journal=journal, clock=clock)
    await world.accept(*(record(number, f"t-{number}") for number in range(20)))
    for number in range(20):
        await world.finish(f"t-{number}")

    assert journal.written == [(ticket_id, ticket_id) for ticket_id, _ in journal.written]
    assert len(journal.written) == 20
