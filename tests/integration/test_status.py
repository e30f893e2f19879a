"""What a real worker tells of itself over HTTP, on real Kafka."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.fleet import Fleet, fleet, probe
from tests.support.waiting import until
from worker_agents.devkit.ports import free_ports

JsonObject = dict[str, Any]


@pytest.fixture
async def ships(kafka: Any, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(kafka.bootstrap_servers, tmp_path, partitions=2) as started:
        yield started


async def told(port: int, wanted: Callable[[JsonObject], object], path: str = "/api/v1/status") -> JsonObject:
    """The document, once it is as wanted."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        documents: list[JsonObject] = [{}]

        def is_as_wanted() -> object:
            try:
                documents[0] = http.get(path).json()
                return wanted(documents[0])
            except (httpx.TransportError, KeyError):
                return False

        assert await until(is_as_wanted, 30), documents[0]
        return documents[0]


async def test_the_status_tells_what_runs_what_waits_and_why(ships: Fleet) -> None:
    (port,) = free_ports(1)
    ships.worker(HTTP_PORT=str(port), MAX_CONCURRENT_TASKS="3", LOG_LEVEL="DEBUG")
    before = time.time() * 1000
    await ships.submit(
        [
            probe("runs", sleep_ms=600_000, log="half way"),
            {**probe("later"), "dependencies": ["runs"]},
            {**probe("again", errors=1, retry_after=600), "max_retries": 2},
            probe("good"),
            probe("bad", fail=True),
        ],
        key=lambda _: b"one-plan",
    )

    status = await told(port, lambda d: d["waiting_total"] == 2 and len(d["recent"]) == 2)

    assert status["level"] == "working"
    assert status["summary"].startswith("Working: 1 running; 3 tickets, oldest ")
    assert status["in_flight"] == {"PROBE": {"running": 1, "parked": 2}}
    (runs,) = status["running"]
    assert (runs["ticket_id"], runs["progress"], runs["log_tail"]) == ("runs", "half way", ["half way"])
    assert runs["ends_at"] > runs["began_at"] >= before - 1
    again, later = status["waiting"]
    assert (again["ticket_id"], again["reason"], again["attempt"]) == ("again", "internal", 2)
    assert again["message"] == "error 1 of 1"
    assert 0 < again["due_at"] - status["at"] <= 600_000
    assert (later["ticket_id"], later["reason"], later["waits_for"]) == ("later", "dependency", ["runs"])
    assert {(r["ticket_id"], r["status"], r["reason"]) for r in status["recent"]} == {
        ("good", "COMPLETED", ""),
        ("bad", "FAILED", "verdict_failed"),
    }
    assert [(f["reason"], f["count"]) for f in status["failures"]] == [("verdict_failed", 1)]
    partition = next(p for p in status["partitions"] if p["unsettled"])
    assert (partition["phase"], partition["oldest_ticket_id"], partition["running"]) == ("open", "runs", 1)
    assert {slots["queue"]: slots["used"] for slots in status["slots"]}["PROBE"] == 1


async def test_a_ticket_tells_its_story_and_its_checkpoint(ships: Fleet) -> None:
    (port,) = free_ports(1)
    ships.worker(HTTP_PORT=str(port))
    await ships.submit([probe("again", errors=2, retry_after=0.01), probe("marked", sleep_ms=600_000, mark="place 7")])
    path = "/api/v1/tickets/again"

    again = await told(port, lambda d: d["result"] is not None, path)
    marked = await told(port, lambda d: d["checkpoint"] is not None, "/api/v1/tickets/marked")

    attempts = ["attempt_started", "attempt_ended", "ticket_retry_scheduled", "ticket_waiting"]
    assert [entry["event"] for entry in again["timeline"]] == [
        *attempts * 2,
        *("attempt_started", "attempt_ended", "ticket_settled"),
    ]
    assert (again["ticket"], again["result"]["attempts"]) == (None, 3)
    assert marked["checkpoint"] == {"mark": "place 7"}
    assert [entry["event"] for entry in marked["timeline"]] == ["attempt_started", "checkpoint_saved"]


async def test_the_command_line_tells_it_of_every_worker(ships: Fleet) -> None:
    first, second = free_ports(2)
    for port in (first, second):
        ships.worker(HTTP_PORT=str(port), HTTP_HOST="0.0.0.0")  # the leases have the name of this machine
    await ships.submit([probe("runs", sleep_ms=600_000, log="half way")])
    for port in (first, second):
        await told(port, lambda d: [p["phase"] for p in d["partitions"]] == ["open"])

    everyone = command(ships, "status")
    assert everyone.returncode == 0, everyone.stderr
    assert "Working: 1 running; 1 ticket, oldest " in everyone.stdout
    assert "Idle: no tickets in 1 partition" in everyone.stdout
    texts = [command(ships, "status", "--url", f"http://127.0.0.1:{port}") for port in (first, second)]
    assert [text.returncode for text in texts] == [0, 0]
    busy = next(text.stdout for text in texts if "runs" in text.stdout)
    assert "Working: 1 running; 1 ticket, oldest " in busy
    assert "half way" in busy
    (document,) = json.loads(command(ships, "status", "--url", f"http://127.0.0.1:{first}", "--json").stdout)
    assert document["worker"]["worker_id"] in ("worker-1", "worker-2")


async def test_a_worker_is_found_under_the_host_that_it_advertises(ships: Fleet) -> None:
    (port,) = free_ports(1)
    ships.worker(HTTP_PORT=str(port), HTTP_HOST="127.0.0.1", HTTP_ADVERTISED_HOST="127.0.0.1")
    await told(port, lambda d: [p["phase"] for p in d["partitions"]] == ["open", "open"])

    (worker,) = json.loads(command(ships, "status", "--json").stdout)

    assert worker["url"] == f"http://127.0.0.1:{port}"


async def test_an_ipv6_address_stands_in_the_lease_as_urls_have_it(ships: Fleet) -> None:
    (port,) = free_ports(1)
    ships.worker(HTTP_PORT=str(port), HTTP_ADVERTISED_HOST="fd00::7")
    await told(port, lambda d: [p["phase"] for p in d["partitions"]] == ["open", "open"])

    leases = [json.loads(record.value) for record in await ships.existing("state") if record.key == b"@owner"]

    assert {lease["url"] for lease in leases} == {f"http://[fd00::7]:{port}"}


def test_the_command_line_says_when_there_is_no_worker(kafka: Any) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "worker_agents.cli", "status", "--url", "http://127.0.0.1:1"],
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1
    assert "http://127.0.0.1:1: All connection attempts failed" in answer.stderr


def command(ships: Fleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker_agents.cli", *arguments],
        env={
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": ships.bootstrap_servers,
            "KAFKA_CONSUMER_GROUP_ID": ships.group,
            **{f"KAFKA_{kind.upper()}_TOPIC": topic for kind, topic in ships.topics.items()},
        },
        capture_output=True,
        text=True,
        check=False,
    )


async def test_a_worker_that_drains_says_so_and_is_not_ready(ships: Fleet) -> None:
    (port,) = free_ports(1)
    worker = ships.worker(HTTP_PORT=str(port), DRAIN_TIMEOUT_SECONDS="600")
    await ships.submit([probe("runs", sleep_ms=600_000)])
    await told(port, lambda d: d["running_total"] == 1)
    stopping = worker.stop()
    worker.send(15)
    draining = await told(port, lambda d: d["level"] == "draining")
    assert draining["summary"].startswith("Draining: 1 running; 1 ticket, oldest ")
    assert not draining["ready"]
    assert await stopping == 0  # the second signal hurries
