"""Rows of the dashboard that tell of tickets."""

from __future__ import annotations

from tools.generate.panels import Figure, Graph, HeatMap, Query, Row, Stack, States
from tools.generate.selectors import NO_FAULT, TICKETS, WORKERS


def _per_second(metric: str, by: str, more: str = "", selector: str = TICKETS) -> str:
    return f"sum by ({by}) (rate(worker_agents_{metric}{{{selector}{more}}}[$__rate_interval]))"


_DURATIONS = f"worker_agents_task_duration_seconds_bucket{{{TICKETS}}}[$__rate_interval]"


def _quantile(share: float) -> Query:
    """Of the durations, by type."""
    return Query(
        f"histogram_quantile({share}, sum by (le, task_type) (rate({_DURATIONS})))",
        f"{{{{task_type}}}} p{share * 100:.0f}",
    )


OVERVIEW = Row(
    "Overview",
    [
        Figure(
            "Workers ready",
            "Workers that take tickets now. Those that start, drain or cannot open a partition are not among them.",
            "short",
            [Query(f"sum(worker_agents_ready{{{WORKERS}}}) or vector(0)", "ready")],
            width=4,
            height=5,
        ),
        Figure(
            "Throughput",
            "Tickets with a final result each second, of all types.",
            "suffix: tickets/s",
            [Query(f"sum(rate(worker_agents_tasks_executed_total{{{TICKETS}}}[$__rate_interval]))", "settled")],
            width=4,
            height=5,
        ),
        Figure(
            "Tickets in flight",
            "Unsettled tickets that workers hold: running, or waiting for something.",
            "short",
            [Query(f"sum(worker_agents_tickets_in_flight{{{TICKETS}}}) or vector(0)", "in flight")],
            width=4,
            height=5,
        ),
        Figure(
            "Lag",
            "Records from the lowest unsettled one to the end, of all partitions. One long ticket keeps it up although "
            "those behind it are settled.",
            "short",
            [Query(f"sum(worker_agents_partition_lag{{{WORKERS}}})", "lag")],
            width=4,
            height=5,
        ),
        Figure(
            "Oldest ticket",
            "Age of the oldest unsettled ticket. Pipelines may take four hours; red from five.",
            "s",
            [Query(f"max(worker_agents_oldest_ticket_age_seconds{{{WORKERS}}})", "oldest")],
            width=4,
            height=5,
            red_from=5 * 3600,
        ),
        Figure(
            "Simulated results",
            "Results in the time shown that stand for work which was not done. Should be 0 in production.",
            "short",
            [
                Query(
                    f'sum(increase(worker_agents_tasks_executed_total{{{TICKETS}, simulated="true"}}[$__range]))',
                    "simulated",
                )
            ],
            width=4,
            height=5,
            red_from=1,
        ),
        States(
            "State of each worker",
            "Ready, or not: `GET /ready` of the worker says why. A roll-out shows as short gaps, one after another.",
            "short",
            [Query(f"worker_agents_ready{{{WORKERS}}}", "{{pod}}")],
            width=12,
            values={0: ("not ready", "orange"), 1: ("ready", "green")},
        ),
        Stack(
            "Tickets in flight by phase",
            "`parked` wait for a dependency, a retry or a system, `ready` for a slot; `settling` have their result on the way.",
            "short",
            [Query(f"sum by (phase) (worker_agents_tickets_in_flight{{{TICKETS}}})", "{{phase}}")],
            width=12,
        ),
        Stack(
            "Throughput by type",
            "Tickets with a final result each second.",
            "suffix: tickets/s",
            [
                Query(
                    f"sum by (task_type) (rate(worker_agents_tasks_executed_total{{{TICKETS}}}[$__rate_interval]))",
                    "{{task_type}}",
                )
            ],
            width=12,
        ),
        Graph(
            "Oldest ticket of each worker",
            "The age of each worker's oldest unsettled ticket. A line that only rises belongs to a ticket that does not end.",
            "s",
            [Query(f"max by (pod) (worker_agents_oldest_ticket_age_seconds{{{WORKERS}}})", "{{pod}}")],
            width=12,
            red_from=5 * 3600,
        ),
    ],
)

