"""The Grafana dashboard of worker-agents."""

from __future__ import annotations

import json

from tools.generate.panels import DATASOURCE, Json, laid_out
from tools.generate.selectors import WORKERS
from tools.generate.ticket_rows import DURATIONS, OVERVIEW, RESULTS
from tools.generate.worker_rows import INTEGRATIONS, PARTITIONS, PROCESS, SLOTS

_SCHEMA_VERSION = 39


def dashboard_json() -> str:
    """The file that Grafana imports, and that its sidecar takes from a ConfigMap."""
    return json.dumps(_dashboard(), indent=2) + "\n"


def _dashboard() -> Json:
    return {
        "uid": "worker-agents",
        "title": "worker-agents",
        "description": "What the workers do, what they wait for and why. Alerts and what to do about them: docs/runbook.md.",
        "tags": ["worker-agents"],
        "schemaVersion": _SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": _variables()},
        "panels": laid_out([OVERVIEW, RESULTS, DURATIONS, PARTITIONS, INTEGRATIONS, SLOTS, PROCESS]),
    }


# --- variables ---------------------------------------------------------------------------------------------------


def _variables() -> list[Json]:
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0},
        _variable("namespace", "Namespace", "label_values(worker_agents_ready, namespace)"),
        _variable("pod", "Pod", 'label_values(worker_agents_ready{namespace=~"$namespace"}, pod)'),
        _variable(
            "task_type", "Task type", f"label_values(worker_agents_tasks_executed_total{{{WORKERS}}}, task_type)"
        ),
    ]


def _variable(name: str, label: str, query: str) -> Json:
    """All values are a pattern that fits absent labels too: outside of Kubernetes there is neither namespace nor pod."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }
