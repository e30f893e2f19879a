"""Tickets as producers really send them, and everything else that may be in a record."""

from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from worker_agents.model.errors import InvalidTicket, TicketRejected, Undecodable
from worker_agents.model.ticket import (
    MAX_DEPENDENCIES,
    MAX_EPOCH_MS,
    MAX_TICKET_ID_LENGTH,
    DeliveryMode,
    Envelope,
    Priority,
    Ticket,
    describe_problems,
    read_ticket,
)

MIB = 1024 * 1024


def read(**fields: Any) -> Ticket:
    return read_ticket(orjson.dumps({"ticket_id": "t", "task_type": "EXECUTE", **fields}))


def problem(**fields: Any) -> str:
    with pytest.raises(InvalidTicket) as caught:
        read(**fields)
    return str(caught.value)


# --- what producers send (contracts 1.5) -------------------------------------------------------------------------


def test_two_fields_make_a_ticket_and_the_rest_has_defaults() -> None:
    ticket = read()
    assert (ticket.ticket_id, ticket.task_type, ticket.status) == ("t", "EXECUTE", "PENDING")
    assert (ticket.plan_id, ticket.intent_id, ticket.correlation_id, ticket.dependencies) == ("", "", "", ())
    assert (ticket.priority, ticket.parameters, ticket.metadata) == (Priority.NORMAL, {}, {})
    assert (ticket.sla.deadline, ticket.sla.timeout_ms, ticket.sla.max_retries) == (None, None, None)
    assert not ticket.is_at_most_once


def test_the_orchestrators_ticket_is_read() -> None:
    ticket = read(
        plan_id="plan-1",
        intent_id="intent-1",
        decision_id=None,
        correlation_id=None,
        trace_id=None,
        span_id=None,
        task_id="task-1",
        description="build it",
        dependencies=["a", "b"],
        status="PENDING",
        priority="HIGH",
        risk_band="high",
        sla={"deadline": 1_767_225_600_000, "timeout_ms": 60_000, "max_retries": 3},
        qos={"delivery_mode": "EXACTLY_ONCE", "consistency": "STRONG", "durability": "PERSISTENT"},
        parameters={"n": 600, "flag": True, "nested": {"list": [1, None]}},
        required_capabilities=["python"],
        security_level="INTERNAL",
        created_at=1_767_225_500_000,
        started_at=None,
        retry_count=0,
        error_message=None,
        metadata={"workflow_id": "w", "policy_decisions": "{}"},
        schema_version=1,
        predictions={"duration": 7},
        allocation_metadata={"agent_id": "a", "priority_score": 0.5, "predicted_load_pct": None},
        rejection_metadata=None,
        original_ticket_id="o",
    )
    assert ticket.decision_id == ticket.correlation_id == ""
    assert ticket.parameters == {"n": 600, "flag": True, "nested": {"list": [1, None]}}
    assert ticket.qos.delivery_mode is DeliveryMode.EXACTLY_ONCE
    assert ticket.dependencies == ("a", "b")


def test_a_compensation_ticket_is_read() -> None:
    ticket = read(
        task_id="compensate-12345678",
        task_type="COMPENSATE",
        parameters={"action": "undo", "reason": "r", "original_ticket_id": "o"},
        sla={"timeout_ms": 120_000, "deadline": None},
    )
    assert ticket.sla.timeout_ms == 120_000
    assert ticket.sla.max_retries is None


def test_parameters_over_avro_are_strings() -> None:
    assert read(parameters={"timeout_seconds": "600"}).parameters == {"timeout_seconds": "600"}


@pytest.mark.parametrize("task_type", ["query", "transform", "validate", "analyze", "generate", "review", "Execute"])
def test_task_types_come_in_any_case(task_type: str) -> None:
    assert read(task_type=task_type).task_type == task_type.upper()


@pytest.mark.parametrize(
    ("sent", "priority"),
    [
        *((number, Priority.LOW) for number in (1, 2)),
        *((number, Priority.NORMAL) for number in (3, 4, 5)),
        *((number, Priority.HIGH) for number in (6, 7, 8)),
        *((number, Priority.CRITICAL) for number in (9, 10)),
        ("low", Priority.LOW),
        ("Critical", Priority.CRITICAL),
        ("7", Priority.HIGH),
        (None, Priority.NORMAL),
    ],
)
def test_priorities_are_names_or_a_scale(sent: object, priority: Priority) -> None:
    assert read(priority=sent).priority is priority


@pytest.mark.parametrize("sent", [0, 11, -1, True, 5.5, "urgent", "", [], {}, 10**30, "9" * 5_000])
def test_other_priorities_are_refused(sent: object) -> None:
    value = orjson.dumps({"ticket_id": "t", "task_type": "EXECUTE", "priority": "@"})
    with pytest.raises(InvalidTicket) as caught:
        read_ticket(value.replace(b'"@"', str(sent).encode() if sent == 10**30 else orjson.dumps(sent)))
    assert "priority" in str(caught.value)


