"""Simulated results: what stands in when an integration is down and its fallback is ``simulate``.

The only place that sets ``simulated``. Shapes are those of the real results (``contracts.md`` 1.8); ids begin with
``stub-``, nothing is executed and nothing is waited for. Numbers are 0 or absent: what was not counted is not invented.
"""

from __future__ import annotations

from typing import Any

from worker_agents.model.errors import Reason
from worker_agents.model.result import TaskResult
from worker_agents.model.ticket import Ticket


def simulated_execution(
    ticket: Ticket, *, reason: Reason, duration_seconds: float = 0.0, abandoned_request_id: str | None = None
) -> TaskResult:
    """Stands in for a generation. ``abandoned_request_id`` is the real one that was begun and not seen to its end."""
    output: dict[str, Any] = {"request_id": _stub(ticket), "artifacts": [], "pipeline_id": None, "exit_code": 0}
    extra = _abandoned("abandoned_request_id", abandoned_request_id)
    return _simulated(output, "ExecuteExecutor", reason, duration_seconds, runtime="simulation", **extra)


def simulated_build(
    ticket: Ticket,
    *,
    artifact_id: str,
    branch: str,
    reason: Reason,
    duration_seconds: float = 0.0,
    abandoned_pipeline_id: str | None = None,
) -> TaskResult:
    """Stands in for a pipeline. ``abandoned_pipeline_id`` is the real one that was begun and not seen to its end."""
    output: dict[str, Any] = {
        "pipeline_id": _stub(ticket),
        "artifact_id": artifact_id,
        "branch": branch,
        "commit_sha": "stub-commit-sha",
        "artifacts": [],
        "sbom": None,
        "signature": None,
        "stages": [],
        "artifact_url": "stub://artifact",
        "build_id": _stub(ticket),
    }
    extra = _abandoned("abandoned_pipeline_id", abandoned_pipeline_id)
    return _simulated(output, "BuildExecutor", reason, duration_seconds, **extra)


def simulated_validation(*, validation_type: str, reason: Reason, duration_seconds: float = 0.0) -> TaskResult:
    """Stands in for a policy decision or a scan."""
    output: dict[str, Any] = {
        "validation_passed": True,
        "violations": [],
        "violations_by_severity": {},
        "validation_type": validation_type,
        "rules_checked": 0,
        "fallback_reason": str(reason),
    }
    return _simulated(output, "ValidateExecutor", reason, duration_seconds, client_type="fallback")


def simulated_test(*, test_suite: str, reason: Reason, duration_seconds: float = 0.0) -> TaskResult:
    """Stands in for a test run: no test is counted as passed."""
    output: dict[str, Any] = {
        "tests_passed": 0,
        "tests_failed": 0,
        "tests_skipped": 0,
        "coverage": None,
        "test_suite": test_suite,
        "return_code": None,
    }
    return _simulated(output, "TestExecutor", reason, duration_seconds, provider="simulation")


def simulated_deployment(
    ticket: Ticket,
    *,
    namespace: str,
    replicas: int,
    revision: str | None,
    reason: Reason,
    duration_seconds: float = 0.0,
    abandoned_operation: str | None = None,
) -> TaskResult:
    """Stands in for a deployment. ``abandoned_operation`` names the real one that was begun and not seen to its end."""
    output: dict[str, Any] = {
        "deployment_id": f"stub-deploy-{ticket.ticket_id[:8]}",
        "status": "deployed",
        "sync_status": None,
        "replicas": replicas,
        "namespace": namespace,
        "revision": revision,
    }
    extra = _abandoned("abandoned_operation", abandoned_operation)
    return _simulated(output, "DeployExecutor", reason, duration_seconds, provider="simulation", **extra)


def _stub(ticket: Ticket) -> str:
    return f"stub-{ticket.ticket_id[:8]}"


def _abandoned(name: str, value: str | None) -> dict[str, object]:
    return {} if value is None else {name: value}


def _simulated(
    output: dict[str, Any], executor: str, reason: Reason, duration_seconds: float, **extra: object
) -> TaskResult:
    metadata = {
        "executor": executor,
        "simulated": True,
        "duration_seconds": duration_seconds,
        "fallback_reason": str(reason),
        **extra,
    }
    return TaskResult(success=True, output=output, metadata=metadata, logs=(f"simulated: {reason}",))
