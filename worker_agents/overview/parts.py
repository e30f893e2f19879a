"""Partitions, integrations, slots and what happened lately, as documents."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import quantiles

from worker_agents.clients.breaker import CircuitBreaker
from worker_agents.dispatch.dispatcher import Dispatcher
from worker_agents.dispatch.pausing import Pause
from worker_agents.dispatch.scheduler import Slots
from worker_agents.kafka.consumer import TicketConsumer
from worker_agents.kafka.partition import Partition
from worker_agents.model.words import label_of
from worker_agents.telemetry.history import BUCKET_SECONDS, Bucket, History, Result
from worker_agents.telemetry.masking import SecretMasker
from worker_agents.web.views import (
    BucketView,
    FailureView,
    HistoryView,
    IntegrationView,
    PartitionView,
    PauseView,
    ResultView,
    SlotsView,
)

_RECENT = 50


def partition_view(partition: Partition, consumer: TicketConsumer, now_ms: int) -> PartitionView:
    oldest = min(partition.lane.jobs.values(), key=lambda job: job.envelope.timestamp, default=None)
    lease_age = partition.lease.age()
    return PartitionView(
        partition=partition.number,
        phase=partition.phase.value,
        why_not_open="" if partition.phase == "open" else partition.why_not_open,
        lag=consumer.lag(partition),
        watermark=partition.ledger.tracker.watermark(),
        unsettled=len(partition.lane.jobs),
        running=partition.lane.running(),
        oldest_ticket_id=oldest.ticket_id if oldest else None,
        oldest_age=max(now_ms - oldest.envelope.timestamp, 0) / 1000 if oldest else 0.0,
        lease_age=round(lease_age, 1) if math.isfinite(lease_age) else None,
        lease_limit=partition.lease.limit,
        backlog=partition.ledger.backlog,
    )


def integration_views(
    known: Mapping[str, bool], breakers: Mapping[str, CircuitBreaker], history: History, masker: SecretMasker
) -> tuple[IntegrationView, ...]:
    """``known`` is whether each integration is switched on; those that were heard of besides come last."""
    names = [*known, *(name for name in history.integrations if name not in known)]
    return tuple(_integration_view(name, known.get(name, True), breakers.get(name), history, masker) for name in names)


def _integration_view(
    name: str, enabled: bool, breaker: CircuitBreaker | None, history: History, masker: SecretMasker
) -> IntegrationView:
    record = history.integrations[name]
    calls, failures = history.calls(name)
    latencies = sorted(record.latencies)
    return IntegrationView(
        integration=name,
        label=label_of(name),
        enabled=enabled,
        breaker=breaker.state.label if breaker else None,
        breaker_since=breaker.since if breaker else None,
        probe_in=round(breaker.wait_seconds(), 1) if breaker else 0.0,
        last_failure=masker.text((breaker.why if breaker else "") or record.last_failure),
        last_failure_at=record.last_failure_at,
        calls=calls,
        failures=failures,
        latency_median=_quantile(latencies, 50),
        latency_95=_quantile(latencies, 95),
        simulated=record.simulated,
    )


def _quantile(values: Sequence[float], percent: int) -> float | None:
    if not values:
        return None
    return round(quantiles([*values, *values[-1:]], n=100, method="inclusive")[percent - 1], 4)


def slot_views(dispatcher: Dispatcher, task_types: Collection[str]) -> tuple[SlotsView, ...]:
    """All slots first, then those of each type, also of one that had no ticket yet; suspects only while there are some."""
    total, queues = dispatcher.slots, dispatcher.slots_by_queue()
    others = [name for name, slots in queues.items() if name not in task_types and (slots.used or slots.waiting)]
    views = [
        _slots_view(name, queues.get(name, Slots(total.limit)), dispatcher.pauses.get(name))
        for name in [*task_types, *others]
    ]
    return _slots_view("all", total, None), *views


def _slots_view(queue: str, slots: Slots, pause: Pause | None) -> SlotsView:
    paused = None if pause is None else PauseView(by=pause.by, why=pause.why, until=pause.until)
    return SlotsView(queue=queue, used=slots.used, limit=slots.limit, waiting=slots.waiting, pause=paused)


def result_view(result: Result) -> ResultView:
    settled = result.settled
    return ResultView(
        at=result.at,
        ticket_id=settled.ticket_id,
        task_type=settled.task_type,
        status=settled.status,
        reason=settled.reason,
        simulated=settled.simulated,
        attempts=settled.attempts,
        duration=round(settled.duration, 3),
    )


def recent_views(results: Sequence[Result]) -> tuple[ResultView, ...]:
    return tuple(result_view(result) for result in list(results)[: -_RECENT - 1 : -1])


def failure_views(failures: Iterable[tuple[int, Result]]) -> tuple[FailureView, ...]:
    return tuple(
        FailureView(
            task_type=latest.settled.task_type,
            reason=latest.settled.reason,
            count=count,
            last_at=latest.at,
            last_ticket_id=latest.settled.ticket_id,
        )
        for count, latest in failures
    )


def history_view(buckets: Iterable[Bucket]) -> HistoryView:
    return HistoryView(
        bucket_seconds=BUCKET_SECONDS,
        buckets=tuple(
            BucketView(
                at=bucket.began,
                completed=bucket.completed,
                failed=bucket.failed,
                simulated=bucket.simulated,
                duration_median=bucket.duration_median,
            )
            for bucket in buckets
        ),
    )