@pytest.mark.parametrize("sent", ["AT_MOST_ONCE", "at-most-once", "at_most_once", "At-Most-Once"])
def test_delivery_modes_come_in_any_spelling(sent: str) -> None:
    assert read(qos={"delivery_mode": sent}).is_at_most_once


@pytest.mark.parametrize(
    "field",
    [
        "plan_id",
        "decision_id",
        "correlation_id",
        "dependencies",
        "status",
        "priority",
        "sla",
        "qos",
        "parameters",
        "metadata",
        "created_at",
    ],
)
def test_null_is_as_good_as_absent(field: str) -> None:
    assert read(**{field: None}) == read()


@pytest.mark.parametrize("block", [{"deadline": None, "timeout_ms": None, "max_retries": None}, {}, None])
def test_an_empty_sla_sets_no_limits(block: object) -> None:
    assert read(sla=block).sla == read().sla


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x00\x00\x00\x00\x01avro",
        b"\xff\xfe",
        b"{",
        b'{"a":1}{"b":2}',
        b"NaN",
        b'{"ticket_id":"t","task_type":"EXECUTE","parameters":{"n":1e400}}',
        b'{"ticket_id":"\\ud800","task_type":"EXECUTE"}',
        b'\xef\xbb\xbf{"ticket_id":"t","task_type":"EXECUTE"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_json_is_undecodable(value: bytes) -> None:
    with pytest.raises(Undecodable) as caught:
        read_ticket(value)
    assert caught.value.ticket_id is None


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"[]", "array"),
        (b'"x"', "string"),
        (b"1", "number"),
        (b"1.5", "number"),
        (b"true", "boolean"),
        (b"null", "null"),
    ],
)
def test_json_that_is_no_object_is_named(value: bytes, kind: str) -> None:
    with pytest.raises(Undecodable, match=kind):
        read_ticket(value)


@pytest.mark.parametrize("missing", ["ticket_id", "task_type"])
def test_a_missing_field_is_named(missing: str) -> None:
    document = {"ticket_id": "t", "task_type": "EXECUTE"}
    del document[missing]
    with pytest.raises(InvalidTicket, match=f"{missing}: Field required"):
        read_ticket(orjson.dumps(document))


@pytest.mark.parametrize(
    "ticket_id", ["", "@floor", "x" * (MAX_TICKET_ID_LENGTH + 1), "a\nb", "a\x00", 7, None, [], {}]
)
def test_an_id_that_cannot_serve_as_one_is_not_answered(ticket_id: object) -> None:
    with pytest.raises(InvalidTicket) as caught:
        read(ticket_id=ticket_id)
    assert caught.value.ticket_id is None
    assert "ticket_id" in str(caught.value)


@pytest.mark.parametrize("ticket_id", ["x" * MAX_TICKET_ID_LENGTH, "ünïcode 🎫", "a@b", " "])
def test_an_unusual_id_is_an_id(ticket_id: str) -> None:
    assert read(ticket_id=ticket_id).ticket_id == ticket_id


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sla", {"deadline": -1}),
        ("sla", {"deadline": MAX_EPOCH_MS + 1}),
        ("sla", {"deadline": 1e300}),
        ("sla", {"timeout_ms": 0}),
        ("sla", {"timeout_ms": -5}),
        ("sla", {"timeout_ms": 1e18}),
        ("sla", {"max_retries": -1}),
        ("sla", {"max_retries": 1.5}),
        ("sla", "tomorrow"),
        ("qos", {"delivery_mode": "perhaps"}),
        ("qos", []),
        ("dependencies", "t2"),
        ("dependencies", [""]),
        ("dependencies", [None]),
        ("dependencies", ["x" * 201]),
        ("dependencies", ["d"] * (MAX_DEPENDENCIES + 1)),
        ("parameters", []),
        ("parameters", "text"),
        ("metadata", 7),
        ("created_at", "yesterday"),
        ("created_at", 10**18),
        ("status", 7),
        ("task_type", ""),
        ("task_type", "X" * 101),
        ("task_type", None),
        ("plan_id", 7),
    ],
)
def test_an_impossible_value_is_refused_by_its_fields_name_and_answered(field: str, value: object) -> None:
    with pytest.raises(InvalidTicket) as caught:
        read(**{field: value})
    assert field in str(caught.value)
    assert caught.value.ticket_id == "t"


@pytest.mark.parametrize("number", ["9" * 40, "-" + "9" * 40, "9" * 5_000, "1e308"])
@pytest.mark.parametrize("field", ["deadline", "timeout_ms", "max_retries"])
def test_absurd_numbers_are_refused_or_bounded(field: str, number: str) -> None:
    value = b'{"ticket_id":"t","task_type":"EXECUTE","sla":{"%s":%s}}' % (field.encode(), number.encode())
    try:
        ticket = read_ticket(value)
    except TicketRejected:
        return
    assert field == "max_retries"
    assert isinstance(ticket.sla.max_retries, int)


