"""Settings of how tickets are worked on: how many at once, how often, in which order, for how long."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from worker_agents.model.ticket import KNOWN_TASK_TYPES, MAX_RETRIES_CAP
from worker_agents.settings.cpu import available_cpus
from worker_agents.settings.values import LowerCase, Seconds, SecondsFromZero, Slots, TaskTypes

Ordering = Literal["dependencies", "key"]


def _all_slots(data: dict[str, Any]) -> int:
    return int(data["max_concurrent_tasks"])


def _slots_for_tests(data: dict[str, Any]) -> int:
    return min(available_cpus(), int(data["max_concurrent_tasks"]))


class WorkSettings(BaseModel):
    """Slots, buffers, retries, waits and limits."""

    supported_task_types: TaskTypes | None = Field(
        None,
        description="Task types that this group works on; tickets of other types are left to other groups. "
        "Unset: every type that has an executor.",
    )
    max_concurrent_tasks: Slots = Field(200, description="Tickets that run at once, of all types together.")
    max_concurrent_execute: Slots = Field(
        default_factory=_all_slots, description="EXECUTE tickets that run at once. Unset: MAX_CONCURRENT_TASKS."
    )
    max_concurrent_build: Slots = Field(
        default_factory=_all_slots, description="BUILD tickets that run at once. Unset: MAX_CONCURRENT_TASKS."
    )
    max_concurrent_validate: Slots = Field(
        default_factory=_all_slots, description="VALIDATE tickets that run at once. Unset: MAX_CONCURRENT_TASKS."
    )
    max_concurrent_test: Slots = Field(
        default_factory=_slots_for_tests,
        description="TEST tickets that run at once. Unset: the CPUs that the container may use.",
    )
    max_concurrent_deploy: Slots = Field(
        default_factory=_all_slots, description="DEPLOY tickets that run at once. Unset: MAX_CONCURRENT_TASKS."
    )
    max_buffered_tickets: int = Field(
        1000, ge=1, le=1_000_000, description="Tickets that are ready but have no slot; above it fetching pauses."
    )
    max_parked_tickets: int = Field(
        50_000,
        ge=1,
        le=10_000_000,
        description="Tickets that wait for a dependency, a retry, or slots of their own type, outside the buffer.",
    )
    max_retries_per_ticket: int = Field(
        3, ge=0, le=MAX_RETRIES_CAP, description="Further attempts of a ticket that names no sla.max_retries."
    )
    retry_backoff_base_seconds: SecondsFromZero = Field(
        2.0, description="Longest wait before the first retry; it doubles."
    )
    retry_backoff_max_seconds: SecondsFromZero = Field(60.0, description="Longest wait before any retry.")
    max_deliveries: int = Field(
        5,
        ge=2,
        le=1000,
        description="Workers that may die with a ticket before it is given up as worker_lost; a few more where many died with it.",
    )
    task_timeout_multiplier: float = Field(
        1.5, gt=0, le=100, description="An attempt may take sla.timeout_ms times this."
    )
    ordering: Annotated[Ordering, LowerCase] = Field(
        "dependencies",
        description="dependencies: a ticket waits for its dependencies only; key: equal record keys run one by one.",
    )
    dependency_timeout_seconds: Seconds = Field(
        3600.0, description="How long a ticket waits for a dependency before it fails."
    )
    dedup_retention_seconds: float = Field(
        86_400.0, ge=0, le=365 * 86_400, description="How long a settled ticket is remembered, at least."
    )
    drain_timeout_seconds: SecondsFromZero = Field(
        30.0, description="How long a stopping worker lets its tickets run before it hands them over."
    )
    termination_grace_period_seconds: SecondsFromZero | None = Field(
        None,
        description="terminationGracePeriodSeconds of the pod, as the chart tells it; only compared with the time that a "
        "drain takes. Unset: not known.",
    )
    kill_grace_seconds: float = Field(
        default_factory=lambda data: min(5.0, data["kafka_session_timeout_seconds"] / 6),
        gt=0,
        le=600,
        description="Time between asking a task to stop and killing it; the lease ends so much before the session. "
        "Unset: 5, or a sixth of a short session.",
    )
    publish_running: bool = Field(False, description="Also publish a RUNNING record when a ticket starts.")
    result_max_bytes: int = Field(
        900 * 1024,
        ge=16 * 1024,
        le=100 * 1024 * 1024,
        description="Largest result that is sent whole; logs, then output, of a larger one are trimmed.",
    )

    def concurrency_limits(self) -> dict[str, int]:
        """Slots for each known task type, none above ``max_concurrent_tasks``."""
        return {
            task_type: min(int(getattr(self, f"max_concurrent_{task_type.lower()}")), self.max_concurrent_tasks)
            for task_type in sorted(KNOWN_TASK_TYPES)
        }
