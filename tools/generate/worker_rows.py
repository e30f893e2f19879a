"""Rows of the dashboard that tell of workers, and of what they work with."""

from __future__ import annotations

from tools.generate.panels import Graph, Query, Row, Stack, States
from tools.generate.selectors import OURS, TICKETS, WORKERS

_CALLS = f"worker_agents_external_call_seconds_count{{{WORKERS}}}[$__rate_interval]"
_CALL_BUCKETS = f"worker_agents_external_call_seconds_bucket{{{WORKERS}}}[$__rate_interval]"
# `all` is no task type that the variable offers.
_SLOTS = f'{WORKERS}, task_type=~"$task_type|all"'


def _quantile(share: float, histogram: str) -> str:
    series = f"worker_agents_{histogram}_bucket{{{WORKERS}}}[$__rate_interval]"
    return f"histogram_quantile({share}, sum by (le) (rate({series})))"


def _hourly(metric: str, by: str = "") -> str:
    return f"sum{by} (increase(worker_agents_{metric}{{{WORKERS}}}[1h]))"


PARTITIONS = Row(
    "Partitions and ledger",
    [
        Stack(
            "Partitions by phase",
            "`opening` lasts seconds; `suspended` means that the ledger is in trouble and nothing new starts there.",
            "short",
            [Query(f"sum by (phase) (worker_agents_partitions{{{WORKERS}}})", "{{phase}}")],
        ),
        Graph(
            "Lag by partition",
            "Records from the lowest unsettled one to the end. Only one that rises while others fall is a sign of trouble.",
            "short",
            [Query(f"sum by (partition) (worker_agents_partition_lag{{{WORKERS}}})", "partition {{partition}}")],
        ),
        Graph(
            "Age of the leases",
            "Time since each worker last wrote to a partition. Renewed every third of the session; at the session's length, less the "
            "kill grace, the worker stops its tickets.",
            "s",
            [Query(f"max by (pod) (worker_agents_ledger_lease_age_seconds{{{WORKERS}}})", "{{pod}}")],
        ),
        Graph(
            "Transactions",
            "Committed each second, and what is in them: results, states, dead letters. Many entries in each are good.",
            "suffix: /s",
            [
                Query(
                    f"sum(rate(worker_agents_ledger_transactions_total{{{WORKERS}}}[$__rate_interval]))",
                    "transactions",
                ),
                Query(f"sum(rate(worker_agents_ledger_entries_total{{{WORKERS}}}[$__rate_interval]))", "entries"),
            ],
        ),
        Graph(
            "Duration of transactions",
            "Milliseconds are normal. At 8 s one is given up and its partition opened again.",
            "s",
            [
                Query(_quantile(0.5, "ledger_transaction_seconds"), "p50"),
                Query(_quantile(0.99, "ledger_transaction_seconds"), "p99"),
            ],
        ),
        Graph(
            "Time to open a partition",
            "From its assignment to its first ticket; tickets of the partition wait meanwhile.",
            "s",
            [
                Query(_quantile(0.5, "partition_opening_seconds"), "p50"),
                Query(_quantile(0.99, "partition_opening_seconds"), "p99"),
            ],
        ),
        Graph(
            "Rebalances and openings",
            "How often partitions were given out anew in the last hour, and what came of those assigned. Each worker that goes or comes "
            "makes one.",
            "short",
            [
                Query(f"max(increase(worker_agents_rebalances_total{{{WORKERS}}}[1h]))", "rebalances"),
                Query(_hourly("partition_openings_total", " by (kind)"), "partitions {{kind}}"),
            ],
        ),
        Graph(
            "Trouble with the ledger",
            "Should be 0 but for restarts of brokers: failed transactions, leases lost, unreadable states. In the last hour.",
            "short",
            [
                Query(_hourly("ledger_failures_total"), "failed transactions"),
                Query(_hourly("leases_expired_total"), "leases expired"),
                Query(_hourly("state_records_unreadable_total"), "unreadable states"),
            ],
        ),
        Graph(
            "Trouble with Kafka, and tickets handed over",
            "Errors outside of the ledger, and tickets that were given to the next owner unsettled. In the last hour.",
            "short",
            [
                Query(_hourly("kafka_errors_total"), "Kafka errors"),
                Query(_hourly("tickets_released_total"), "tickets handed over"),
            ],
        ),
    ],
)

INTEGRATIONS = Row(
    "Integrations",
    [
        States(
            "Breakers",
            "Open: the system is down, and its tickets wait or are simulated. One that nobody needs stays open until the next call.",
            "short",
            [Query(f"max by (integration) (worker_agents_breaker_state{{{WORKERS}}})", "{{integration}}")],
            width=12,
            values={0: ("closed", "green"), 1: ("half open", "yellow"), 2: ("open", "red")},
        ),
        Stack(
            "Fallbacks",
            "Simulated results in place of real ones each second, and why. Should be 0 in production.",
            "suffix: /s",
            [
                Query(
                    "sum by (integration, reason) "
                    f"(rate(worker_agents_fallbacks_total{{{TICKETS}}}[$__rate_interval]))",
                    "{{integration}}: {{reason}}",
                )
            ],
            width=12,
        ),
        Stack(
            "Calls by outcome",
            "`rejected` means that our request was wrong, `unavailable` and `timeout` that the system is in trouble.",
            "suffix: /s",
            [Query(f"sum by (integration, outcome) (rate({_CALLS}))", "{{integration}}: {{outcome}}")],
        ),
        Graph(
            "Duration of calls: 95th percentile",
            "One call in twenty takes longer.",
            "s",
            [
                Query(
                    f"histogram_quantile(0.95, sum by (le, integration, operation) (rate({_CALL_BUCKETS})))",
                    "{{integration}} {{operation}}",
                )
            ],
        ),
        Graph(
            "Calls that fail",
            "Share of the calls that got no proper answer. At half of them, or five in a row, the breaker opens.",
            "percentunit",
            [
                Query(
                    "sum by (integration) "
                    f'(rate(worker_agents_external_call_seconds_count{{{WORKERS}, outcome=~"unavailable|timeout"}}[$__rate_interval]))'
                    f" / sum by (integration) (rate({_CALLS}))",
                    "{{integration}}",
                )
            ],
        ),
    ],
)

