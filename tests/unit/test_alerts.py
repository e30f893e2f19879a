"""Every alert asks for metrics that exist, says what an operator needs, and has a section in the runbook."""

from __future__ import annotations

import re

import pytest
from typer.main import get_group

from tests.support.operations import RUNBOOK, alerts
from tests.support.queries import Query, declared_series
from worker_agents.cli.app import app as cli
from worker_agents.telemetry.metrics import PREFIX

ALERTS = alerts()
KNOWN = declared_series()
SECTIONS = re.findall(
    r"^## (WorkerAgents\w+)\n(.*?)(?=^## |\Z)", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
PARTS = ("**Means.**", "**You see.**", "**Matters because.**", "**Check.**", "**Do.**", "**Do not.**")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_asks_for_metrics_and_labels_that_are_declared(name: str) -> None:
    assert Query(ALERTS[name]["expr"], KNOWN).problems == []


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_in_words_with_figures_that_it_has(name: str) -> None:
    alert = ALERTS[name]
    text = alert["annotations"]["summary"] + alert["annotations"]["description"]

    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert len(alert["annotations"]["description"]) > 100
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= Query(alert["expr"], KNOWN).labels


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_leads_to_its_section_of_the_runbook(name: str) -> None:
    assert ALERTS[name]["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"


def test_every_alert_has_one_section_in_the_runbook_and_every_section_an_alert() -> None:
    assert [name for name, _ in SECTIONS] == list(ALERTS)


@pytest.mark.parametrize(("name", "text"), SECTIONS, ids=[name for name, _ in SECTIONS])
def test_a_section_answers_the_same_questions_in_the_same_order(name: str, text: str) -> None:
    del name
    assert tuple(re.findall(r"^\*\*.+?\.\*\*", text, re.MULTILINE)) == PARTS


def test_the_runbook_names_only_metrics_that_exist() -> None:
    named = set(re.findall(rf"\b{PREFIX}_\w+", RUNBOOK.read_text(encoding="utf-8")))

    assert named - KNOWN.keys() == set()


def test_the_runbook_names_only_commands_that_exist() -> None:
    commands = set(re.findall(r"`worker-agents ([a-z-]+)", RUNBOOK.read_text(encoding="utf-8")))

    assert len(commands) > 5
    assert commands - get_group(cli).commands.keys() == set()
