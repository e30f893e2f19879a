"""Reads PromQL as Prometheus does, and compares the names in it with those that workers declare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import promql_parser as promql
from prometheus_client.parser import text_string_to_metric_families

from worker_agents.dispatch.job import JobPhase
from worker_agents.kafka.partition import PartitionPhase
from worker_agents.model.errors import Reason
from worker_agents.model.result import Status
from worker_agents.telemetry.metrics import PREFIX, Metrics, declared

Labels = frozenset[str]

OF_TARGETS = frozenset({"namespace", "job", "pod", "instance"})
"""Labels that Prometheus adds to whatever it scrapes in Kubernetes."""
_VALUES: Mapping[str, frozenset[str]] = {
    "reason": frozenset(Reason),
    "status": frozenset(Status),
    "simulated": frozenset({"true", "false"}),
    "phase": frozenset(JobPhase) | frozenset(PartitionPhase),
    "outcome": frozenset({"completed", "failed", "retry", "postponed", "released", "ok", "rejected", "unavailable"})
    | {"timeout"},
}
"""Of labels whose values are a closed set."""


def declared_series() -> dict[str, Labels]:
    """The labels of every series that a worker has, by its name."""
    series: dict[str, Labels] = {}
    for metric in declared():
        labels = frozenset(metric.labels)
        if metric.kind == "histogram":
            series[f"{metric.name}_bucket"] = labels | {"le"}
            series |= {f"{metric.name}_sum": labels, f"{metric.name}_count": labels}
        else:
            series[metric.name] = labels
    return series


def process_series() -> dict[str, Labels]:
    """Those that every process has which is instrumented with the usual library."""
    families = text_string_to_metric_families(Metrics().render().decode())
    samples = [sample for family in families for sample in family.samples if not sample.name.startswith(PREFIX)]
    return {sample.name: frozenset(sample.labels) for sample in samples}


class Query:
    """One query: ``series`` are the names in it, ``labels`` those that its result has, ``problems`` what is wrong.

    Raises ``ValueError`` for what is no PromQL.
    """

    def __init__(self, text: str, known: Mapping[str, Labels]) -> None:
        self.series: set[str] = set()
        self.problems: list[str] = []
        self._known = known
        self.labels = self._labels(promql.parse(text))

    def _labels(self, expression: promql.Expr) -> Labels:
        match expression:
            case promql.VectorSelector():
                labels = self._of_selector(expression)
            case promql.MatrixSelector():
                labels = self._of_selector(expression.vector_selector)
            case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
                labels = self._labels(expression.expr)
            case promql.AggregateExpr():
                labels = self._of_aggregation(expression)
            case promql.BinaryExpr():
                labels = self._of_operation(expression)
            case promql.Call():
                labels = self._of_call(expression)
            case _:
                labels = frozenset()
        return labels

    def _of_selector(self, selector: promql.VectorSelector) -> Labels:
        self.series.add(selector.name)
        labels = self._known.get(selector.name)
        if labels is None:
            self.problems.append(f"no metric {selector.name}")
            return OF_TARGETS
        for matcher in selector.matchers.matchers:
            self._need({matcher.name}, labels | OF_TARGETS, selector.name)
            self._check_values(matcher.name, matcher.value)
        return labels | OF_TARGETS

    def _of_aggregation(self, aggregation: promql.AggregateExpr) -> Labels:
        labels = self._labels(aggregation.expr)
        if aggregation.modifier is None:
            return frozenset()
        named = frozenset(aggregation.modifier.labels)
        self._need(named, labels, aggregation.prettify())
        return named if aggregation.modifier.type == promql.AggModifierType.By else labels - named

    def _of_operation(self, operation: promql.BinaryExpr) -> Labels:
        left, right = self._labels(operation.lhs), self._labels(operation.rhs)
        matching = operation.modifier and operation.modifier.matching
        if matching is not None:
            self._need(matching.labels, left | right, operation.prettify())
        return left | right

    def _of_call(self, call: promql.Call) -> Labels:
        labels = frozenset[str]().union(*(self._labels(argument) for argument in call.args))
        if call.func.name == "label_replace":
            return labels | {call.args[1].val}
        return labels - {"le"} if call.func.name == "histogram_quantile" else labels

    def _need(self, wanted: Iterable[str], there_are: Labels, where: str) -> None:
        self.problems += [f"no label {label} in {where}" for label in set(wanted) - there_are]

    def _check_values(self, label: str, pattern: str) -> None:
        values = set(pattern.split("|")) if label in _VALUES and "$" not in pattern else set()
        self.problems += [f"{label} is never {value!r}" for value in values - _VALUES.get(label, frozenset())]
