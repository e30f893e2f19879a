"""The verdict in what OPA answers, in every form that policies have (``contracts.md`` 3.1, ``design.md`` §5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from worker_agents.clients.opa import Decision, policy_segments
from worker_agents.executors.validate_verdict import EVERY_SEVERITY, Verdict
from worker_agents.executors.violations import is_violation_like, violation_of
from worker_agents.model.errors import Reason
from worker_agents.model.violation import Severity, Violation

POLICY: Final = "policy"
MAX_RAW_RESULT_BYTES: Final = 16_384

# Rules of these names are violations by themselves, also where they are objects keyed by something.
_VIOLATION_RULES: Final = frozenset({"violations", "violation", "deny"})
_NOTHING_BLOCKS: Final[frozenset[Severity]] = frozenset()


def judge_policy(policy_path: str, decision: Decision) -> Verdict:
    """``allow`` decides; violations beside ``allow=true`` are warnings.

    Without ``allow``, an existing ``violations`` passes when it is empty. With neither, and without any result, nothing
    was decided: that fails as ``policy_undefined``, never passes.
    """
    if not decision.defined:
        return _undefined(policy_path, decision, _hint(policy_path))
    result = decision.result
    match result:
        case bool():
            return _decided(policy_path, decision, allowed=result, violations=())
        case list():
            return _decided(policy_path, decision, allowed=not result, violations=_violations(result))
        case dict() if policy_segments(policy_path)[-1] in _VIOLATION_RULES:
            return _decided(policy_path, decision, allowed=not result, violations=_violations(result.values()))
        case dict():
            return _judge_package(policy_path, decision, result)
        case _:
            return _undefined(policy_path, decision, "its value is neither true or false nor a list of violations")


def _judge_package(policy_path: str, decision: Decision, rules: Mapping[str, Any]) -> Verdict:
    allow, listed = rules.get("allow"), rules.get("violations")
    if listed is not None and not isinstance(listed, list | dict):
        return _undefined(policy_path, decision, "its violations are neither a list nor an object")
    violations = _violations(listed.values() if isinstance(listed, dict) else listed or ())
    if isinstance(allow, bool):
        return _decided(policy_path, decision, allowed=allow, violations=violations)
    if allow is not None:
        return _undefined(policy_path, decision, "its allow is neither true nor false")
    if listed is not None:
        return _decided(policy_path, decision, allowed=not violations, violations=violations)
    if rules and all(is_violation_like(value) for value in rules.values()):
        return _decided(policy_path, decision, allowed=False, violations=_violations(rules.values()))
    return _undefined(policy_path, decision, "it has neither allow nor violations")


def _decided(policy_path: str, decision: Decision, *, allowed: bool, violations: tuple[Violation, ...]) -> Verdict:
    return Verdict(
        POLICY,
        violations=violations,
        blocking=_NOTHING_BLOCKS if allowed else EVERY_SEVERITY,
        problem=None if allowed else _denial(policy_path, violations),
        rules_checked=1,
        metadata=_metadata(policy_path, decision),
    )


def _undefined(policy_path: str, decision: Decision, why: str) -> Verdict:
    return Verdict(
        POLICY,
        problem=f"policy {policy_path} decided nothing: {why}",
        reason=Reason.POLICY_UNDEFINED,
        metadata=_metadata(policy_path, decision),
    )


def _denial(policy_path: str, violations: tuple[Violation, ...]) -> str:
    if not violations:
        return f"denied by policy {policy_path}"
    count = "1 violation" if len(violations) == 1 else f"{len(violations)} violations"
    return f"denied by policy {policy_path}, {count}: {violations[0].message[:300]}"


def _hint(policy_path: str) -> str:
    hint = "; packages are separated by slashes, as in policy/allow" if "." in policy_path else ""
    return f"there is no such rule, or it is undefined for this input{hint}"


def _violations(items: Any) -> tuple[Violation, ...]:
    return tuple(violation_of(item) for item in items)


def _metadata(policy_path: str, decision: Decision) -> dict[str, Any]:
    opa: dict[str, Any] = {"policy_path": policy_path, **_raw_result(decision.result)}
    if decision.decision_id is not None:
        opa["decision_id"] = decision.decision_id
    if decision.warning is not None:
        opa["warning"] = decision.warning[:MAX_RAW_RESULT_BYTES]
    return {"client_type": "dedicated", "opa_metadata": opa}


def _raw_result(result: Any) -> dict[str, Any]:
    """What OPA answered; of a long answer the beginning, as text."""
    text = orjson.dumps(result)
    if len(text) <= MAX_RAW_RESULT_BYTES:
        return {"raw_result": result}
    start = text[:MAX_RAW_RESULT_BYTES].decode(errors="ignore")
    return {"raw_result": start, "raw_result_truncated": True, "raw_result_bytes": len(text)}
