"""Results as records: their shape, and that they always fit."""

import datetime as dt
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_agents.dispatch.journal import Answer
from worker_agents.kafka.codec import OutRecord
from worker_agents.kafka.results import ResultFormat
from worker_agents.model.errors import Reason
from worker_agents.model.result import Finished, Status, TaskResult
from worker_agents.model.ticket import Ticket, read_ticket
from worker_agents.telemetry.events import Event, ResultTrimmed

NOW_MS = 1_767_225_600_000
SMALLEST = 16 * 1024
"""The least that RESULT_MAX_BYTES may be."""

EVENTS: list[Event] = []


def written(answer: Answer, max_bytes: int = 900 * 1024) -> OutRecord:
    EVENTS.clear()
    results = ResultFormat(topic="results", partitions=6, worker_id="worker-1", max_bytes=max_bytes, emit=EVENTS.append)
    return results.record(answer, 8, NOW_MS)


def body(record: OutRecord) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(record.value or b"")
    return document


def ticket(**fields: Any) -> Ticket:
    return read_ticket(orjson.dumps({"ticket_id": "t", "task_type": "EXECUTE", **fields}))


def answer(result: TaskResult, **fields: Any) -> Answer:
    return Answer("t", "EXECUTE", Finished.of(result), 2, 1_500, **({"ticket": ticket()} | fields))


