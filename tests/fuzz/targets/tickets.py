"""A record of the tickets topic, from its bytes to the decision on it. Input: header lines, a blank line, the value."""

import re

import orjson

from tests.fuzz.harness import Target, assert_readable, split_head
from worker_agents.dispatch.admission import AdmissionPolicy, Admit, AlreadyDone, Refuse, admit, check_dependencies
from worker_agents.dispatch.journal import Answer
from worker_agents.kafka.results import ResultFormat
from worker_agents.model.errors import Reason
from worker_agents.model.result import Finished, Status
from worker_agents.model.state import Done
from worker_agents.model.ticket import KNOWN_TASK_TYPES, MAX_TICKET_ID_LENGTH, Envelope, Ticket
from worker_agents.telemetry.tracing import TraceContext

_NOW = 1_767_225_600_000
_POLICY = AdmissionPolicy(KNOWN_TASK_TYPES, retention_ms=7 * 86_400_000)
_RESULTS = ResultFormat("results", 6, "w-1", max_bytes=64 * 1024, emit=lambda _: None)
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]")
# A value that stands in the corpus wherever a secret could: messages name fields and never repeat values.
SECRET = "s3cret"


def check(content: bytes) -> None:
    """Decided without an error, the same every time; a refusal names its field; each replay of a ticket runs once."""
    headers, value = split_head(content)
    envelope = Envelope(7, value, headers=tuple(headers), timestamp=_NOW)
    decision = admit(envelope, lambda _: None, (), _POLICY, _NOW)
    assert decision == admit(envelope, lambda _: None, (), _POLICY, _NOW)
    trace = _sound_trace(headers)
    match decision:
        case Admit(ticket=ticket, replays=replays):
            _sound_ticket(ticket)
            check_dependencies(ticket, lambda _: None)
            _answered(ticket.ticket_id, ticket.task_type, ticket, "fine", trace)
            done = Done(Status.COMPLETED, 1, _NOW, replays)
            assert admit(envelope, lambda _: done, (), _POLICY, _NOW) == AlreadyDone(ticket.ticket_id)
        case Refuse() as refusal:
            _sound_refusal(refusal)
            if refusal.ticket_id is not None:
                _usable_id(refusal.ticket_id)
                _answered(refusal.ticket_id, refusal.task_type, refusal.ticket, refusal.message, trace)


def _sound_ticket(ticket: Ticket) -> None:
    _usable_id(ticket.ticket_id)
    assert ticket.task_type in KNOWN_TASK_TYPES
    assert ticket.status == "PENDING"
    # Whoever is sent the parameters must be able to get them.
    assert orjson.loads(orjson.dumps({"parameters": ticket.parameters})) == {"parameters": ticket.parameters}


def _usable_id(ticket_id: str) -> None:
    assert 0 < len(ticket_id) <= MAX_TICKET_ID_LENGTH
    assert not ticket_id.startswith("@")
    assert ticket_id.isprintable()


def _sound_refusal(refusal: Refuse) -> None:
    assert_readable(refusal.message)
    if refusal.reason in (Reason.INVALID_TICKET, Reason.UNDECODABLE):
        assert SECRET not in refusal.message
    if refusal.reason is Reason.INVALID_TICKET:
        fields = refusal.message.split(": ")[0].split(".")
        assert fields[0] in Ticket.model_fields, refusal.message
    if refusal.reason is Reason.UNDECODABLE:
        assert refusal.ticket_id is None


def _answered(ticket_id: str, task_type: str, ticket: Ticket | None, message: str, trace: TraceContext) -> None:
    """There is a result for it, which fits."""
    failed = Finished.failed(Reason.INTERNAL, message)
    answer = Answer(ticket_id, task_type, failed, 1, 5, ticket, trace.traceparent)
    record = _RESULTS.record(answer, 3, _NOW)
    assert record.value is not None
    assert len(record.value) <= _RESULTS.max_bytes
    assert orjson.loads(record.value)["ticket_id"] == ticket_id


def _sound_trace(headers: list[tuple[str, bytes]]) -> TraceContext:
    """A trace that everybody can read, whatever the headers say."""
    trace = TraceContext.from_headers(headers)
    assert _TRACEPARENT.fullmatch(trace.traceparent)
    assert TraceContext.parse(trace.traceparent, trace.tracestate) == trace
    assert all(value.isascii() and value.isprintable() for value in trace.headers().values())
    return trace


TARGET = Target(
    "tickets",
    check,
    tokens=(
        *(b'"%s":' % name.encode() for name in Ticket.model_fields),
        *(b'"deadline":', b'"timeout_ms":', b'"max_retries":', b'"delivery_mode":', b'"PENDING"', b'"at-most-once"'),
        *(b"traceparent: 00-", b"tracestate: a=b\n", b"worker-agents.replay: 0-17\n", b"\n\n", b"@", b"ff-", b"0" * 32),
    ),
)
