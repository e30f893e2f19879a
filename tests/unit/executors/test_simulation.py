"""Simulated results, and that nothing else can make one."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import worker_agents
from worker_agents.devkit.executor_kit import ticket_for
from worker_agents.executors.simulation import (
    simulated_build,
    simulated_deployment,
    simulated_execution,
    simulated_test,
    simulated_validation,
)
from worker_agents.model.errors import Reason
from worker_agents.model.result import TaskResult

PACKAGE = Path(worker_agents.__file__).parent


def test_a_simulated_execution_is_marked_and_shaped_like_a_real_one() -> None:
    result = simulated_execution(ticket_for("EXECUTE", ticket_id="0123456789"), reason=Reason.TIMEOUT)

    assert result.success
    assert result.simulated
    assert result.output == {"request_id": "stub-01234567", "artifacts": [], "pipeline_id": None, "exit_code": 0}
    assert result.metadata == {
        "executor": "ExecuteExecutor",
        "runtime": "simulation",
        "simulated": True,
        "duration_seconds": 0.0,
        "fallback_reason": "timeout",
    }


TICKET = ticket_for("ANY", ticket_id="0123456789")
DOWN = Reason.DEPENDENCY_UNAVAILABLE


@pytest.mark.parametrize(
    ("result", "executor"),
    [
        (simulated_build(TICKET, artifact_id="a", branch="main", reason=DOWN), "BuildExecutor"),
        (simulated_validation(validation_type="policy", reason=DOWN), "ValidateExecutor"),
        (simulated_test(test_suite="unit", reason=DOWN), "TestExecutor"),
        (simulated_deployment(TICKET, namespace="n", replicas=2, revision=None, reason=DOWN), "DeployExecutor"),
    ],
)
def test_every_simulated_result_says_so_and_why(result: TaskResult, executor: str) -> None:
    assert result.success
    assert result.simulated
    assert result.metadata["executor"] == executor
    assert result.metadata["fallback_reason"] == "dependency_unavailable"
    assert result.logs == ("simulated: dependency_unavailable",)


def test_a_simulated_build_has_the_guides_stub_names() -> None:
    output = simulated_build(TICKET, artifact_id="a", branch="main", reason=DOWN).output

    assert (output["artifact_url"], output["build_id"], output["commit_sha"]) == (
        "stub://artifact",
        "stub-01234567",
        "stub-commit-sha",
    )


def test_a_simulated_test_run_counts_nothing_as_passed() -> None:
    output = simulated_test(test_suite="unit", reason=DOWN).output

    assert (output["tests_passed"], output["tests_failed"], output["coverage"]) == (0, 0, None)


def test_real_work_that_was_left_behind_is_named() -> None:
    built = simulated_build(TICKET, artifact_id="a", branch="b", reason=Reason.TIMEOUT, abandoned_pipeline_id="p-1")

    assert built.metadata["abandoned_pipeline_id"] == "p-1"


def test_only_the_simulation_module_sets_simulated() -> None:
    setters = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(_sets_simulated(ast.parse(path.read_text())))
    }

    assert setters == {"executors/simulation.py"}


def _sets_simulated(tree: ast.AST) -> Iterator[bool]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            yield any(_is(key, "simulated") and _is(value, True) for key, value in pairs)
        if isinstance(node, ast.Call) and not isinstance(node.func, ast.Attribute):
            yield any(word.arg == "simulated" and _is(word.value, True) for word in node.keywords)


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value == value
