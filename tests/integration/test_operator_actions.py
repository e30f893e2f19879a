"""Pausing, retrying at once, draining and replaying over HTTP and from the command line, on real Kafka."""

from __future__ import annotations

import asyncio
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
    return ships.worker(HTTP_PORT=str(port), ADMIN_TOKEN=TOKEN, LOG_LEVEL="DEBUG", **env)


async def post(port: int, path: str, **body: object) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.post(f"http://127.0.0.1:{port}/api/v1{path}", headers=HEADERS, json=body, timeout=30)


async def get(port: int, path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.get(f"http://127.0.0.1:{port}{path}", headers=HEADERS, timeout=30)


def run_command(ships: Fleet, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "KAFKA_BOOTSTRAP_SERVERS": ships.bootstrap_servers,
        "ADMIN_TOKEN": TOKEN,
        **{f"KAFKA_{kind.upper()}_TOPIC": topic for kind, topic in ships.topics.items()},
        **env,
    }
    command = [sys.executable, "-m", "worker_agents.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def validation(ticket_id: str) -> dict[str, Any]:
    """One that is answered at once, as its integration is off: simulated."""
    return {"ticket_id": ticket_id, "task_type": "VALIDATE", "parameters": {"validation_type": "policy"}}


async def test_tickets_of_a_paused_type_wait_and_others_go_on_until_it_is_resumed(ships: Fleet) -> None:
    (port,) = free_ports(1)
    worker = worker_on(ships, port, OPA_ENABLED="false", MAX_BUFFERED_TICKETS="20")
    await worker.says("partition_opened", 2)
    paused = await post(port, "/task-types/PROBE/pause", by="ana", reason="upgrade", for_seconds=600)
    assert (paused.status_code, paused.json()["outcome"]) == (200, "paused")
    assert 'worker_agents_task_type_paused{task_type="PROBE"} 1.0' in (await get(port, "/metrics")).text

    # More than there is room for: those behind them in the same partitions go on.
    await ships.submit([probe(f"p-{number}") for number in range(60)])
    await ships.submit([validation(f"v-{number}") for number in range(10)])
    results = await ships.results(10)
    assert {result["ticket_id"] for result in results} == {f"v-{number}" for number in range(10)}
    await worker.says("ticket_waiting", 60, reason="paused")
    assert ships.probe_log() == []

    resumed = await post(port, "/task-types/PROBE/resume", by="ben")
    assert resumed.json()["outcome"] == "resumed"
    results = await ships.results(70)
    assert len(results) == 70
    assert {result["status"] for result in results} == {"COMPLETED"}
    assert set(ships.probe_starts().values()) == {1}
    told = [(event["action"], event["target"], event["by"]) for event in worker.events("operator_action")]
    assert told == [("pause", "PROBE", "ana"), ("resume", "PROBE", "ben")]
    assert 'worker_agents_task_type_paused{task_type="PROBE"} 0.0' in (await get(port, "/metrics")).text


async def test_what_was_paused_is_not_forgotten_by_the_next_worker(ships: Fleet) -> None:
    (port,) = free_ports(1)
    first = worker_on(ships, port)
    await first.says("partition_opened", 2)
    await post(port, "/task-types/PROBE/pause")
    await ships.submit([probe(f"p-{number}") for number in range(5)])
    await first.says("ticket_waiting", 5, reason="paused")
    first.kill()
    ships.worker()
    assert {result["status"] for result in await ships.results(5)} == {"COMPLETED"}


async def test_a_ticket_that_waits_for_its_retry_is_tried_at_once(ships: Fleet) -> None:
    first, second = free_ports(2)
    workers = [worker_on(ships, first), worker_on(ships, second)]
    for worker in workers:
        await worker.says("partition_opened")
    await ships.submit([probe("slow", errors=1, retry_after=3_000.0), probe("other", errors=1, retry_after=3_000.0)])
    await ships.probe_says("start", 2)
    await asyncio.gather(*(ships_waits(ships, workers, name) for name in ("slow", "other")))

    # A worker answers for its own partitions, and knows who answers for the others.
    holder = next(port for port, worker in zip((first, second), workers, strict=True) if waits_at(worker, "slow"))
    not_holder = second if holder == first else first
    elsewhere = await post(not_holder, "/tickets/slow/retry")
    assert elsewhere.status_code == 404
    assert elsewhere.json()["owner"]["url"].endswith(f":{holder}")

    answer = await post(holder, "/tickets/slow/retry", by="ana")
    assert (answer.status_code, answer.json()["outcome"]) == (202, "now")
    by_command = run_command(ships, "retry", "other", "--by", "ben", "--json")
    assert by_command.returncode == 0, by_command.stderr
    assert json.loads(by_command.stdout)["outcome"] == "now"

    results = await ships.results(2)
    assert {(result["status"], result["attempts"]) for result in results} == {("COMPLETED", 2)}
    assert ships.probe_starts() == {"slow": 2, "other": 2}
    settled = run_command(ships, "retry", "slow")
    assert (settled.returncode, settled.stderr.count("\n")) == (1, 1)


def waits_at(worker: WorkerProcess, ticket_id: str) -> bool:
    return bool(worker.events("ticket_waiting", ticket_id=ticket_id))


async def ships_waits(ships: Fleet, workers: list[WorkerProcess], ticket_id: str) -> None:
    """Return when one of the workers says that the ticket waits."""
    waits = [asyncio.create_task(worker.says("ticket_waiting", ticket_id=ticket_id)) for worker in workers]
    done, left = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()
    assert [task.result() for task in done], ships.tails()


async def test_a_drain_over_http_ends_the_process_in_good_order(ships: Fleet) -> None:
    (port,) = free_ports(1)
    worker = worker_on(ships, port)
    await ships.submit([probe("t", sleep_ms=2_000)])
    await ships.probe_says("start", 1)
    first, again = await post(port, "/drain", by="ana"), await post(port, "/drain")
    assert (first.status_code, first.json()["outcome"]) == (202, "draining")
    assert (again.status_code, again.json()["outcome"]) == (202, "already_draining")
    assert (await get(port, "/ready")).status_code == 503
    assert await worker.ended() == 0
    (result,) = await ships.results(1, timeout=5)
    assert result["status"] == "COMPLETED"
    (drained,) = worker.events("drain_ended")
    assert (drained["finished"], drained["released"]) == (1, 0)


async def test_a_signal_after_a_drain_by_hand_is_no_haste(ships: Fleet) -> None:
    """Kubernetes sends it to whatever an operator drained before."""
    (port,) = free_ports(1)
    worker = worker_on(ships, port)
    await ships.submit([probe("t", sleep_ms=8_000)])
    await ships.probe_says("start", 1)
    by_command = run_command(ships, "drain", "--reason", "node goes", HTTP_PORT=str(port))
    assert by_command.returncode == 0, by_command.stderr
    await worker.says("drain_started")
    assert await worker.stop() == 0
    (drained,) = worker.events("drain_ended")
    assert drained["released"] == 0


async def test_the_command_line_pauses_every_worker(ships: Fleet) -> None:
    first, second = free_ports(2)
    for worker in (worker_on(ships, first), worker_on(ships, second)):
        await worker.says("partition_opened")
    paused = run_command(ships, "pause", "probe", "--all", "--for", "600", "--reason", "test", "--json")
    assert paused.returncode == 0, paused.stderr
    assert [answer["outcome"] for answer in json.loads(paused.stdout)] == ["paused", "paused"]
    await ships.submit([probe(f"p-{number}") for number in range(6)])
    for worker in ships.workers:
        await worker.says("ticket_waiting", reason="paused")
    assert ships.probe_log() == []
    resumed = run_command(ships, "resume", "PROBE", "--all")
    assert resumed.returncode == 0, resumed.stderr
    assert len(await ships.results(6)) == 6
    unknown = run_command(ships, "pause", "DANCE", HTTP_PORT=str(first))
    assert (unknown.returncode, unknown.stderr.count("\n")) == (4, 1)


async def test_dead_letters_are_previewed_and_replayed(ships: Fleet) -> None:
    (port,) = free_ports(1)
    worker_on(ships, port)
    sla = {"sla": {"max_retries": 0}}
    await ships.submit([probe("bad-0", errors=1) | sla, probe("bad-1", errors=1) | sla, b"{ not json"])
    await ships.read("dlq", lambda found: len(found) >= 3, timeout=30)

    shown = await get(port, "/api/v1/dead-letters?limit=2")
    assert len(shown.json()["letters"]) == 2
    some = (await get(port, "/api/v1/dead-letters?reason=retries_exhausted")).json()["letters"]
    assert {each["ticket_id"] for each in some} == {"bad-0", "bad-1"}

    before = len(await ships.existing("tickets"))
    tried = await post(port, "/dead-letters/replay", tickets=["bad-0", "never"], dry_run=True)
    assert [each["problem"] is None for each in tried.json()["letters"]] == [True, False]
    assert len(await ships.existing("tickets")) == before
    done = await post(port, "/dead-letters/replay", letters=[some[0]["letter"]], by="ana")
    assert (done.status_code, done.json()["detail"]) == (202, "1 of 1 dead letters were sent again")
    assert len(await ships.existing("tickets")) == before + 1
    results = await ships.read("results", lambda found: len(found) >= 3, timeout=30)
    assert [json.loads(record.value)["ticket_id"] for record in results].count(some[0]["ticket_id"]) == 2
    gone = await post(port, "/dead-letters/replay", letters=["0-999"])
    assert (gone.status_code, gone.json()["outcome"]) == (404, "none")
