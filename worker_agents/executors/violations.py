"""Violations in whatever shape a policy reports them, and the part of a result that tells of them (``contracts.md`` 1.8)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from worker_agents.model.violation import Severity, Violation

MAX_REPORTED: Final = 200
MAX_TEXT_LENGTH: Final = 1_000
NAMELESS_RULE: Final = "policy_violation"

_RULE = ("rule_id", "id", "check_id", "rule")
_MESSAGE = ("message", "msg", "description", "reason")
_SEVERITY = ("severity", "level", "priority")
_RESOURCE = ("resource", "target")
_LOCATION = ("location", "pos")
_SYNONYMS: Final[Mapping[str, Severity]] = {
    **{severity.value: severity for severity in Severity},
    **dict.fromkeys(("CRIT", "FATAL", "EMERGENCY"), Severity.CRITICAL),
    **dict.fromkeys(("ERROR", "DANGER"), Severity.HIGH),
    **dict.fromkeys(("WARN", "WARNING"), Severity.MEDIUM),
    "MINOR": Severity.LOW,
    "NOTICE": Severity.INFO,
}
# In a sentence "unknown" is an ordinary word, and so is "info".
_KEYWORDS: Final = {word: severity for word, severity in _SYNONYMS.items() if word not in ("UNKNOWN", "INFO")}
_WORD = re.compile(r"[A-Z]+")
_ORDER: Final = {severity: rank for rank, severity in enumerate(Severity)}


def violation_of(item: object) -> Violation:
    """One violation of a policy: an object with any of the usual names, of which the first present wins, or a sentence."""
    if not isinstance(item, Mapping):
        text = _text(item) or ""
        return Violation(NAMELESS_RULE, text, _severity_in(text))
    message = _first(item, _MESSAGE)
    return Violation(
        rule_id=_first(item, _RULE) or NAMELESS_RULE,
        message=message if message is not None else _text(item) or "",
        severity=_SYNONYMS.get((_first(item, _SEVERITY) or "").strip().upper(), Severity.MEDIUM),
        resource=_first(item, _RESOURCE),
        location=_first(item, _LOCATION),
    )


def is_violation_like(item: object) -> bool:
    """Whether it reads as a violation by itself: a sentence, or an object with a message or a rule."""
    if isinstance(item, Mapping):
        return any(item.get(name) is not None for name in (*_MESSAGE, *_RULE))
    return isinstance(item, str)


def report_of(violations: Iterable[Violation], blocking: frozenset[Severity]) -> dict[str, Any]:
    """``violations`` and ``violations_by_severity`` of a result's output, and how many of them are ``warnings``.

    Those of a severity in ``blocking`` fail the ticket; the others are warnings, each with ``blocking: false``. The worst come
    first, ``MAX_REPORTED`` of them; ``violations_left_out`` counts the rest. All are counted.
    """
    found = sorted(violations, key=lambda each: (each.severity not in blocking, _ORDER[each.severity]))
    counts = Counter(each.severity for each in found)
    return {
        "violations": [_as_json(each, is_blocking=each.severity in blocking) for each in found[:MAX_REPORTED]],
        "violations_by_severity": {severity.value: counts[severity] for severity in Severity if counts[severity]},
        "violations_left_out": max(len(found) - MAX_REPORTED, 0),
        "warnings": sum(each.severity not in blocking for each in found),
    }


def _as_json(violation: Violation, *, is_blocking: bool) -> dict[str, Any]:
    return {
        "rule_id": violation.rule_id[:MAX_TEXT_LENGTH],
        "message": violation.message[:MAX_TEXT_LENGTH],
        "severity": violation.severity.value,
        "resource": violation.resource and violation.resource[:MAX_TEXT_LENGTH],
        "location": violation.location and violation.location[:MAX_TEXT_LENGTH],
        "blocking": is_blocking,
    }


def _severity_in(sentence: str) -> Severity:
    """The worst severity that the sentence names; MEDIUM where it names none."""
    named = [_KEYWORDS[word] for word in _WORD.findall(sentence.upper()) if word in _KEYWORDS]
    return min(named, key=_ORDER.__getitem__, default=Severity.MEDIUM)


def _first(item: Mapping[Any, Any], names: tuple[str, ...]) -> str | None:
    return next((_text(item[name]) for name in names if item.get(name) is not None), None)


def _text(value: object) -> str | None:
    """Text as it is, anything else as its JSON; ``None`` stays."""
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()
