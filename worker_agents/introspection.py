"""What a running worker says of itself: health, readiness, and the gauges that are read when they are scraped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from worker_agents.application import Application, Stage
from worker_agents.dispatch.job import ISOLATED
from worker_agents.dispatch.scheduler import Slots
from worker_agents.kafka.partition import Partition, PartitionPhase
from worker_agents.model.clock import Clock
from worker_agents.telemetry.metrics import (
    ALL_TYPES,
    DRAIN_TIMEOUT,
    DRAINING,
    LEASE_AGE,
    OLDEST_TICKET_AGE,
    PARKED_TICKETS,
    PARKED_TICKETS_LIMIT,
    PARTITION_LAG,
    PARTITIONS,
    READY,
    TASK_SLOTS,
    TASK_SLOTS_USED,
    TICKETS_IN_FLIGHT,
    UNFINISHED_TICKETS,
    Metrics,
    Samples,
    ScrapeGauge,
)
from worker_agents.web.status import Liveness, Readiness


class WorkerStatus:
    """Implements :class:`ServiceStatus`. ``poll_limit`` (seconds) is how old the last poll may be.

    It answers before there is an application: the HTTP server is one of its parts.
    """

    def __init__(self, clock: Clock, poll_limit: float) -> None:
        self._clock = clock
        self._poll_limit = poll_limit
        self._application: Application | None = None

    def observe(self, application: Application) -> None:
        self._application = application

    def liveness(self) -> Liveness:
        """The loop runs, as it answers this; that the consumer and the ledgers go on is measured.

        A ledger that cannot reach Kafka is suspended, not open: an open one whose lease is old has come to a halt.
        """
        application = self._application
        consumer = application.consumer if application else None
        if application is None or consumer is None:
            return Liveness(ok=True, details={"stage": Stage.STARTING})
        poll_age = self._clock.monotonic() - consumer.polled_at
        ledger_age = max((p.lease.age() for p in self._partitions() if p.phase is PartitionPhase.OPEN), default=0.0)
        reasons = []
        if poll_age > self._poll_limit:
            reasons.append(f"the consumer has not polled for {poll_age:.0f} s")
        if ledger_age > self._poll_limit:
            reasons.append(f"the ledger of an open partition has written nothing for {ledger_age:.0f} s")
        lag = application.parts.watchdog.greatest_lag()
        return Liveness(not reasons, tuple(reasons), self._progress(lag, poll_age, ledger_age))

    def _progress(self, lag: float, poll_age: float, ledger_age: float) -> dict[str, object]:
        return {
            "stage": self._stage,
            "event_loop_lag_seconds": round(lag, 3),
            "seconds_since_last_poll": round(poll_age, 1),
            "seconds_since_last_ledger_write": round(ledger_age, 1),
            "limit_seconds": self._poll_limit,
            "explanation": {
                "event_loop_lag_seconds": "how late the event loop was at most in the last minute; stalls are logged",
                "seconds_since_last_poll": "how long ago Kafka was asked for tickets; over the limit the worker is stuck",
                "seconds_since_last_ledger_write": "how long ago the quietest open partition renewed its lease; over the "
                "limit the worker is stuck",
            },
        }

    def readiness(self) -> Readiness:
        if self._stage is not Stage.SERVING:
            return Readiness(False, (f"the worker is {self._stage}",))
        consumer = self._application.consumer if self._application else None
        if consumer is None or not consumer.joined:
            return Readiness(False, ("the worker has not joined its group yet",))
        closed = [partition for partition in consumer.partitions.values() if partition.phase != PartitionPhase.OPEN]
        details = {"partitions": len(consumer.partitions), "not_open": [partition.number for partition in closed]}
        return Readiness(not closed, tuple(_why_closed(partition) for partition in closed), details)

    @property
    def _stage(self) -> Stage:
        return self._application.stage if self._application else Stage.STARTING

    # --- gauges --------------------------------------------------------------------------------------------------

    def provide_gauges(self, metrics: Metrics) -> None:
        metrics.provide(TICKETS_IN_FLIGHT, self._tickets_in_flight)
        metrics.provide(UNFINISHED_TICKETS, self._unfinished_tickets)
        metrics.provide(OLDEST_TICKET_AGE, self._oldest_ticket_age)
        metrics.provide(PARTITION_LAG, self._partition_lag)
        metrics.provide(PARTITIONS, lambda: Counter((str(p.phase),) for p in self._partitions()))
        metrics.provide(LEASE_AGE, self._of_open_partitions(lambda partition: partition.lease.age()))
        metrics.provide(TASK_SLOTS, lambda: {(name,): slots.limit for name, slots in self._slots().items()})
        metrics.provide(TASK_SLOTS_USED, lambda: {(name,): slots.used for name, slots in self._slots().items()})
        metrics.provide(READY, lambda: {(): float(self.readiness().ok)})
        metrics.provide(DRAINING, lambda: {(): self._draining()})
        self._provide_limits(metrics)

    def _partitions(self) -> list[Partition]:
        consumer = self._application.consumer if self._application else None
        return list(consumer.partitions.values()) if consumer else []

    def _tickets_in_flight(self) -> Samples:
        lanes = self._application.parts.dispatcher.lanes if self._application else ()
        return Counter((job.task_type, str(job.phase)) for lane in lanes for job in lane.jobs.values())

    def _unfinished_tickets(self) -> Samples:
        """Nothing, where no partition is known to be ours: a 0 would have workers taken away while Kafka is."""
        consumer = self._application.consumer if self._application else None
        if consumer is None or not consumer.joined:
            return {}
        partitions = self._partitions()
        known = [count for partition in partitions if (count := partition.unfinished()) is not None]
        return {(): float(sum(known))} if known or not partitions else {}

    def _oldest_ticket_age(self) -> Samples:
        lanes = self._application.parts.dispatcher.lanes if self._application else ()
        arrivals = [job.envelope.timestamp for lane in lanes for job in lane.jobs.values()]
        return {(): max((self._clock.now_ms() - min(arrivals)) / 1000, 0.0) if arrivals else 0.0}

    def _partition_lag(self) -> Samples:
        consumer = self._application.consumer if self._application else None
        if consumer is None:
            return {}
        lags = {partition.number: consumer.lag(partition) for partition in self._partitions()}
        return {(number,): float(lag) for number, lag in lags.items() if lag is not None}

    def _provide_limits(self, metrics: Metrics) -> None:
        """What has a value only once there is an application."""

        def provide(gauge: ScrapeGauge, value: Callable[[Application], float]) -> None:
            metrics.provide(gauge, lambda: {(): value(self._application)} if self._application else {})

        provide(PARKED_TICKETS, lambda application: application.parts.dispatcher.outside_buffer)
        provide(PARKED_TICKETS_LIMIT, lambda application: application.parts.dispatcher.config.max_parked)
        provide(DRAIN_TIMEOUT, lambda application: application.drain_timeout)

    def _slots(self) -> dict[str, Slots]:
        """Of all types together, and of each that has fewer of its own."""
        if self._application is None:
            return {}
        dispatcher = self._application.parts.dispatcher
        total, queues = dispatcher.slots, dispatcher.slots_by_queue()
        limited = {name: slots for name, slots in queues.items() if slots.limit < total.limit and name != ISOLATED}
        return {ALL_TYPES: total, **limited}

    def _draining(self) -> float:
        began = self._application.drain_began if self._application else None
        return 0.0 if began is None else self._clock.monotonic() - began

    def _of_open_partitions(self, value: Callable[[Partition], float]) -> Callable[[], Samples]:
        def samples() -> Samples:
            opened = (p for p in self._partitions() if p.phase is PartitionPhase.OPEN)
            return {(partition.number,): value(partition) for partition in opened}

        return samples


def _why_closed(partition: Partition) -> str:
    return f"partition {partition.number} is {partition.phase}" + (
        f": {partition.why_not_open}" if partition.why_not_open else ""
    )
