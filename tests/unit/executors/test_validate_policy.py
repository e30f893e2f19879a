"""The verdict in each form of an answer of OPA."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_agents.clients.opa import Decision
from worker_agents.executors.validate_policy import MAX_RAW_RESULT_BYTES, judge_policy
from worker_agents.model.errors import Reason

PASSED, DENIED, UNDEFINED = "passed", "denied", "undefined"


def outcome_of(result: Any, path: str = "policy") -> str:
    verdict = judge_policy(path, Decision(defined=result is not None, result=result))
    assert verdict.passed == verdict.output()["validation_passed"]
    if verdict.passed:
        return PASSED
    return UNDEFINED if verdict.reason is Reason.POLICY_UNDEFINED else DENIED


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (True, PASSED),
        (False, DENIED),
        (None, UNDEFINED),
        ([], PASSED),
        (["no"], DENIED),
        ({}, UNDEFINED),
        ({"allow": True}, PASSED),
        ({"allow": False}, DENIED),
        ({"allow": True, "violations": ["no"]}, PASSED),
        ({"allow": False, "violations": []}, DENIED),
        ({"violations": []}, PASSED),
        ({"violations": {}}, PASSED),
        ({"violations": ["no"]}, DENIED),
        ({"violations": {"a": "no"}}, DENIED),
        ({"allow": None, "violations": []}, PASSED),
        ({"allow": True, "violations": None}, PASSED),
        ({"allow": "true"}, UNDEFINED),
        ({"allow": 1}, UNDEFINED),
        ({"allow": "true", "violations": []}, UNDEFINED),
        ({"allow": True, "violations": "none"}, UNDEFINED),
        ({"violations": False}, UNDEFINED),
        ({"limits": {"max": 5}}, UNDEFINED),
        ({"a": {"msg": "no"}, "b": "no"}, DENIED),
        ({"a": {"msg": "no"}, "b": 5}, UNDEFINED),
        ("allow", UNDEFINED),
        (0, UNDEFINED),
        (1, UNDEFINED),
    ],
)
def test_what_decides(result: Any, outcome: str) -> None:
    assert outcome_of(result) == outcome


@pytest.mark.parametrize("path", ["policy/violations", "policy/deny", "gatekeeper/violation"])
def test_an_object_by_the_name_of_violations_holds_nothing_else(path: str) -> None:
    assert outcome_of({}, path) == PASSED
    assert outcome_of({"a": 5}, path) == DENIED
    assert outcome_of({"allow": True}, path) == DENIED


@given(
    result=st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["allow", "violations", "x"]), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_nothing_passes_but_an_allow_or_no_violations(result: Any) -> None:
    said_yes = result is True or result == [] or (isinstance(result, dict) and result.get("allow") is True)
    no_violations = isinstance(result, dict) and result.get("allow") is None and result.get("violations") in ([], {})

    if outcome_of(result) == PASSED:
        assert said_yes or no_violations


def test_a_denial_names_the_policy_and_the_first_violation() -> None:
    verdict = judge_policy("policy", Decision(defined=True, result={"allow": False, "violations": ["first", "second"]}))

    assert verdict.problem == "denied by policy policy, 2 violations: first"
    assert verdict.rules_checked == 1


def test_a_long_answer_is_told_by_its_beginning() -> None:
    decision = Decision(defined=True, result=["ü" * 50_000], decision_id="d-1", warning="careful")

    opa = judge_policy("policy/violations", decision).metadata["opa_metadata"]

    assert len(orjson.dumps(opa["raw_result"])) <= MAX_RAW_RESULT_BYTES + 10
    assert opa["raw_result"].startswith('["üü')
    assert (opa["raw_result_truncated"], opa["raw_result_bytes"]) == (True, 100_004)
    assert (opa["decision_id"], opa["warning"]) == ("d-1", "careful")