def test_many_problems_are_told_in_brief() -> None:
    message = problem(dependencies=[None] * 500)
    assert message.endswith("and 490 more")
    assert len(message) < 2_000


class Named(BaseModel):
    values: dict[str, int]


def test_a_name_that_the_producer_chose_is_shown_in_brief_and_without_what_a_terminal_obeys() -> None:
    with pytest.raises(ValidationError) as caught:
        Named.model_validate({"values": {"\x1b[31m\n": "x", "long" * 1_000: "y", "größe": "z"}})

    message = describe_problems(caught.value)
    assert r"values.'\x1b[31m\n': " in message
    assert "values.größe: " in message
    assert message.isprintable()
    assert len(message) < 600


SECRET = "s3cret-" + "x" * 30


@pytest.mark.parametrize(
    "fields",
    [
        {"sla": {"deadline": SECRET}},
        {"sla": {"timeout_ms": SECRET}},
        {"sla": SECRET},
        {"qos": {"delivery_mode": SECRET}},
        {"priority": SECRET},
        {"dependencies": SECRET},
        {"dependencies": [{"password": SECRET}]},
        {"parameters": [SECRET]},
        {"metadata": SECRET},
        {"created_at": SECRET},
        {"plan_id": [SECRET]},
        {"status": [SECRET]},
        {"ticket_id": "@" + SECRET},
        {"task_type": SECRET * 10},
    ],
)
def test_messages_name_fields_and_do_not_echo_values(fields: dict[str, Any]) -> None:
    message = problem(**fields)
    assert next(iter(fields)) in message
    assert "s3cret" not in message


def test_a_message_about_undecodable_bytes_does_not_echo_them() -> None:
    with pytest.raises(Undecodable) as caught:
        read_ticket(b'{"password": "s3cret", oops}')
    assert "s3cret" not in str(caught.value)


def test_a_megabyte_of_parameters_is_read() -> None:
    assert len(read(parameters={"text": "x" * MIB}).parameters["text"]) == MIB


def nested(field: str, levels: int) -> bytes:
    return b'{"ticket_id":"t","task_type":"EXECUTE","%s":{"a":%s}}' % (field.encode(), b"[" * levels + b"]" * levels)


def test_parameters_that_nest_too_deep_to_be_sent_to_anyone_are_refused_and_answered() -> None:
    assert orjson.dumps({"parameters": read_ticket(nested("parameters", 199)).parameters})
    for levels in (200, 300, 900):
        with pytest.raises(InvalidTicket, match="parameters: nested deeper than 200 levels") as caught:
            read_ticket(nested("parameters", levels))
        assert caught.value.ticket_id == "t"


def test_what_nobody_is_sent_may_nest_as_deep_as_json_is_read() -> None:
    assert read_ticket(nested("metadata", 900)).metadata["a"]


# --- properties --------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
FIELDS = [*Ticket.model_fields, "predictions"]


def read_or_reject(value: bytes) -> None:
    match read_or_why_not(value):
        case Ticket() as ticket:
            assert 0 < len(ticket.ticket_id) <= MAX_TICKET_ID_LENGTH
            assert not ticket.ticket_id.startswith("@")
            assert ticket.task_type == ticket.task_type.upper()
            assert ticket.sla.deadline is None or 0 <= ticket.sla.deadline <= MAX_EPOCH_MS
        case rejected:
            assert str(rejected)
            assert rejected.ticket_id is None or 0 < len(rejected.ticket_id) <= MAX_TICKET_ID_LENGTH
            assert len(rejected.task_type) <= 100


def read_or_why_not(value: bytes) -> Ticket | TicketRejected:
    try:
        return read_ticket(value)
    except TicketRejected as rejected:
        return rejected


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_rejected_and_nothing_worse(value: bytes) -> None:
    with pytest.raises(TicketRejected):
        read_ticket(value)


@given(JSON)
def test_arbitrary_json_is_rejected_and_nothing_worse(document: object) -> None:
    read_or_reject(orjson.dumps(document))


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)))
def test_arbitrary_fields_are_read_or_rejected(fields: dict[str, Any]) -> None:
    read_or_reject(orjson.dumps({"ticket_id": "t", "task_type": "EXECUTE"} | fields))


@given(st.sampled_from(FIELDS), JSON)
@example("task_type", "ß" * 60)
@example("status", "ŉ")
def test_one_wrong_field_is_read_or_rejected(field: str, value: object) -> None:
    read_or_reject(orjson.dumps({"ticket_id": "t", "task_type": "EXECUTE"} | {field: value}))


# --- records -----------------------------------------------------------------------------------------------------


def test_headers_are_found_in_any_case_and_the_first_counts() -> None:
    headers = (("TraceParent", b"1"), ("traceparent", b"2"), ("bad", b"\xff"), ("null", None))
    envelope = Envelope(0, b"", headers=headers)  # type: ignore[arg-type] # Kafka allows null
    assert envelope.header("traceparent") == "1"
    assert envelope.header("bad") is None
    assert envelope.header("null") is None
    assert envelope.header("absent") is None
