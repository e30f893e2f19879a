"""What tickets get while an integration is down, on real Kafka: a simulated result, or their turn when it is back."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import Fleet, WorkerProcess, fleet
from tests.support.opa_server import running_opa
from tests.support.tools import tool
from worker_agents.devkit.argocd import ArgoCdServer
from worker_agents.devkit.argocd import Behaviour as ArgoCdBehaviour
from worker_agents.devkit.argocd import Script as Rollout
from worker_agents.devkit.code_forge import Behaviour, CodeForgeServer, Progress
from worker_agents.devkit.ports import free_ports

QUICK_FORGE = Behaviour(progress=Progress(queued=0, processing=0))
QUICK_ARGOCD = ArgoCdBehaviour(
    scripts={"": Rollout(sync_seconds=0.1)}, auto_sync=False, pickup_seconds=0.1, compare_seconds=0.1
)
POLICY = {"allow.rego": "package policy\n\nallow := true\n"}
PARAMETERS: dict[str, dict[str, Any]] = {
    "EXECUTE": {"template_id": "service"},
    "BUILD": {"artifact_id": "app"},
    "VALIDATE": {"policy_path": "policy/allow"},
    "DEPLOY": {"image": "registry.example/app:1", "repo_url": "https://git.example/charts.git", "poll_interval": 0.5},
}
SAST = {"validation_type": "sast", "working_dir": "tree"}


@pytest.fixture
async def ships(kafka: Any, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(kafka.bootstrap_servers, tmp_path) as started:
        yield started


def ticket(task_type: str, parameters: dict[str, Any], name: str = "") -> dict[str, Any]:
    ticket_id = name or task_type.lower()
    return {"ticket_id": ticket_id, "plan_id": ticket_id, "task_type": task_type, "parameters": parameters}


def addresses(ports: list[int]) -> dict[str, str]:
    """Of services at which nobody listens, or not yet."""
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    return {
        "CODE_FORGE_URL": urls[0],
        "OPA_URL": urls[1],
        "ARGOCD_URL": urls[2],
        "ARGOCD_ENABLED": "true",
        "ARGOCD_TOKEN": "any",
    }


async def test_every_outage_can_be_simulated_and_says_so(ships: Fleet, tmp_path: Path) -> None:
    (tmp_path / "workspace" / "tree").mkdir(parents=True)
    worker = ships.worker(
        **addresses(free_ports(3)),
        TEST_FALLBACK="simulate",
        TEST_WORKSPACE_ROOT=str(tmp_path / "workspace"),
        ALLOWED_TEST_COMMANDS="absent-runner",
        PATH=str(Path(shutil.which("git") or "/usr/bin/git").parent),
    )
    sent = [ticket(name, parameters) for name, parameters in PARAMETERS.items()]
    sent += [ticket("TEST", {"test_command": "absent-runner"}), ticket("VALIDATE", SAST, "sast")]
    await ships.submit(sent)

    records = await ships.read("results", lambda found: len(found) >= len(sent), timeout=90)
    results = {result["ticket_id"]: result for result in await ships.results(len(sent))}

    assert {name: result["status"] for name, result in results.items()} == dict.fromkeys(results, "COMPLETED")
    assert len(results) == len(sent), ships.tails()
    assert all(result["result"]["metadata"]["simulated"] is True for result in results.values())
    assert all(
        result["result"]["metadata"]["fallback_reason"] == "dependency_unavailable" for result in results.values()
    )
    assert all(dict(record.headers)["simulated"] == b"true" for record in records)
    assert {line["event"] for line in announced(worker)} >= {
        "execute_code_forge_error",
        "build_code_forge_error",
        "validation_opa_error",
        "validation_sast_error",
        "deploy_argocd_error",
        "test_execution_error",
    }


def announced(worker: WorkerProcess) -> list[dict[str, Any]]:
    """Warnings about integrations."""
    return [line for line in worker.lines if line.get("level") == "warning" and "integration" in line]


async def test_under_fail_tickets_wait_for_what_is_down_and_for_nothing_else(ships: Fleet, tmp_path: Path) -> None:
    trivy = tool("trivy")
    (tmp_path / "workspace" / "tree").mkdir(parents=True)
    (tmp_path / "workspace" / "tree" / "main.py").write_text("print('clean')\n")
    ports = free_ports(3)
    worker = ships.worker(
        **addresses(ports),
        FALLBACK_MODE="fail",
        TEST_WORKSPACE_ROOT=str(tmp_path / "workspace"),
        TRIVY_SCANNERS="secret",
        PATH=f"{trivy.parent}:/usr/bin:/bin",
    )
    # The first to meet the outage pay with an attempt; from then on nobody does.
    first = [ticket(name, parameters, f"first-{name.lower()}") for name, parameters in PARAMETERS.items()]
    await ships.submit(first)
    for integration in ("code_forge", "opa", "argocd"):
        await worker.says("breaker_changed", integration=integration, state="open")
    waiting = [
        ticket(name, parameters, f"{name.lower()}-{number}") | {"sla": {"max_retries": 0}}
        for name, parameters in PARAMETERS.items()
        for number in range(3)
    ]
    await ships.submit([*waiting, ticket("VALIDATE", SAST, "sast")])
    before = await ships.results(1, timeout=60)
    assert [(result["ticket_id"], result["status"]) for result in before] == [("sast", "COMPLETED")], ships.tails()

    async with CodeForgeServer(QUICK_FORGE, port=ports[0]), ArgoCdServer(QUICK_ARGOCD, port=ports[2]):
        with running_opa(tmp_path / "opa", POLICY, port=ports[1]):
            for integration in ("code_forge", "opa", "argocd"):
                await worker.says("breaker_changed", integration=integration, state="closed", timeout=60)
            results = await ships.results(len(first) + len(waiting) + 1, timeout=120)

    late = {result["ticket_id"]: result for result in results if not result["ticket_id"].startswith(("first", "sast"))}
    assert set(late) == {each["ticket_id"] for each in waiting}, ships.tails()
    assert len(results) == len(first) + len(waiting) + 1
    assert {result["status"] for result in late.values()} == {"COMPLETED"}, late
    assert {result["attempts"] for result in late.values()} == {1}, "waiting for a breaker uses up no attempt"
    assert not any(result["result"]["metadata"]["simulated"] for result in late.values())
