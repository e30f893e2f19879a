"""What Prometheus sees after events."""

import dataclasses
from collections.abc import Mapping

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from worker_agents.telemetry import events, metrics
from worker_agents.telemetry.metrics import Metrics, MetricsSubscriber
from worker_agents.telemetry.tracing import TraceContext

# Design §8.
PUBLIC_METRICS = {
    "tasks_executed": {"task_type", "status", "simulated"},
    "task_duration_seconds": {"task_type"},
    "fallbacks": {"task_type", "integration", "reason"},
    "task_attempts": {"task_type", "outcome"},
    "tickets_in_flight": {"task_type", "phase"},
    "oldest_ticket_age_seconds": set[str](),
    "partition_lag": {"partition"},
    "dead_letters": {"reason"},
    "duplicates": {"kind"},
    "ledger_transactions": set[str](),
    "ledger_transaction_seconds": set[str](),
    "external_call_seconds": {"integration", "operation", "outcome"},
    "breaker_state": {"integration"},
}


class Scrape:
    """The metrics as a scraper reads them."""

    def __init__(self, source: Metrics) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(source.render().decode())}
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.samples.get((f"worker_agents_{name}", frozenset(labels.items())))


@pytest.fixture
def source() -> Metrics:
    return Metrics()


@pytest.fixture
def subscriber(source: Metrics) -> MetricsSubscriber:
    return MetricsSubscriber(source, ["BUILD", "TEST"])


def settled(task_type: str = "BUILD", status: str = "COMPLETED", **changes: object) -> events.TicketSettled:
    event = events.TicketSettled("t-1", task_type, status, reason="", simulated=False, attempts=1, duration=0.2)
    return dataclasses.replace(event, **changes)  # type: ignore[arg-type] # fields by name


def test_settled_tickets_are_counted_by_status_and_simulation(source: Metrics, subscriber: MetricsSubscriber) -> None:
    subscriber(settled())
    subscriber(settled())
    subscriber(settled(simulated=True))
    subscriber(settled(status="FAILED", reason="timeout"))
    scrape = Scrape(source)
    assert scrape("tasks_executed_total", task_type="BUILD", status="COMPLETED", simulated="false") == 2
    assert scrape("tasks_executed_total", task_type="BUILD", status="COMPLETED", simulated="true") == 1
    assert scrape("tasks_executed_total", task_type="BUILD", status="FAILED", simulated="false") == 1
    assert scrape("tasks_failed_total", task_type="BUILD", reason="timeout") == 1
    assert scrape("tasks_failed_total", task_type="BUILD", reason="") is None


def test_durations_fall_into_buckets_up_to_four_hours(source: Metrics, subscriber: MetricsSubscriber) -> None:
    for duration in (0.004, 0.2, 14_000.0, 20_000.0):
        subscriber(settled(duration=duration))
    scrape = Scrape(source)
    buckets = {"0.005": 1, "0.25": 2, "10800.0": 2, "14400.0": 3, "+Inf": 4}
    for bound, count in buckets.items():
        assert scrape("task_duration_seconds_bucket", task_type="BUILD", le=bound) == count
    assert scrape("task_duration_seconds_sum", task_type="BUILD") == pytest.approx(34_000.204)


def test_a_type_without_executor_is_one_series_for_all(source: Metrics, subscriber: MetricsSubscriber) -> None:
    for number in range(100):
        subscriber(settled(f"TYPE-{number}", "FAILED", reason="unknown_task_type"))
    scrape = Scrape(source)
    assert scrape("tasks_executed_total", task_type="other", status="FAILED", simulated="false") == 100
    assert not any("TYPE-" in str(labels) for _, labels in scrape.samples)


def test_what_alerts_watch_begins_at_zero(source: Metrics, subscriber: MetricsSubscriber) -> None:
    del subscriber
    scrape = Scrape(source)
    assert scrape("tasks_executed_total", task_type="TEST", status="FAILED", simulated="false") == 0
    assert scrape("tasks_failed_total", task_type="TEST", reason="timeout") == 0
    assert scrape("dead_letters_total", reason="retries_exhausted") == 0
    assert scrape("rebalances_total") == 0
    assert scrape("duplicates_total", kind="done") == 0
    assert scrape("ledger_transactions_total") == 0


