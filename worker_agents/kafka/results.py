"""Results as records (design §8), never larger than their topic takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import orjson

from worker_agents.dispatch.journal import Answer
from worker_agents.kafka.codec import OutRecord
from worker_agents.model.errors import Reason
from worker_agents.model.result import Finished, TaskResult
from worker_agents.telemetry.events import Emit, ResultTrimmed

RESULT_SCHEMA = 1
_MESSAGE_LIMIT = 8_000
_LOGS_KEPT = 50
_TEXT_KEPT = 2_000


@dataclass(frozen=True, slots=True)
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
        return OutRecord(
            topic=self.topic,
            partition=tickets_partition % self.partitions,
            key=answer.ticket_id.encode(),
            value=self._value(answer, now_ms),
            headers=self._headers(answer),
        )

    def _headers(self, answer: Answer) -> tuple[tuple[str, bytes], ...]:
        finished = answer.finished
        headers = (
            ("task-type", answer.task_type.encode()),
            ("status", finished.status.encode()),
            ("simulated", b"true" if finished.result.simulated else b"false"),
            ("worker-id", self.worker_id.encode()),
        )
        return (("traceparent", answer.traceparent.encode()), *headers) if answer.traceparent else headers

    def _value(self, answer: Answer, now_ms: int) -> bytes:
        value = self._encode(answer, now_ms)
        if len(value) <= self.max_bytes:
            return value
        self.emit(ResultTrimmed(answer.ticket_id, len(value), self.max_bytes))
        for trim in _TRIMS:
            trimmed = trim(answer.finished.result).with_metadata(truncated=True)
            value = self._encode(replace(answer, finished=replace(answer.finished, result=trimmed)), now_ms)
            if len(value) <= self.max_bytes:
                break
        return value

    def _encode(self, answer: Answer, now_ms: int) -> bytes:
        try:
            return _dumps(self._document(answer, now_ms))
        except TypeError as error:
            # What an executor returned is not JSON. Its ticket is answered all the same.
            finished = Finished.failed(Reason.INTERNAL, f"the executor's result is not JSON: {error}")
            return _dumps(self._document(replace(answer, finished=finished), now_ms))

    def _document(self, answer: Answer, now_ms: int) -> dict[str, Any]:
        ticket, finished = answer.ticket, answer.finished
        result = finished.result
        return {
            "ticket_id": answer.ticket_id,
            "plan_id": ticket.plan_id if ticket else "",
            "intent_id": ticket.intent_id if ticket else "",
            "correlation_id": ticket.correlation_id if ticket else "",
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


def _dumps(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS)


def _fewer_logs(result: TaskResult) -> TaskResult:
    return replace(result, logs=tuple(line[:_TEXT_KEPT] for line in result.logs[-_LOGS_KEPT:]))


def _shorter_output(result: TaskResult) -> TaskResult:
    output = {str(key)[:_TEXT_KEPT]: _shortened(value) for key, value in result.output.items()}
    return replace(_fewer_logs(result), output=output)


def _no_output(result: TaskResult) -> TaskResult:
    return replace(result, logs=(), output={}, metadata={"simulated": result.simulated})


def _shortened(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    return value if len(text) <= _TEXT_KEPT else f"{text[:_TEXT_KEPT]}… ({len(text)} characters)"


_TRIMS: tuple[Callable[[TaskResult], TaskResult], ...] = (_fewer_logs, _shorter_output, _no_output)
