"""Cancelling over HTTP and from the command line, on real Kafka."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.fleet import Fleet, WorkerProcess, fleet, probe
from worker_agents.devkit.ports import free_ports

TOKEN = "an-admin-token-for-tests"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def ships(kafka: Any, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(kafka.bootstrap_servers, tmp_path, partitions=2) as started:
        yield started


def worker_on(ships: Fleet, port: int, **env: str) -> WorkerProcess:
    return ships.worker(HTTP_PORT=str(port), ADMIN_TOKEN=TOKEN, **env)


async def cancel(port: int, ticket_id: str, headers: dict[str, str] = HEADERS, **body: object) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        url = f"http://127.0.0.1:{port}/api/v1/tickets/{ticket_id}/cancel"
        return await http.post(url, headers=headers, json=body)


async def test_a_running_ticket_is_cancelled_and_says_by_whom(ships: Fleet) -> None:
    (port,) = free_ports(1)
    worker = worker_on(ships, port)
    await ships.submit([probe("long", sleep_ms=600_000), probe("other", sleep_ms=10)])
    await ships.probe_says("start", 2)

    answer = await cancel(port, "long", by="ana", reason="wrong branch")

    assert (answer.status_code, answer.json()["outcome"]) == (202, "running")
    results = {result["ticket_id"]: result for result in await ships.results(2)}
    assert results["long"]["status"] == "FAILED"
    assert results["long"]["error_reason"] == "cancelled"
    assert results["long"]["error_message"] == "cancelled by ana: wrong branch"
    assert results["other"]["status"] == "COMPLETED"
    (event,) = worker.events("ticket_cancelled")
    assert (event["ticket_id"], event["by"], event["why"]) == ("long", "ana", "wrong branch")
    assert (await cancel(port, "long")).status_code == 409
    assert (await cancel(port, "never-seen")).status_code == 404


async def test_only_who_has_the_token_may(ships: Fleet) -> None:
    (port,) = free_ports(1)
    worker_on(ships, port)
    await ships.submit([probe("long", sleep_ms=600_000)])
    await ships.probe_says("start", 1)

    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        answer = await cancel(port, "long", headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert (await cancel(port, "long", reason=7)).status_code == 422
    assert (await cancel(port, "long", reason="x" * 20_000)).status_code == 413

    assert (await cancel(port, "long")).status_code == 202


async def test_the_command_line_finds_the_worker_that_holds_the_ticket(ships: Fleet) -> None:
    first, second = free_ports(2)
    ports = {"worker-1": first, "worker-2": second}
    for worker in (worker_on(ships, first), worker_on(ships, second)):
        await worker.says("partition_opened")
    await ships.submit([probe("a", sleep_ms=600_000), probe("b", sleep_ms=600_000)])
    await ships.probe_says("start", 2)

    for ticket_id in ("a", "b"):
        done = run_command(ships, "cancel", ticket_id, "--reason", "test", "--by", "ben", "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["outcome"] == "running"
        assert int(answer["worker"].rpartition(":")[2]) in ports.values()

    results = await ships.results(2)
    assert {result["error_message"] for result in results} == {"cancelled by ben: test"}
    unknown = run_command(ships, "cancel", "never-sent")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (4, 1)


def run_command(ships: Fleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "KAFKA_BOOTSTRAP_SERVERS": ships.bootstrap_servers,
        "ADMIN_TOKEN": TOKEN,
        **{f"KAFKA_{kind.upper()}_TOPIC": topic for kind, topic in ships.topics.items()},
    }
    command = [sys.executable, "-m", "worker_agents.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