ONE_EACH: list[tuple[events.Event, str, Mapping[str, str]]] = [
    (
        events.AttemptEnded("t", "BUILD", 1, "retry", 1.0),
        "task_attempts_total",
        {"task_type": "BUILD", "outcome": "retry"},
    ),
    (
        events.RetryScheduled("t", "BUILD", 1, 2.0, "timeout", "late"),
        "task_retries_total",
        {"task_type": "BUILD", "reason": "timeout"},
    ),
    (events.TicketReleased("t", "BUILD", "drained"), "tickets_released_total", {"task_type": "BUILD"}),
    (events.TicketIsolated("t", "BUILD", 4), "tickets_isolated_total", {"task_type": "BUILD"}),
    (events.ExecutorCrashed("t", "BUILD", "boom", ""), "executor_crashes_total", {"task_type": "BUILD"}),
    (
        events.FallbackUsed("t", "BUILD", "code_forge", "timeout", "late", "build_code_forge_error"),
        "fallbacks_total",
        {"task_type": "BUILD", "integration": "code_forge", "reason": "timeout"},
    ),
    (events.RecordIgnored("tombstone"), "records_ignored_total", {"kind": "tombstone"}),
    (events.DuplicateSeen("t", "in_flight"), "duplicates_total", {"kind": "in_flight"}),
    (events.TicketElsewhere("t", "TEST", "3", "5"), "duplicates_total", {"kind": "other_partition"}),
    (events.DeadLettered("t", "undecodable", "not JSON"), "dead_letters_total", {"reason": "undecodable"}),
    (events.ResultTrimmed("t", 2_000_000, 900_000), "results_trimmed_total", {}),
    (
        events.ExternalCall("opa", "decide", "ok", 0.1),
        "external_call_seconds_count",
        {"integration": "opa", "operation": "decide", "outcome": "ok"},
    ),
    (events.LedgerCommitted(0, 7, 0.01), "ledger_transactions_total", {}),
    (events.LedgerCommitted(0, 1, 0.01), "ledger_entries_total", {}),
    (events.LedgerCommitted(0, 7, 0.01), "ledger_transaction_seconds_count", {}),
    (events.LedgerFailed(0, "fenced"), "ledger_failures_total", {}),
    (events.PartitionOpened(0, 1, 2, 3, False, 0.5), "partition_openings_total", {"kind": "opened"}),
    (events.PartitionOpened(0, 1, 2, 3, False, 0.5), "partition_opening_seconds_count", {}),
    (events.PartitionRetained(0, 3), "partition_openings_total", {"kind": "retained"}),
    (events.PartitionNotOpened(0, "no stable end"), "partition_openings_total", {"kind": "failed"}),
    (events.LeaseExpired(0, 40.0, 3), "leases_expired_total", {}),
    (events.StateUnreadable(0, "key", "not JSON"), "state_records_unreadable_total", {}),
    (events.KafkaTrouble("poll", "timed out"), "kafka_errors_total", {}),
    (events.Rebalanced(3, 1, 0), "rebalances_total", {}),
    (events.EventLoopResumed(2.0, True), "event_loop_stalls_total", {}),
    (events.WorkerStarted("w-1", "0.1.0", ()), "worker_info", {"worker_id": "w-1", "version": "0.1.0"}),
]


@pytest.mark.parametrize(("event", "name", "labels"), ONE_EACH, ids=lambda value: type(value).__name__)
def test_an_event_counts_once(
    event: events.Event, name: str, labels: Mapping[str, str], source: Metrics, subscriber: MetricsSubscriber
) -> None:
    subscriber(event)
    assert Scrape(source)(name, **labels) == 1


def test_events_that_nobody_counts_are_passed_over(source: Metrics, subscriber: MetricsSubscriber) -> None:
    subscriber(events.WorkerStopped("w-1"))
    subscriber(events.TicketWaiting("t", "BUILD", "dependency", 1.0))
    assert Scrape(source)("tasks_executed_total", task_type="BUILD", status="FAILED", simulated="false") == 0


def test_gauges_are_computed_when_they_are_scraped(source: Metrics) -> None:
    running = {("BUILD", "running"): 2.0}
    source.provide(metrics.TICKETS_IN_FLIGHT, lambda: running)
    source.provide(metrics.OLDEST_TICKET_AGE, lambda: {(): 12.5})
    source.provide(metrics.PARTITION_LAG, lambda: {(0,): 3, (11,): 0})
    assert Scrape(source)("tickets_in_flight", task_type="BUILD", phase="running") == 2
    running["BUILD", "running"] = 5
    scrape = Scrape(source)
    assert scrape("tickets_in_flight", task_type="BUILD", phase="running") == 5
    assert scrape("oldest_ticket_age_seconds") == 12.5
    assert scrape("partition_lag", partition="11") == 0