RESULTS = Row(
    "Results",
    [
        Stack(
            "Results by status",
            "COMPLETED and FAILED tickets each second. FAILED includes verdicts: tests that failed, policies that denied.",
            "suffix: tickets/s",
            [Query(_per_second("tasks_executed_total", "status"), "{{status}}")],
        ),
        Stack(
            "Failures by reason",
            "FAILED tickets each second that are no verdict: they could not be worked on properly. Should be near 0.",
            "suffix: tickets/s",
            [Query(_per_second("tasks_failed_total", "reason", f', reason!~"{NO_FAULT}"'), "{{reason}}")],
        ),
        Stack(
            "Negative verdicts, and what follows from them",
            "Tests that failed, policies that denied, scans with findings; tickets that depend on such; cancelled ones.",
            "suffix: tickets/s",
            [Query(_per_second("tasks_failed_total", "reason", f', reason=~"{NO_FAULT}"'), "{{reason}}")],
        ),
        Stack(
            "Simulated results by type",
            "Tickets each second that are COMPLETED although nothing was done. Should be 0 in production.",
            "suffix: tickets/s",
            [Query(_per_second("tasks_executed_total", "task_type", ', simulated="true"'), "{{task_type}}")],
        ),
        Stack(
            "Dead letters by reason",
            "Records put aside in the last hour, by `worker-agents dlq list` to be seen one by one.",
            "short",
            [
                Query(
                    f"sum by (reason) (increase(worker_agents_dead_letters_total{{{WORKERS}}}[1h]))",
                    "{{reason}}",
                )
            ],
        ),
        Stack(
            "Attempts by outcome",
            "`retry` will be repeated; `postponed` waits for a breaker or for room, and costs no attempt; `released` goes on elsewhere.",
            "suffix: /s",
            [Query(_per_second("task_attempts_total", "outcome"), "{{outcome}}")],
        ),
        Stack(
            "Retries by reason",
            "Attempts each second that failed and will be repeated.",
            "suffix: /s",
            [Query(_per_second("task_retries_total", "reason"), "{{reason}}")],
        ),
        Stack(
            "Duplicates and ignored records",
            "Copies of tickets that are settled or under way, and records that ask for no work. A replayed topic shows here.",
            "suffix: /s",
            [
                Query(_per_second("duplicates_total", "kind", selector=WORKERS), "duplicate: {{kind}}"),
                Query(_per_second("records_ignored_total", "kind", selector=WORKERS), "ignored: {{kind}}"),
            ],
        ),
        Graph(
            "Defects",
            "Should be 0: exceptions that an executor let out, results trimmed because they are too big, tickets isolated because "
            "workers died with them. In the last hour.",
            "short",
            [
                Query(f"sum(increase(worker_agents_executor_crashes_total{{{TICKETS}}}[1h]))", "executor crashes"),
                Query(f"sum(increase(worker_agents_results_trimmed_total{{{WORKERS}}}[1h]))", "results trimmed"),
                Query(f"sum(increase(worker_agents_tickets_isolated_total{{{TICKETS}}}[1h]))", "tickets isolated"),
            ],
        ),
    ],
)

DURATIONS = Row(
    "Durations",
    [
        Graph(
            "Duration: median",
            "Half of the tickets take less, from their first attempt to their result; waits between attempts are included.",
            "s",
            [_quantile(0.5)],
        ),
        Graph(
            "Duration: 95th and 99th percentile",
            "One in twenty, and one in a hundred, takes longer.",
            "s",
            [_quantile(0.95), _quantile(0.99)],
        ),
        HeatMap(
            "Durations, spread",
            "How many tickets took how long. Two bands are two kinds of tickets, or an integration that slows some down.",
            "s",
            [Query(f"sum by (le) (increase({_DURATIONS}))", "{{le}}")],
        ),
    ],
)
