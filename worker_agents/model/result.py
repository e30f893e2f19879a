"""What an executor returns, and what an attempt came to."""

from __future__ import annotations

from dataclasses import field, replace
from enum import StrEnum
from typing import Any

from worker_agents.model.errors import Reason
from worker_agents.model.structs import struct


class Status(StrEnum):
    """Status of a published result (``contracts.md`` 1.6). Only COMPLETED and FAILED are final."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    RUNNING = "RUNNING"


@struct
class TaskResult:
    """An executor's answer: ``success=False`` is a *verdict* (tests failed, policy denied), not an error.

    ``output`` and ``metadata`` are JSON objects, ``logs`` lines of text. ``reason`` refines a negative
    verdict (default ``verdict_failed``). ``simulated`` is set by ``executors.simulation`` only.
    """

    success: bool
    output: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    logs: tuple[str, ...] = ()
    error_message: str | None = None
    reason: Reason = Reason.VERDICT_FAILED

    @property
    def simulated(self) -> bool:
        return bool(self.metadata.get("simulated"))

    def with_metadata(self, **extra: object) -> TaskResult:
        return replace(self, metadata={**self.metadata, **extra})


@struct
class Finished:
    """The ticket has its final answer. ``error_reason`` is ``None`` for a success."""

    status: Status
    result: TaskResult
    error_reason: Reason | None = None
    dead_letter: bool = False

    @classmethod
    def of(cls, result: TaskResult) -> Finished:
        if result.success:
            return cls(Status.COMPLETED, result)
        return cls(Status.FAILED, result, error_reason=result.reason)

    @classmethod
    def failed(cls, reason: Reason, message: str, *, dead_letter: bool = False, **metadata: object) -> Finished:
        result = TaskResult(success=False, metadata=dict(metadata), error_message=message, reason=reason)
        return cls(Status.FAILED, result, error_reason=reason, dead_letter=dead_letter)


@struct
class RetryLater:
    """Another attempt is due in ``delay`` seconds, because of ``reason``.

    ``costs_attempt`` is False where the ticket only waits for an integration that is known to be down.
    """

    delay: float
    reason: Reason
    message: str
    costs_attempt: bool = True


Outcome = Finished | RetryLater
"""What an attempt came to. One that is given up unsettled has no outcome: it is cancelled."""
