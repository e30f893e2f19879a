"""Panels of a Grafana dashboard, from the few things in which ours differ. The format is that of Grafana 10 and 11."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24

Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """PromQL, and what its series are called (``{{label}}`` stands for a label's value)."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """``description`` tells an operator what is normal. ``red_from`` colours values from there on, ``values`` gives words for numbers."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    width: int = 8
    height: int = 8
    red_from: float | None = None
    values: Mapping[int, tuple[str, str]] = field(default_factory=dict)


class Graph(Panel):
    """Lines over time."""


class Stack(Panel):
    """Lines over time, one upon another: the parts of a whole."""


class Figure(Panel):
    """The latest value, large."""


class States(Panel):
    """Which of a few states each series is in, over time."""


class HeatMap(Panel):
    """How the values of a histogram are spread, over time."""


@dataclass(frozen=True)
class Row:
    title: str
    panels: Sequence[Panel]


def laid_out(rows: Iterable[Row]) -> list[Json]:
    """The rows one below another; the panels of each from left to right, and on below where there is no room."""
    return [{**panel, "id": number} for number, panel in enumerate(_placed(rows), start=1)]


def _placed(rows: Iterable[Row]) -> Iterator[Json]:
    y = 0
    for row in rows:
        yield {
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": _place(0, y, _COLUMNS, 1),
        }
        y, x, height = y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > _COLUMNS:
                y, x, height = y + height, 0, 0
            yield {**_panel(panel), "gridPos": _place(x, y, panel.width, panel.height)}
            x, height = x + panel.width, max(height, panel.height)
        y += height


def _place(x: int, y: int, width: int, height: int) -> Json:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel) -> Json:
    kind, custom, options = _looks(panel)
    return {
        "type": kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": _defaults(panel) | {"custom": custom}, "overrides": []},
        "options": options,
        "targets": [_target(panel, number, query) for number, query in enumerate(panel.queries)],
    }


def _target(panel: Panel, number: int, query: Query) -> Json:
    return {
        "refId": chr(ord("A") + number),
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "format": "heatmap" if isinstance(panel, HeatMap) else "time_series",
        "legendFormat": query.legend,
        "range": True,
    }


def _defaults(panel: Panel) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    if panel.red_from is not None:
        steps.append({"color": "red", "value": panel.red_from})
    words = {
        str(value): {"text": text, "color": color, "index": index}
        for index, (value, (text, color)) in enumerate(panel.values.items())
    }
    return {
        "unit": panel.unit,
        "min": 0,
        "color": {"mode": "thresholds" if isinstance(panel, Figure | States) else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": [{"type": "value", "options": words}] if words else [],
    }


def _looks(panel: Panel) -> tuple[str, Json, Json]:
    """Grafana's name of the panel, and its ``custom`` field settings and ``options``."""
    match panel:
        case Figure():
            reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
            return "stat", {}, {"reduceOptions": reduce, "colorMode": "value", "graphMode": "area", "textMode": "auto"}
        case States():
            return "state-timeline", {"fillOpacity": 70, "lineWidth": 0}, {"mergeValues": True, "showValue": "auto"}
        case HeatMap():
            scheme = {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5}
            return "heatmap", {}, {"calculate": False, "color": scheme, "yAxis": {"unit": panel.unit}, "cellGap": 1}
    stacking = {"mode": "normal" if isinstance(panel, Stack) else "none", "group": "A"}
    custom = {"fillOpacity": 30 if isinstance(panel, Stack) else 5, "stacking": stacking, "showPoints": "never"}
    if panel.red_from is not None:
        custom["thresholdsStyle"] = {"mode": "line"}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    return "timeseries", custom, {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
