"""Prometheus metrics: declared once, fed by events, with gauges that are read when they are scraped."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import product
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from worker_agents.model.errors import Reason
from worker_agents.model.result import Status
from worker_agents.model.structs import struct
from worker_agents.model.ticket import KNOWN_TASK_TYPES
from worker_agents.telemetry import events
from worker_agents.telemetry.tracing import TraceContext

PREFIX = "worker_agents"
CONTENT_TYPE = CONTENT_TYPE_LATEST
OPENMETRICS = "application/openmetrics-text"

# A ticket takes from milliseconds (a policy query) to four hours (a pipeline).
_TASK_SECONDS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    *(60, 120, 300, 600, 1200, 1800, 3600, 7200, 10_800, 14_400),
)
_CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# The ledger gives a transaction up after 8 s.
_TRANSACTION_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 8)
_OPENING_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)

# The label of a task type without an executor: tickets may name anything, and every name would be a new series.
OTHER = "other"
# The label of what all task types share.
ALL_TYPES = "all"
_WORKER_LABELS = ("worker_id", "version")


@struct
class ScrapeGauge:
    """A gauge that the application computes when it is scraped."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


@struct
class Declaration:
    """What a metric is, for those who write queries. ``name`` is whole; a histogram's series add their suffixes to it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


TICKETS_IN_FLIGHT = ScrapeGauge(
    "tickets_in_flight", "Unsettled tickets that this worker has, by what they are doing.", ("task_type", "phase")
)
OLDEST_TICKET_AGE = ScrapeGauge("oldest_ticket_age_seconds", "Age of the oldest unsettled ticket of this worker.")
UNFINISHED_TICKETS = ScrapeGauge(
    "unfinished_tickets",
    "Tickets of this worker's partitions that run, wait for a slot, or were not read yet: what to scale by. "
    "Absent while the worker does not know.",
)
PARTITION_LAG = ScrapeGauge(
    "partition_lag",
    "Offsets from the watermark to the end of the partition, open transactions of producers included; 0 when all is settled.",
    ("partition",),
)
PARTITIONS = ScrapeGauge("partitions", "Assigned partitions, by the phase of their opening.", ("phase",))
LEASE_AGE = ScrapeGauge("ledger_lease_age_seconds", "Time since the lease was last renewed.", ("partition",))
LOOP_LAG = ScrapeGauge("event_loop_lag_seconds", "Longest delay of the event loop in the last minute.")
BREAKER_STATE = ScrapeGauge("breaker_state", "0 closed, 1 half open, 2 open.", ("integration",))
TASK_SLOTS = ScrapeGauge(
    "task_slots", "Tickets that may run at once: of types with a limit of their own, and of `all`.", ("task_type",)
)
TASK_SLOTS_USED = ScrapeGauge("task_slots_used", "Tickets that hold one of these slots.", ("task_type",))
PARKED_TICKETS = ScrapeGauge("parked_tickets", "Tickets outside the buffer: they wait for others, a retry, a slot.")
PARKED_TICKETS_LIMIT = ScrapeGauge("parked_tickets_limit", "At so many parked tickets intake is paused.")
READY = ScrapeGauge("ready", "1 when this worker takes tickets, 0 when `/ready` says why not.")
DRAINING = ScrapeGauge("draining_seconds", "Time since this worker began to drain; 0 when it does not.")
DRAIN_TIMEOUT = ScrapeGauge("drain_timeout_seconds", "How long what runs may go on once the worker drains.")

TASK_TYPE_PAUSED = ScrapeGauge("task_type_paused", "1 while an operator has paused the type here.", ("task_type",))

Samples = Mapping[tuple[Any, ...], float]
"""Values of a gauge by its label values, in the order of its labels; the key of a gauge without labels is ``()``."""


class Metrics:
    """Every metric of the service, in a registry of its own."""

    def __init__(self) -> None:
        self.declarations: list[Declaration] = []
        self._registry = registry = CollectorRegistry()
        self._gauges = _ScrapeGauges()
        registry.register(self._gauges)
        ProcessCollector(registry=registry)

        def declare(kind: str, name: str, text: str, labels: tuple[str, ...]) -> None:
            self.declarations.append(Declaration(f"{PREFIX}_{name}", kind, labels, text))

        def counter(name: str, text: str, *labels: str) -> Counter:
            declare("counter", name, text, labels)
            return Counter(name, text, labels, namespace=PREFIX, registry=registry)

        def histogram(name: str, text: str, buckets: Iterable[float], *labels: str) -> Histogram:
            declare("histogram", name, text, labels)
            return Histogram(name, text, labels, namespace=PREFIX, registry=registry, buckets=tuple(buckets))

        # tickets
        self.tasks_executed = counter(
            "tasks_executed_total", "Tickets with a final result.", "task_type", "status", "simulated"
        )
        self.tasks_failed = counter(
            "tasks_failed_total", "Tickets whose final result is FAILED, by reason.", "task_type", "reason"
        )
        self.task_duration = histogram(
            "task_duration_seconds", "From a ticket's first attempt to its final result.", _TASK_SECONDS, "task_type"
        )
        self.task_attempts = counter("task_attempts_total", "Attempts, by what they came to.", "task_type", "outcome")
        self.task_retries = counter("task_retries_total", "Attempts that will be repeated.", "task_type", "reason")
        self.executor_crashes = counter(
            "executor_crashes_total", "Exceptions that no executor should let out.", "task_type"
        )
        self.fallbacks = counter(
            "fallbacks_total", "Simulated results in place of real ones.", "task_type", "integration", "reason"
        )
        self.tickets_released = counter("tickets_released_total", "Tickets handed over unsettled.", "task_type")
        self.tickets_isolated = counter(
            "tickets_isolated_total", "Tickets that killed workers, run alone.", "task_type"
        )
        self.records_ignored = counter("records_ignored_total", "Records that ask for no work.", "kind")
        self.duplicates = counter("duplicates_total", "Tickets seen again, by the state of the first.", "kind")
        self.dead_letters = counter("dead_letters_total", "Records sent to the dead-letter topic.", "reason")
        self.results_trimmed = counter("results_trimmed_total", "Results too big to be sent whole.")

        # integrations
        self.external_call = histogram(
            "external_call_seconds", "Calls of external systems.", _CALL_SECONDS, "integration", "operation", "outcome"
        )

        # partitions and the ledger
        self.ledger_transactions = counter("ledger_transactions_total", "Committed transactions of the ledger.")
        self.ledger_entries = counter("ledger_entries_total", "Entries in the ledger's committed transactions.")
        self.ledger_transaction = histogram(
            "ledger_transaction_seconds", "Duration of the ledger's transactions.", _TRANSACTION_SECONDS
        )
        self.ledger_failures = counter("ledger_failures_total", "Failed transactions: the partition is opened again.")
        self.partition_openings = counter(
            "partition_openings_total", "Partitions assigned, by what came of it.", "kind"
        )
        self.partition_opening = histogram("partition_opening_seconds", "Time to open a partition.", _OPENING_SECONDS)
        self.leases_expired = counter("leases_expired_total", "Partitions whose tasks this worker stopped: fenced.")
        self.state_unreadable = counter(
            "state_records_unreadable_total", "Foreign or damaged records of the state topic."
        )

        # the service
        self.loop_stalls = counter("event_loop_stalls_total", "Times that the event loop stood still for too long.")
        self.kafka_errors = counter("kafka_errors_total", "Trouble with Kafka outside the ledger.")
        self.rebalances = counter("rebalances_total", "Times that the group gave out its partitions anew.")
        declare("info", "worker_info", "What this worker is.", _WORKER_LABELS)
        self.worker = Info("worker", "What this worker is.", namespace=PREFIX, registry=registry)

    def provide(self, gauge: ScrapeGauge, samples: Callable[[], Samples]) -> None:
        """Compute ``gauge`` by calling ``samples`` at each scrape; a later call replaces an earlier one."""
        self._gauges.provide(gauge, samples)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format (:data:`CONTENT_TYPE`)."""
        return generate_latest(self._registry)

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics and their content type for this ``Accept`` header: OpenMetrics, which has exemplars, if it is taken."""
        if _takes_openmetrics(accept):
            body: bytes = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call] # it has no types
            return body, openmetrics.CONTENT_TYPE_LATEST
        return self.render(), CONTENT_TYPE


def _takes_openmetrics(accept: str) -> bool:
    for kind in accept.split(","):
        name, *parameters = (part.strip().lower() for part in kind.split(";"))
        if name == OPENMETRICS and not {"q=0", "q=0.0", "q=0.00", "q=0.000"}.intersection(parameters):
            return True
    return False


def declared() -> list[Declaration]:
    """Every metric of this module, in the order of declaration: those that events feed, then the gauges."""
    gauges = [value for value in globals().values() if isinstance(value, ScrapeGauge)]
    return Metrics().declarations + [
        Declaration(f"{PREFIX}_{gauge.name}", "gauge", gauge.labels, gauge.help) for gauge in gauges
    ]


class _ScrapeGauges(Collector):
    def __init__(self) -> None:
        self._samples: dict[ScrapeGauge, Callable[[], Samples]] = {}

    def provide(self, gauge: ScrapeGauge, samples: Callable[[], Samples]) -> None:
        self._samples[gauge] = samples

    def collect(self) -> Iterable[Metric]:
        for gauge, samples in self._samples.items():
            family = GaugeMetricFamily(f"{PREFIX}_{gauge.name}", gauge.help, labels=gauge.labels)
            for labels, value in samples().items():
                family.add_metric([str(label) for label in labels], value)
            yield family


def _exemplar(trace: TraceContext | None) -> dict[str, str] | None:
    """Of traces only that can be found: one costs more than the observation itself."""
    return {"trace_id": trace.trace_id} if trace is not None and trace.is_kept else None


M = TypeVar("M", bound=MetricWrapperBase)
_Handlers = dict[type[events.Event], Callable[[Any], None]]


class _Children(dict[tuple[str, ...], M], Generic[M]):
    """The children of a metric by label values. Looking one up in a dictionary is far cheaper than ``labels()``."""

    def __init__(self, metric: M) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> M:
        child = self[labels] = self._metric.labels(*labels)
        return child


class MetricsSubscriber:
    """Counts events. ``task_types`` are those with an executor; tickets of any other type count as ``other``."""

    def __init__(self, metrics: Metrics, task_types: Collection[str] = KNOWN_TASK_TYPES) -> None:
        self._metrics = metrics
        self._types = {task_type: task_type for task_type in task_types}
        self._executed = _Children(metrics.tasks_executed)
        self._durations = _Children(metrics.task_duration)
        self._attempts = _Children(metrics.task_attempts)
        self._calls = _Children(metrics.external_call)
        self._handlers = self._hot_handlers() | self._rare_handlers(metrics)
        self._begin_series(task_types)

    def __call__(self, event: events.Event) -> None:
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def _hot_handlers(self) -> _Handlers:
        """What happens for every ticket, call or transaction."""
        return {
            events.AttemptEnded: self._attempt_ended,
            events.TicketSettled: self._ticket_settled,
            events.ExternalCall: self._external_call,
            events.LedgerCommitted: self._ledger_committed,
        }

    def _rare_handlers(self, metrics: Metrics) -> _Handlers:
        return {
            events.RetryScheduled: lambda event: metrics.task_retries.labels(self._type(event), event.reason).inc(),
            events.TicketReleased: lambda event: metrics.tickets_released.labels(self._type(event)).inc(),
            events.TicketIsolated: lambda event: metrics.tickets_isolated.labels(self._type(event)).inc(),
            events.ExecutorCrashed: lambda event: metrics.executor_crashes.labels(self._type(event)).inc(),
            events.FallbackUsed: lambda event: metrics.fallbacks.labels(
                self._type(event), event.integration, event.reason
            ).inc(),
            events.RecordIgnored: lambda event: metrics.records_ignored.labels(event.kind).inc(),
            events.DuplicateSeen: lambda event: metrics.duplicates.labels(event.kind).inc(),
            events.TicketElsewhere: lambda _: metrics.duplicates.labels("other_partition").inc(),
            events.DeadLettered: lambda event: metrics.dead_letters.labels(event.reason).inc(),
            events.ResultTrimmed: lambda _: metrics.results_trimmed.inc(),
            events.PartitionOpened: self._partition_opened,
            events.PartitionRetained: lambda _: metrics.partition_openings.labels("retained").inc(),
            events.PartitionNotOpened: lambda _: metrics.partition_openings.labels("failed").inc(),
            events.LedgerFailed: lambda _: metrics.ledger_failures.inc(),
            events.LeaseExpired: lambda _: metrics.leases_expired.inc(),
            events.StateUnreadable: lambda _: metrics.state_unreadable.inc(),
            events.KafkaTrouble: lambda _: metrics.kafka_errors.inc(),
            events.Rebalanced: lambda _: metrics.rebalances.inc(),
            events.EventLoopResumed: lambda _: metrics.loop_stalls.inc(),
            events.WorkerStarted: lambda event: metrics.worker.info(
                dict(zip(_WORKER_LABELS, (event.worker_id, event.version), strict=True))
            ),
        }

    def _attempt_ended(self, event: events.AttemptEnded) -> None:
        self._attempts[self._type(event), event.outcome].inc()

    def _ticket_settled(self, event: events.TicketSettled) -> None:
        task_type = self._type(event)
        self._executed[task_type, event.status, "true" if event.simulated else "false"].inc()
        self._durations[(task_type,)].observe(event.duration, _exemplar(event.trace))
        if event.status == Status.FAILED:
            self._metrics.tasks_failed.labels(task_type, event.reason).inc()

    def _external_call(self, event: events.ExternalCall) -> None:
        self._calls[event.integration, event.operation, event.outcome].observe(event.duration, _exemplar(event.trace))

    def _ledger_committed(self, event: events.LedgerCommitted) -> None:
        self._metrics.ledger_transactions.inc()
        self._metrics.ledger_entries.inc(event.entries)
        self._metrics.ledger_transaction.observe(event.duration)

    def _partition_opened(self, event: events.PartitionOpened) -> None:
        self._metrics.partition_openings.labels("opened").inc()
        self._metrics.partition_opening.observe(event.duration)

    def _type(self, event: events.TicketEvent) -> str:
        return self._types.get(event.task_type, OTHER)

    def _begin_series(self, task_types: Collection[str]) -> None:
        """Begin at 0 what alerts watch: the first increase of a series that was absent is invisible to them."""
        for labels in product(task_types, (Status.COMPLETED, Status.FAILED), ("true", "false")):
            self._metrics.tasks_executed.labels(*labels)
        for task_type, reason in product(task_types, Reason):
            self._metrics.tasks_failed.labels(task_type, reason)
        for reason in Reason:
            self._metrics.dead_letters.labels(reason)
        for kind in ("done", "in_flight"):
            self._metrics.duplicates.labels(kind)
