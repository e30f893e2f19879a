"""The tickets of the demo, and what is to become of each."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

import orjson

from worker_agents.devkit.demo.parts import COMPLETED, REFUTED, SIMULATED, SOME, Ending, Part
from worker_agents.devkit.demo.programs import OPA, PYTEST, TRIVY
from worker_agents.devkit.demo.props import BROKEN, LEAKY, POLICY_PATH, SHOP
from worker_agents.kafka.submitter import default_key
from worker_agents.model.errors import Reason
from worker_agents.model.result import Status

_TOO_SHORT_MS = 2000
"""``sla.timeout_ms`` of the ticket whose first attempt is too short: 3 s with the worker's multiplier of 1.5."""

_RELEASE = {"service": "shop", "image": "registry.example/shop:1.4.2", "approved_by": "alex"}


def cast(missing: AbstractSet[str] = frozenset()) -> tuple[Part, ...]:
    """All parts, in the order in which they are sent. ``missing`` are programs that this machine has not."""
    parts = (*_generations(), *_builds(), *_validations(), *_tests(), *_deployments(), *_plans(), *_misfits())
    return tuple(_without(part) if part.needs in missing else part for part in parts)


def _without(part: Part) -> Part:
    return replace(part, shows=f"{part.needs} is not here: simulated, and says so", ending=SIMULATED)


def _generations() -> Iterator[Part]:
    yield (
        generated := _execute(
            "demo-generate",
            "EXECUTE: code is generated, and polled to its end",
            "service",
            replace(COMPLETED, output={"artifacts": SOME}),
        )
    )
    yield replace(
        generated,
        name="demo-generate (copy)",
        shows="a duplicate: no second result, no second generation",
        ending=Ending(None),
    )
    yield _execute(
        "demo-busy",
        "Code Forge answers 503 twice; the client calls again",
        "flaky",
        replace(COMPLETED, attempts=1),
    )
    yield _execute(
        "demo-retried",
        "too slow for its first attempt; the second resumes it",
        "unhurried",
        replace(COMPLETED, attempts=2),
        sla={"timeout_ms": _TOO_SHORT_MS, "max_retries": 3},
    )
    yield _execute("demo-outage", "Code Forge is down for it: simulated, and says so", "down", SIMULATED)


def _builds() -> Iterator[Part]:
    yield _ticket(
        "demo-build",
        "BUILD: a pipeline, and the artifact that it built",
        replace(COMPLETED, output={"artifacts": SOME, "pipeline_id": SOME}),
        task_type="BUILD",
        parameters={"artifact_id": "shop", "branch": "main"},
    )


def _validations() -> Iterator[Part]:
    allowed = replace(COMPLETED, output={"validation_passed": True, "violations": []})
    denied = replace(REFUTED, output={"validation_passed": False, "violations": SOME})
    yield _policy("demo-allowed", "VALIDATE policy: OPA allows this release", _RELEASE, allowed)
    yield _policy(
        "demo-denied",
        "OPA denies this one, and says by which rules",
        {"service": "shop", "image": "registry.example/shop:latest"},
        replace(denied, output={**denied.output, "violations_by_severity": {"HIGH": 1, "MEDIUM": 1}}),
    )
    yield _ticket(
        "demo-leaky",
        "VALIDATE sast: Trivy finds a key in the source",
        replace(denied, output={**denied.output, "violations_by_severity": {"CRITICAL": 1}}),
        needs=TRIVY,
        task_type="VALIDATE",
        parameters={"validation_type": "sast", "working_dir": LEAKY},
    )


def _policy(name: str, shows: str, release: dict[str, str], ending: Ending) -> Part:
    parameters = {"validation_type": "policy", "policy_path": POLICY_PATH, "input_data": release}
    return _ticket(name, shows, ending, needs=OPA, task_type="VALIDATE", parameters=parameters)


def _tests() -> Iterator[Part]:
    yield _test(
        "demo-tested",
        "TEST: the tests of a directory pass",
        {"test_command": "pytest -q", "working_dir": SHOP},
        replace(COMPLETED, output={"tests_passed": 2, "tests_failed": 0}),
        needs=PYTEST,
    )
    yield _test(
        "demo-red",
        "one test of two fails: a verdict, not tried again",
        {"test_command": "pytest -q", "working_dir": BROKEN},
        replace(REFUTED, output={"tests_passed": 1, "tests_failed": 1}),
        needs=PYTEST,
    )
    yield _test(
        "demo-refused",
        "a command that is not allowed is not run",
        {"test_command": "bash -c 'pytest && echo deployed'", "working_dir": SHOP},
        Ending(Status.FAILED, Reason.COMMAND_REFUSED, dead_letter=True, attempts=1),
    )


def _test(name: str, shows: str, parameters: dict[str, str], ending: Ending, *, needs: str | None = None) -> Part:
    return _ticket(name, shows, ending, needs=needs, task_type="TEST", parameters=parameters)


def _deployments() -> Iterator[Part]:
    yield _ticket(
        "demo-deploy",
        "DEPLOY: Argo CD syncs it and it becomes healthy",
        replace(COMPLETED, output={"status": "healthy", "sync_status": "Synced"}),
        task_type="DEPLOY",
        parameters={
            "deployment_name": "shop",
            "repo_url": "https://git.example/shop.git",
            "chart_path": "chart",
            "image": "registry.example/shop:1.4.2",
            "poll_interval": 1,
        },
    )


def _plans() -> Iterator[Part]:
    """Tickets that depend on others of their plan; each is sent before the one that it waits for."""
    yield _execute(
        "demo-second",
        "waits for demo-first, without a slot",
        "service",
        replace(COMPLETED, after="demo-first"),
        plan_id="demo-plan-good",
        dependencies=["demo-first"],
    )
    yield _execute("demo-first", "its plan's first step", "library", COMPLETED, plan_id="demo-plan-good")
    yield _execute(
        "demo-stopped",
        "depends on demo-verdict, which fails",
        "service",
        Ending(Status.FAILED, Reason.DEPENDENCY_FAILED),
        plan_id="demo-plan-bad",
        dependencies=["demo-verdict"],
    )
    yield _execute(
        "demo-verdict",
        "the generation ends failed: an answer, not an error",
        "fail",
        REFUTED,
        plan_id="demo-plan-bad",
    )


def _misfits() -> Iterator[Part]:
    yield Part(
        name="demo-malformed",
        shows="broken JSON without a readable id",
        value=b'{"ticket_id": "demo-malformed", "task_type": "EXEC',
        key="demo-malformed",
        ticket_id=None,
        ending=Ending(None, Reason.UNDECODABLE, dead_letter=True),
    )
    yield _ticket(
        "demo-unknown",
        "a task type that nobody knows",
        Ending(Status.FAILED, Reason.UNKNOWN_TASK_TYPE, dead_letter=True),
        task_type="BREW_COFFEE",
        parameters={"cups": 2},
    )


def _execute(name: str, shows: str, template: str, ending: Ending, **fields: Any) -> Part:
    parameters = {"template_id": template, "language": "python"}
    return _ticket(name, shows, ending, task_type="EXECUTE", parameters=parameters, **fields)


def _ticket(name: str, shows: str, ending: Ending, *, needs: str | None = None, **fields: Any) -> Part:
    document = {"ticket_id": name, "status": "PENDING", **fields}
    return Part(name, shows, orjson.dumps(document), default_key(document) or name, name, ending, needs)
