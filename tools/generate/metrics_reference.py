"""docs/metrics.md, from the declarations in ``telemetry.metrics``."""

from __future__ import annotations

from collections.abc import Iterable

from worker_agents.dispatch.admission import Ignored
from worker_agents.dispatch.job import JobPhase
from worker_agents.kafka.partition import PartitionPhase
from worker_agents.model.errors import Reason
from worker_agents.model.result import Status
from worker_agents.telemetry.metrics import ALL_TYPES, OTHER, PREFIX, Declaration, declared

_HEAD = f"""# Metrics

What `GET /metrics` of a worker tells, in Prometheus' text format; all names begin with `{PREFIX}_`. Written by `make generate` from
`worker_agents/telemetry/metrics.py`, where each is declared once. The dashboard
([worker-agents.json](../helm-charts/worker-agents/dashboards/worker-agents.json)) and the alerts
([worker-agents.yaml](../helm-charts/worker-agents/rules/worker-agents.yaml), [runbook](runbook.md)) use no other names.

Times are seconds. A histogram has the series `…_bucket` (with the label `le`), `…_sum` and `…_count`. What counts since the start of the
process begins at 0 with each. Those of the process itself have the usual names: `process_cpu_seconds_total`,
`process_resident_memory_bytes`, `process_open_fds`, `process_max_fds`, `process_start_time_seconds`.

"""


def metrics_reference() -> str:
    """The whole document."""
    metrics = declared()
    return _HEAD + _metrics_table(metrics) + "\n## Labels\n\n" + _labels_table(metrics)


def _metrics_table(metrics: Iterable[Declaration]) -> str:
    rows = (
        f"| `{it.name}` | {it.kind} | {', '.join(f'`{label}`' for label in it.labels)} | {it.help} |\n"
        for it in metrics
    )
    return "| metric | kind | labels | meaning |\n|---|---|---|---|\n" + "".join(rows)


def _labels_table(metrics: Iterable[Declaration]) -> str:
    labels = dict.fromkeys(label for metric in metrics for label in metric.labels)
    rows = (f"| `{label}` | {_LABELS[label]} |\n" for label in labels)
    return "| label | values |\n|---|---|\n" + "".join(rows)


def _values(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


_LABELS = {
    "task_type": f"a type that has an executor; `{OTHER}` for all others; `{ALL_TYPES}` for the slots of all types together",
    "status": _values(status for status in Status if status in {Status.COMPLETED, Status.FAILED}),
    "simulated": "`true`, `false`",
    "reason": _values(Reason),
    "outcome": "of an attempt: `completed`, `failed`, `retry`, `postponed`, `released`; "
    "of a call: `ok`, `rejected`, `unavailable`, `timeout`",
    "integration": "`code_forge`, `opa`, `trivy`, `argocd`, `vault`, `kubernetes`, `test`",
    "operation": "what was asked of the integration",
    "kind": f"of a duplicate: `done`, `in_flight`, `other_partition`; of an ignored record: {_values(Ignored)}; "
    "of an opening: `opened`, `retained`, `failed`",
    "phase": f"of a ticket: {_values(JobPhase)}; of a partition: {_values(PartitionPhase)}",
    "partition": "number of the partition of the tickets topic",
    "worker_id": "`WORKER_ID`",
    "version": "of worker-agents",
}
"""What each label may say. A label that is not told of here stops the program."""
