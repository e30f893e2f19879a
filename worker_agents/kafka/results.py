"""Results as records (design §8), never larger than their topic takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import UnionType
from typing import Any

import orjson

from worker_agents.dispatch.journal import Answer
from worker_agents.kafka.codec import OutRecord
from worker_agents.model.errors import Reason
from worker_agents.model.result import Finished, Status, TaskResult
from worker_agents.model.structs import struct
from worker_agents.telemetry.events import Emit, ResultTrimmed

RESULT_SCHEMA = 1
_MESSAGE_LIMIT = 8_000
_SHORT_MESSAGE = 500
_ID_LIMIT = 500
_LOGS_KEPT = 50
_TEXT_KEPT = 2_000


@struct
class ResultFormat:
    """``max_bytes`` bounds the value of one result; what is over is trimmed, logs first, then output.

    All results of one tickets partition go to one results partition. So all results of a ticket are in order, a
    transaction touches few partitions, and one that hangs hides only the results of its neighbours.
    """

    topic: str
    partitions: int
    worker_id: str
    max_bytes: int
    emit: Emit

    def record(self, answer: Answer, tickets_partition: int, now_ms: int) -> OutRecord:
        """The record of an answer. Whatever an executor returned, there is one, and it fits."""
        return self.publish(answer, tickets_partition, now_ms)[1]

    def publish(self, answer: Answer, tickets_partition: int, now_ms: int) -> tuple[Status, OutRecord]:
        """The record of an answer and the status that it says: FAILED where the result cannot be written as it is."""
        answer, value = self._written(_sound(answer), now_ms)
        record = OutRecord(
            topic=self.topic,
            partition=tickets_partition % self.partitions,
            key=answer.ticket_id.encode(),
            value=value,
            headers=self._headers(answer),
        )
        return answer.finished.status, record

    def _headers(self, answer: Answer) -> tuple[tuple[str, bytes], ...]:
        finished = answer.finished
        headers = (
            ("task-type", answer.task_type.encode()),
            ("status", finished.status.encode()),
            ("simulated", b"true" if finished.result.simulated else b"false"),
            ("worker-id", self.worker_id.encode()),
        )
        return (("traceparent", answer.traceparent.encode()), *headers) if answer.traceparent else headers

    def _written(self, answer: Answer, now_ms: int) -> tuple[Answer, bytes]:
        """The answer as it is published, and its bytes."""
        try:
            value = _dumps(self._document(answer, now_ms))
        except TypeError as error:
            answer = _unpublishable(answer, f"is not JSON: {error}")
            value = _dumps(self._document(answer, now_ms))
        if len(value) <= self.max_bytes:
            return answer, value
        self.emit(ResultTrimmed(answer.ticket_id, len(value), self.max_bytes))
        for trim in _TRIMS:
            trimmed = trim(answer.finished.result).with_metadata(truncated=True)
            answer = replace(answer, finished=replace(answer.finished, result=trimmed))
            value = _dumps(self._document(answer, now_ms))
            if len(value) <= self.max_bytes:
                break
        return answer, value

    def _document(self, answer: Answer, now_ms: int) -> dict[str, Any]:
        ticket, finished = answer.ticket, answer.finished
        result = finished.result
        return {
            "ticket_id": answer.ticket_id,
            "plan_id": ticket.plan_id[:_ID_LIMIT] if ticket else "",
            "intent_id": ticket.intent_id[:_ID_LIMIT] if ticket else "",
            "correlation_id": ticket.correlation_id[:_ID_LIMIT] if ticket else "",
            "task_type": answer.task_type,
            "status": finished.status,
            "result": {
                "success": result.success,
                "output": result.output,
                "metadata": result.metadata,
                "logs": result.logs,
            },
            "error_message": result.error_message and result.error_message[:_MESSAGE_LIMIT],
            "error_reason": finished.error_reason,
            "actual_duration_ms": answer.duration_ms,
            "attempts": answer.attempts,
            "agent_id": self.worker_id,
            "timestamp": now_ms,
            "schema_version": RESULT_SCHEMA,
        }


def _sound(answer: Answer) -> Answer:
    """An executor's result may hold anything; one whose fields are of wrong types is answered as a failure."""
    result = answer.finished.result
    fields: tuple[tuple[str, object, type | UnionType], ...] = (
        ("output", result.output, dict),
        ("metadata", result.metadata, dict),
        ("logs", result.logs, list | tuple),
        ("error_message", result.error_message, str | None),
    )
    for name, value, expected in fields:
        if not isinstance(value, expected):
            return _unpublishable(answer, f"has a {name} of type {type(value).__name__}")
    if not all(isinstance(line, str) for line in result.logs):
        return _unpublishable(answer, "has logs that are not text")
    return answer


def _unpublishable(answer: Answer, problem: str) -> Answer:
    return replace(answer, finished=Finished.failed(Reason.INTERNAL, f"the executor's result {problem}"))


def _dumps(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS)


def _fewer_logs(result: TaskResult) -> TaskResult:
    return replace(result, logs=tuple(line[:_TEXT_KEPT] for line in result.logs[-_LOGS_KEPT:]))


def _shorter_output(result: TaskResult) -> TaskResult:
    output = {str(key)[:_TEXT_KEPT]: _shortened(value) for key, value in result.output.items()}
    return replace(_fewer_logs(result), output=output)


def _no_output(result: TaskResult) -> TaskResult:
    message = result.error_message and result.error_message[:_SHORT_MESSAGE]
    return replace(result, logs=(), output={}, metadata={"simulated": result.simulated}, error_message=message)


def _shortened(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    return value if len(text) <= _TEXT_KEPT else f"{text[:_TEXT_KEPT]}… ({len(text)} characters)"


_TRIMS: tuple[Callable[[TaskResult], TaskResult], ...] = (_fewer_logs, _shorter_output, _no_output)