SLOTS = Row(
    "Slots and queue",
    [
        Graph(
            "Slots in use",
            "Of types with a limit of their own, and of all. At 100 % tickets wait for their turn.",
            "percentunit",
            [
                Query(
                    f"sum by (task_type) (worker_agents_task_slots_used{{{_SLOTS}}})"
                    f" / sum by (task_type) (worker_agents_task_slots{{{_SLOTS}}})",
                    "{{task_type}}",
                )
            ],
            red_from=0.95,
        ),
        Graph(
            "Work and room for it",
            "Tickets that run, wait for a slot or were not read yet, beside all slots. What scales workers goes by the first; above the "
            "slots for long, more workers would help, up to one a partition.",
            "short",
            [
                Query(f"sum(worker_agents_unfinished_tickets{{{WORKERS}}})", "unfinished tickets"),
                Query(f'sum(worker_agents_task_slots{{{WORKERS}, task_type="all"}})', "slots"),
            ],
        ),
        Stack(
            "Tickets that wait for a slot",
            "They could start at once. Few and short-lived are normal.",
            "short",
            [
                Query(
                    f'sum by (task_type) (worker_agents_tickets_in_flight{{{TICKETS}, phase="ready"}})',
                    "{{task_type}}",
                )
            ],
        ),
        Graph(
            "The park",
            "Tickets that wait outside of the buffer, as a share of MAX_PARKED_TICKETS. At 100 % a worker reads no more.",
            "percentunit",
            [
                Query(
                    f"max by (pod) (worker_agents_parked_tickets{{{WORKERS}}}"
                    f" / worker_agents_parked_tickets_limit{{{WORKERS}}})",
                    "{{pod}}",
                )
            ],
            red_from=0.9,
        ),
        Stack(
            "Paused task types",
            "Workers on which an operator has paused the type. A pause ends by itself, or with its worker.",
            "short",
            [Query(f"sum by (task_type) (worker_agents_task_type_paused{{{TICKETS}}}) > 0", "{{task_type}}")],
        ),
    ],
)

PROCESS = Row(
    "Process",
    [
        Graph(
            "CPU",
            "Cores in use by each worker itself; test programs and scans count on their own. The event loop can use one.",
            "short",
            [
                Query(
                    f"sum by (pod) (rate(process_cpu_seconds_total{{{WORKERS}}}[$__rate_interval]) {OURS})",
                    "{{pod}}",
                )
            ],
        ),
        Graph(
            "Memory",
            "Resident memory of each worker itself.",
            "bytes",
            [Query(f"sum by (pod) (process_resident_memory_bytes{{{WORKERS}}} {OURS})", "{{pod}}")],
        ),
        Graph(
            "Open files",
            "Files and connections, as a share of what the process may have. Each partition has connections of its own.",
            "percentunit",
            [
                Query(
                    f"max by (pod) (process_open_fds{{{WORKERS}}} / process_max_fds{{{WORKERS}}} {OURS})",
                    "{{pod}}",
                )
            ],
            red_from=0.9,
        ),
        Graph(
            "Event loop: lag",
            "How late everything is that waits for its turn. Milliseconds are normal; from 0.2 s on an alert fires.",
            "s",
            [Query(f"max by (pod) (worker_agents_event_loop_lag_seconds{{{WORKERS}}})", "{{pod}}")],
            red_from=0.2,
        ),
        Graph(
            "Event loop: stalls",
            "Times that it stood still, in the last hour. The log has a stack of each.",
            "short",
            [Query(f"sum by (pod) (increase(worker_agents_event_loop_stalls_total{{{WORKERS}}}[1h]))", "{{pod}}")],
        ),
        Graph(
            "Draining",
            "How long workers have been draining, and how long they let tickets run.",
            "s",
            [
                Query(f"max by (pod) (worker_agents_draining_seconds{{{WORKERS}}})", "{{pod}}"),
                Query(f"max(worker_agents_drain_timeout_seconds{{{WORKERS}}})", "time-out"),
            ],
        ),
        Graph(
            "Versions",
            "Workers of each version: two during a roll-out, else one.",
            "short",
            [Query(f"count by (version) (worker_agents_worker_info{{{WORKERS}}})", "{{version}}")],
        ),
        Graph(
            "Age of the process",
            "A saw-tooth is a worker that restarts again and again.",
            "s",
            [
                Query(
                    f"time() - max by (pod) (process_start_time_seconds{{{WORKERS}}} {OURS})",
                    "{{pod}}",
                )
            ],
        ),
    ],
)
