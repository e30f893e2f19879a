"""The Grafana dashboard asks for metrics that exist, explains each panel, and is what Grafana can read."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import pytest

from tests.support.operations import DASHBOARD
from tests.support.queries import Query, declared_series, process_series

BOARD: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
KNOWN = declared_series() | process_series()
VARIABLES = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
NAMES = [panel["title"] for panel in PANELS]


def readable(expression: str) -> str:
    """PromQL as Grafana sends it."""
    return re.sub(r"\$__(rate_interval|interval|range)", "5m", expression)


@pytest.mark.parametrize("panel", PANELS, ids=NAMES)
def test_a_panel_asks_for_metrics_and_labels_that_are_declared(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        query = Query(readable(target["expr"]), KNOWN)
        assert query.problems == []
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= query.labels


@pytest.mark.parametrize("panel", PANELS, ids=NAMES)
def test_a_panel_has_a_title_a_unit_and_a_sentence_on_what_is_normal(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["description"].endswith(".")


@pytest.mark.parametrize("panel", PANELS, ids=NAMES)
def test_a_panel_asks_the_chosen_data_source_for_the_chosen_workers(panel: dict[str, Any]) -> None:
    letters = [target["refId"] for target in panel["targets"]]
    assert len(set(letters)) == len(letters) > 0
    for source in (panel, *panel["targets"]):
        assert source["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        assert 'namespace=~"$namespace", pod=~"$pod"' in target["expr"]
        assert set(re.findall(r"\$(\w+)", readable(target["expr"]))) <= VARIABLES.keys()


def test_every_metric_that_workers_declare_is_shown() -> None:
    shown = {
        name
        for panel in PANELS
        for target in panel["targets"]
        for name in Query(readable(target["expr"]), KNOWN).series
    }
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}

    missing = {re.sub(r"_(bucket|sum|count)$", "", name) for name in declared_series()} - bases
    assert not missing, "a metric that nobody sees is of no use: give it a panel in tools/generate"


def test_variables_choose_data_source_namespace_pod_and_task_type() -> None:
    assert list(VARIABLES) == ["datasource", "namespace", "pod", "task_type"]
    for variable in list(VARIABLES.values())[1:]:
        values = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
        assert values is not None
        query = Query(values[1], KNOWN)
        assert query.problems == []
        assert values[2] in query.labels


def test_rows_are_in_the_order_of_an_operators_questions() -> None:
    rows = [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"]

    assert rows == [
        *("Overview", "Results", "Durations", "Partitions and ledger", "Integrations", "Slots and queue", "Process"),
    ]


def test_grafana_10_can_read_it() -> None:
    assert BOARD["schemaVersion"] == 39
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert len(set(NAMES)) == len(NAMES)


def test_no_panel_lies_upon_another_or_beyond_the_edge() -> None:
    places = [panel["gridPos"] for panel in BOARD["panels"]]

    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    assert not [
        (one, other)
        for one, other in combinations(places, 2)
        if one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    ]