def test_a_result_says_everything_that_readers_look_for() -> None:
    result = TaskResult(success=True, output={"pipeline_id": "p"}, metadata={"simulated": True}, logs=("one", "two"))
    record = written(
        answer(
            result,
            ticket=ticket(plan_id="plan", intent_id="intent", correlation_id="c"),
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
    )
    assert (record.topic, record.key, record.partition) == ("results", b"t", 8 % 6)
    assert body(record) == {
        "ticket_id": "t",
        "plan_id": "plan",
        "intent_id": "intent",
        "correlation_id": "c",
        "task_type": "EXECUTE",
        "status": "COMPLETED",
        "result": {
            "success": True,
            "output": {"pipeline_id": "p"},
            "metadata": {"simulated": True},
            "logs": ["one", "two"],
        },
        "error_message": None,
        "error_reason": None,
        "actual_duration_ms": 1_500,
        "attempts": 2,
        "agent_id": "worker-1",
        "timestamp": NOW_MS,
        "schema_version": 1,
    }
    assert record.headers == (
        ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("task-type", b"EXECUTE"),
        ("status", b"COMPLETED"),
        ("simulated", b"true"),
        ("worker-id", b"worker-1"),
    )


def test_a_real_result_says_so_in_a_header() -> None:
    assert ("simulated", b"false") in written(answer(TaskResult(success=True))).headers


def test_a_failure_names_its_reason() -> None:
    failed = Answer("t", "", Finished.failed(Reason.UNDECODABLE, "no JSON"), 0, 0)
    record = written(failed)
    document = body(record)
    assert (document["status"], document["error_reason"], document["error_message"]) == (
        "FAILED",
        "undecodable",
        "no JSON",
    )
    assert (document["plan_id"], document["task_type"], document["result"]["success"]) == ("", "", False)
    assert ("status", b"FAILED") in record.headers


def test_what_fits_is_not_touched() -> None:
    document = body(written(answer(TaskResult(success=True, logs=("x" * 5_000,) * 100))))
    assert "truncated" not in document["result"]["metadata"]
    assert len(document["result"]["logs"]) == 100
    assert not EVENTS


def test_logs_are_trimmed_first_and_the_last_lines_are_kept() -> None:
    result = TaskResult(
        success=True, output={"a": "b" * 3_000}, metadata={"m": 1}, logs=tuple(f"{n} " + "x" * 3_000 for n in range(99))
    )
    record = written(answer(result), 120_000)
    trimmed = body(record)["result"]
    assert trimmed["output"] == {"a": "b" * 3_000}
    assert trimmed["metadata"] == {"m": 1, "truncated": True}
    assert len(trimmed["logs"]) == 50
    assert trimmed["logs"][-1].startswith("98 ")
    assert [type(event) for event in EVENTS] == [ResultTrimmed]


def test_long_outputs_are_shortened_next_and_short_ones_kept() -> None:
    result = TaskResult(
        success=True, output={"id": "p-1", "count": 7, "text": "x" * 90_000, "list": ["y" * 90_000], "none": None}
    )
    output = body(written(answer(result), SMALLEST))["result"]["output"]
    assert (output["id"], output["count"], output["none"]) == ("p-1", 7, None)
    assert output["text"].endswith("(90000 characters)")
    assert output["list"].startswith('["yyy')


def test_a_simulated_result_stays_one_when_it_is_trimmed() -> None:
    result = TaskResult(
        success=True,
        output={f"key {number}": "x" * 1_900 for number in range(500)},
        metadata={"simulated": True, "much": "y" * 90_000},
    )
    record = written(answer(result), SMALLEST)
    assert body(record)["result"]["metadata"] == {"simulated": True, "truncated": True}
    assert ("simulated", b"true") in record.headers


@pytest.mark.parametrize(
    "output",
    [{"a": {1, 2}}, {"a": b"bytes"}, {"a": object()}, {"a": 2**70}, {"a": "\ud800"}, {"a": 1j}, {"\udc80": 1}],
    ids=["set", "bytes", "object", "large int", "surrogate", "complex", "surrogate key"],
)
def test_an_output_that_is_no_json_is_answered_as_failed(output: dict[str, Any]) -> None:
    document = body(written(answer(TaskResult(success=True, output=output))))
    assert (document["status"], document["error_reason"]) == ("FAILED", "internal")
    assert "not JSON" in document["error_message"]


def test_headers_and_value_agree_when_an_output_is_no_json() -> None:
    """Whoever filters on headers must see what the body says."""
    record = written(answer(TaskResult(success=True, output={"a": {1, 2}}, metadata={"simulated": True})))
    headers, document = dict(record.headers), body(record)
    assert headers["status"].decode() == document["status"]
    assert headers["simulated"] == (b"true" if document["result"]["metadata"].get("simulated") else b"false")


def test_what_json_has_a_form_for_is_written_in_it() -> None:
    output = {"when": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 7: "number", "nan": float("nan"), "status": Status.FAILED}
    assert body(written(answer(TaskResult(success=True, output=output))))["result"]["output"] == {
        "when": "2026-01-01T00:00:00+00:00",
        "7": "number",
        "nan": None,
        "status": "FAILED",
    }


@pytest.mark.parametrize(
    "result",
    [
        TaskResult(success=True, metadata=None),  # type: ignore[arg-type]
        TaskResult(success=True, metadata=["simulated"]),  # type: ignore[arg-type]
        TaskResult(success=True, output=["x" * 20_000]),  # type: ignore[arg-type]
        TaskResult(success=True, output={"x": "y" * 20_000}, metadata=None),  # type: ignore[arg-type]
        TaskResult(success=True, logs=None),  # type: ignore[arg-type]
        TaskResult(success=True, logs=(7, None), output={"x": "y" * 20_000}),  # type: ignore[arg-type]
        TaskResult(success=False, error_message=ValueError("no text")),  # type: ignore[arg-type]
    ],
    ids=[
        "no metadata",
        "metadata list",
        "large output list",
        "large and no metadata",
        "no logs",
        "log numbers",
        "error object",
    ],
)
def test_fields_of_a_wrong_type_are_answered_too(result: TaskResult) -> None:
    """Nothing stops an executor from it, and a ticket whose result cannot be written is never settled."""
    record = written(answer(result), SMALLEST)
    assert len(record.value or b"") <= SMALLEST
    assert body(record)["status"] in {"COMPLETED", "FAILED"}


@pytest.mark.parametrize("field", ["plan_id", "intent_id", "correlation_id"])
def test_a_ticket_whose_own_fields_are_huge_gets_a_result_that_fits(field: str) -> None:
    """They are copied from the ticket; a result that is too large is refused again and again, and stops its partition."""
    record = written(answer(TaskResult(success=True), ticket=ticket(**{field: "x" * 950_000})))
    assert len(record.value or b"") <= 900 * 1024


def test_an_error_message_is_bounded() -> None:
    finished = Finished.failed(Reason.INTERNAL, "x" * 10**6)
    assert len(body(written(Answer("t", "EXECUTE", finished, 1, 0)))["error_message"]) == 8_000


def test_an_error_message_that_grows_when_it_is_encoded_fits_too() -> None:
    """A control character takes six bytes in JSON."""
    record = written(Answer("t", "EXECUTE", Finished.failed(Reason.INTERNAL, "\x00" * 10**6), 1, 0), SMALLEST)
    assert len(record.value or b"") <= SMALLEST


TEXT = st.builds(lambda text, times: text * times, st.text(max_size=5), st.sampled_from([0, 1, 10, 5_000]))
PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.binary(max_size=3)
    | st.sets(st.integers(), max_size=2),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT | st.integers(), inner, max_size=5),
    max_leaves=12,
)
RESULTS = st.builds(
    TaskResult,
    success=st.booleans(),
    output=st.dictionaries(TEXT, VALUES, max_size=20),
    metadata=st.dictionaries(TEXT, VALUES, max_size=10),
    logs=st.lists(TEXT, max_size=200).map(tuple),
    error_message=st.none() | PLAIN,
)


@given(result=RESULTS, max_bytes=st.integers(SMALLEST, 4 * SMALLEST), attempts=st.integers(0, 21))
def test_every_result_fits_and_can_be_read(result: TaskResult, max_bytes: int, attempts: int) -> None:
    given_answer = Answer("t", "EXECUTE", Finished.of(result), attempts, 7, ticket())
    record = written(given_answer, max_bytes)
    assert record.value is not None
    assert len(record.value) <= max_bytes
    document = body(record)
    assert (document["ticket_id"], document["attempts"], document["timestamp"]) == ("t", attempts, NOW_MS)
    if document["error_reason"] == "internal":
        assert document["status"] == "FAILED"
    else:
        assert document["status"] == ("COMPLETED" if result.success else "FAILED")
        assert document["result"]["success"] is result.success
    trimmed = any(isinstance(event, ResultTrimmed) for event in EVENTS)
    if trimmed:
        assert document["result"]["metadata"]["truncated"] is True
