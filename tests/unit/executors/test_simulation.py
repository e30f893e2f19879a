"""Simulated results, and that nothing else can make one."""

import ast
from collections.abc import Iterator
from pathlib import Path

import worker_agents
from worker_agents.devkit.executor_kit import ticket_for
from worker_agents.executors.simulation import simulated_execution
from worker_agents.model.errors import Reason

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