def test_a_gauge_that_is_provided_again_is_replaced(source: Metrics) -> None:
    source.provide(metrics.OLDEST_TICKET_AGE, lambda: {(): 1.0})
    source.provide(metrics.OLDEST_TICKET_AGE, lambda: {(): 2.0})
    assert Scrape(source)("oldest_ticket_age_seconds") == 2


def test_the_public_metrics_have_their_labels(source: Metrics, subscriber: MetricsSubscriber) -> None:
    subscriber(settled())
    for event, _, _ in ONE_EACH:
        subscriber(event)
    for gauge in (metrics.TICKETS_IN_FLIGHT, metrics.OLDEST_TICKET_AGE, metrics.PARTITION_LAG, metrics.BREAKER_STATE):
        source.provide(gauge, dict.fromkeys([gauge.labels], 1.0).copy)
    families = Scrape(source).families
    for name, labels in PUBLIC_METRICS.items():
        family = families[f"worker_agents_{name}"]
        assert family.documentation.endswith(".")
        assert {label for sample in family.samples for label in sample.labels} - {"le"} == labels


def test_every_metric_is_declared_with_its_kind_and_labels(source: Metrics, subscriber: MetricsSubscriber) -> None:
    subscriber(settled("FAILED", reason="timeout"))
    for event, _, _ in ONE_EACH:
        subscriber(event)
    for gauge in (value for value in vars(metrics).values() if isinstance(value, metrics.ScrapeGauge)):
        source.provide(gauge, dict.fromkeys([gauge.labels], 1.0).copy)

    rendered = {
        (family.name, family.type, frozenset(key for sample in family.samples for key in sample.labels) - {"le"})
        for family in Scrape(source).families.values()
        if family.name.startswith(metrics.PREFIX) and not family.name.endswith("_created")
    }

    declared = metrics.declared()
    assert {
        (_family(it), "gauge" if it.kind == "info" else it.kind, frozenset(it.labels)) for it in declared
    } == rendered
    assert all(it.help.endswith(".") for it in declared)


def _family(declaration: metrics.Declaration) -> str:
    """As the parser of the text format names it."""
    return declaration.name.removesuffix("_total") if declaration.kind == "counter" else declaration.name


def test_two_registries_do_not_know_each_other() -> None:
    first, second = Metrics(), Metrics()
    MetricsSubscriber(first)(events.KafkaTrouble("poll", "timed out"))
    assert Scrape(first)("kafka_errors_total") == 1
    assert Scrape(second)("kafka_errors_total") == 0


def test_figures_of_the_process_are_there_too(source: Metrics) -> None:
    assert "process_cpu_seconds" in Scrape(source).families


# --- exemplars ---------------------------------------------------------------------------------------------------

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SENDER = TraceContext.parse(f"00-{TRACE_ID}-00f067aa0ba902b7-01")
UNSAMPLED = TraceContext.parse(f"00-{TRACE_ID}-00f067aa0ba902b7-00")
RECORDED = TraceContext(TRACE_ID, "00f067aa0ba902b7", recorded=True)


def exemplars(source: Metrics, name: str) -> list[Mapping[str, str]]:
    body, content_type = source.expose("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in openmetrics_families(body.decode())}
    return [sample.exemplar.labels for sample in families[f"worker_agents_{name}"].samples if sample.exemplar]


@pytest.mark.parametrize("trace", [SENDER, RECORDED], ids=["the sender's", "our own"])
def test_durations_name_a_trace_that_can_be_found(
    trace: TraceContext, source: Metrics, subscriber: MetricsSubscriber
) -> None:
    subscriber(settled(trace=trace))
    subscriber(events.ExternalCall("opa", "decide", "ok", 0.1, trace=trace))

    assert exemplars(source, "task_duration_seconds") == [{"trace_id": TRACE_ID}]
    assert exemplars(source, "external_call_seconds") == [{"trace_id": TRACE_ID}]


@pytest.mark.parametrize("trace", [None, UNSAMPLED, TraceContext.new()], ids=["none", "not sampled", "nobody's"])
def test_no_trace_is_named_that_nobody_keeps(
    trace: TraceContext | None, source: Metrics, subscriber: MetricsSubscriber
) -> None:
    subscriber(settled(trace=trace))

    assert exemplars(source, "task_duration_seconds") == []


def test_the_text_format_has_no_exemplars(source: Metrics, subscriber: MetricsSubscriber) -> None:
    subscriber(settled(trace=RECORDED))

    body, content_type = source.expose("")
    assert content_type == metrics.CONTENT_TYPE
    assert b"task_duration_seconds" in body
    assert TRACE_ID not in body.decode()
