"""Violations of every dialect in one shape, and what a result tells of many."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_agents.executors.violations import MAX_REPORTED, report_of, violation_of
from worker_agents.model.violation import Severity, Violation

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
FIELDS = ("rule_id", "id", "check_id", "rule", "message", "msg", "reason", "severity", "level", "target", "pos")


@pytest.mark.parametrize(
    ("item", "violation"),
    [
        ({"rule": "r", "severity": "error", "message": "m"}, Violation("r", "m", Severity.HIGH)),
        ({"msg": "m", "details": {"a": 1}}, Violation("policy_violation", "m")),
        ({"rule_id": "1", "id": "2", "check_id": "3", "rule": "4", "msg": "m"}, Violation("1", "m")),
        ({"id": "2", "description": "d", "reason": "r", "level": "crit"}, Violation("2", "d", Severity.CRITICAL)),
        ({"rule_id": None, "check_id": 7, "msg": "m"}, Violation("7", "m")),
        (
            {"rule": "r", "reason": "why", "priority": "Minor", "target": "pod/a", "pos": {"line": 3}},
            Violation("r", "why", Severity.LOW, resource="pod/a", location='{"line":3}'),
        ),
        ({"resource": "a", "target": "b", "location": "f:1", "msg": ""}, Violation("policy_violation", "", resource="a", location="f:1")),
        ({"code": 5}, Violation("policy_violation", '{"code":5}')),
        (5, Violation("policy_violation", "5")),
        (None, Violation("policy_violation", "")),
    ],
)  # fmt: skip
def test_the_first_name_that_is_present_wins(item: object, violation: Violation) -> None:
    assert violation_of(item) == violation


@pytest.mark.parametrize(
    ("word", "severity"),
    [
        *((word, Severity.CRITICAL) for word in ("CRITICAL", "crit", "Fatal", "emergency")),
        *((word, Severity.HIGH) for word in ("HIGH", "error", "danger")),
        *((word, Severity.MEDIUM) for word in ("MEDIUM", "warn", "warning", "odd", "", 3)),
        *((word, Severity.LOW) for word in ("low", " MINOR ")),
        *((word, Severity.INFO) for word in ("info", "Notice")),
        ("unknown", Severity.UNKNOWN),
    ],
)
def test_synonyms_of_severities(word: object, severity: Severity) -> None:
    assert violation_of({"msg": "m", "severity": word}).severity is severity


@pytest.mark.parametrize(
    ("sentence", "severity"),
    [
        ("a critical matter", Severity.CRITICAL),
        ("a warning and an error", Severity.HIGH),
        ("minor: no label", Severity.LOW),
        ("unknown image, see info", Severity.MEDIUM),
        ("highly irregular", Severity.MEDIUM),
    ],
)
def test_a_sentence_is_as_severe_as_its_worst_word(sentence: str, severity: Severity) -> None:
    assert violation_of(sentence) == Violation("policy_violation", sentence, severity)


@given(item=json_values | st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_no_violation_is_a_crash(item: Any) -> None:
    report = report_of([violation_of(item)], frozenset())

    assert len(report["violations"]) == 1
    orjson.dumps(report)


def test_the_blocking_ones_come_first_and_then_the_worst() -> None:
    found = [Violation(str(severity), "m", severity) for severity in reversed(Severity)]

    report = report_of(found, frozenset({Severity.LOW, Severity.HIGH}))

    assert [each["rule_id"] for each in report["violations"]] == [
        "HIGH",
        "LOW",
        "CRITICAL",
        "MEDIUM",
        "INFO",
        "UNKNOWN",
    ]
    assert [each["blocking"] for each in report["violations"]] == [True, True, False, False, False, False]
    assert report["warnings"] == 4


def test_of_many_all_are_counted_and_the_worst_reported() -> None:
    found = [*([Violation("minor", "m", Severity.LOW)] * 500), Violation("worst", "m" * 5000, Severity.CRITICAL)]

    report = report_of(found, frozenset(Severity))

    assert len(report["violations"]) == MAX_REPORTED
    assert report["violations"][0]["rule_id"] == "worst"
    assert len(report["violations"][0]["message"]) == 1000
    assert report["violations_left_out"] == 501 - MAX_REPORTED
    assert report["violations_by_severity"] == {"CRITICAL": 1, "LOW": 500}
