"""The alert rules before the real promtool: they are valid, fire when they must, and only then."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.operations import DASHBOARD, RULES, alerts
from tests.support.tools import tool

CASES = Path(__file__).parent / "alerts"
ALERTS = alerts()


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    assert f"SUCCESS: {len(ALERTS)} rules found" in promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_fires_when_it_must_and_only_then(name: str) -> None:
    assert "SUCCESS" in promtool("test", "rules", CASES / f"{name}.yaml")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_case_in_which_it_fires_and_one_in_which_it_must_not(name: str) -> None:
    cases = yaml.safe_load((CASES / f"{name}.yaml").read_text(encoding="utf-8"))["tests"]
    fires = [any(check["exp_alerts"] for check in case["alert_rule_test"]) for case in cases]

    assert {check["alertname"] for case in cases for check in case["alert_rule_test"]} == {name}
    assert set(fires) == {True, False}


def test_there_are_cases_of_nothing_else() -> None:
    assert {path.stem for path in CASES.iterdir()} == ALERTS.keys()


def test_prometheus_can_read_every_query_of_the_dashboard(tmp_path: Path) -> None:
    expressions = list(dashboard_queries())
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")

    assert f"SUCCESS: {len(expressions)} rules found" in promtool("check", "rules", file)


def dashboard_queries() -> Iterator[str]:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    for panel in panels:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$__rate_interval", "5m").replace("$__range", "1h")


def promtool(*arguments: object) -> str:
    """What it prints; its complaint is the test's."""
    command = [str(tool("promtool")), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
