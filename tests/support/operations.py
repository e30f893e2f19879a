"""The files that operators of a worker are given: alerts, dashboard, runbook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "helm-charts" / "worker-agents" / "rules" / "worker-agents.yaml"
DASHBOARD = ROOT / "helm-charts" / "worker-agents" / "dashboards" / "worker-agents.json"
RUNBOOK = ROOT / "docs" / "runbook.md"

Alert = dict[str, Any]


def alerts() -> dict[str, Alert]:
    """The alert rules by name."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}
