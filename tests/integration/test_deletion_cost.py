"""A real worker tells a server that stands for Kubernetes how much work its pod holds."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.fleet import Fleet, fleet, probe
from tests.support.pod_patches import ApiServer, Patch, api_server
from tests.support.waiting import until
from worker_agents.deletion_cost import LOWEST_COST
from worker_agents.devkit.ports import free_ports

OFTEN = {"LOOK_SECONDS": "0.2"}
HOURS = 3 * 3_600_000


@pytest.fixture
async def ships(kafka: Any, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(kafka.bootstrap_servers, tmp_path, partitions=2) as started:
        yield started


@pytest.fixture
def kubernetes(tmp_path: Path) -> Iterator[ApiServer]:
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    with api_server(folder) as server:
        yield server


async def test_the_pod_tells_what_would_be_lost_with_it(ships: Fleet, kubernetes: ApiServer) -> None:
    (port,) = free_ports(1)
    worker = ships.worker(HTTP_PORT=str(port), DRAIN_TIMEOUT_SECONDS="600", **OFTEN, **kubernetes.environment)
    await worker.says("worker_started")
    assert await until(lambda: kubernetes.costs == ["0"], 30), kubernetes.costs

    kubernetes.rotate_token("second")
    await ships.submit([probe("resumed", sleep_ms=HOURS, mark="place 7")])
    assert await until(lambda: kubernetes.costs[-1] == "1", 30), kubernetes.costs
    await ships.submit([probe("repeated", sleep_ms=HOURS)])
    assert await until(lambda: kubernetes.costs[-1] == "8", 30), kubernetes.costs
    async with httpx.AsyncClient(trust_env=False) as http:
        metrics = (await http.get(f"http://127.0.0.1:{port}/metrics")).text

    worker.send(signal.SIGTERM)
    assert await until(lambda: kubernetes.costs[-1] == str(LOWEST_COST), 30), kubernetes.costs
    worker.send(signal.SIGTERM)
    assert await worker.ended(timeout=20) == 0

    path = "/api/v1/namespaces/flow/pods/worker-0?fieldManager=worker-agents"
    first, *later = kubernetes.patches
    assert first == Patch(path, "first", "0")
    assert {(patch.path, patch.token) for patch in later} == {(path, "second")}
    calls = 'external_call_seconds_count{integration="kubernetes",operation="patch_pod",outcome="ok"}'
    assert calls in metrics


async def test_a_pod_that_may_not_is_told_once_how_to_mend_it_and_works_on(ships: Fleet, kubernetes: ApiServer) -> None:
    kubernetes.status = HTTPStatus.FORBIDDEN
    worker = ships.worker(**OFTEN, **kubernetes.environment)
    await ships.submit([probe(f"t-{number}") for number in range(10)])

    assert len(await ships.results(10)) == 10
    assert await until(lambda: len(kubernetes.patches) >= 3, 30)
    (told,) = worker.events("pod_deletion_cost_error")
    assert (told["kind"], told["error"]) == ("forbidden", "kubernetes patch_pod: HTTP 403: pods is forbidden")
    assert "grant the verb patch on pods of namespace flow" in told["advice"]
    assert await worker.stop() == 0


async def test_nobody_is_told_unless_that_is_asked_for(ships: Fleet, kubernetes: ApiServer) -> None:
    worker = ships.worker(**OFTEN, **kubernetes.environment | {"POD_DELETION_COST_ENABLED": "false"})
    await ships.submit([probe("t")])

    assert len(await ships.results(1)) == 1
    assert await worker.stop() == 0
    assert kubernetes.patches == []
