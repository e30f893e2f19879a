"""Retries that are waited for, across the death of a worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from aiokafka import ConsumerRecord

from tests.support.fleet import Fleet, probe

SOON_SECONDS = 2.0
# Longer than it takes until the group gives a killed worker up.
LATE_SECONDS = 15.0
# What is written down is rounded to milliseconds.
ROUNDING = 0.01


async def test_a_wait_for_a_retry_survives_the_death_of_its_worker(ships: Fleet) -> None:
    """It is over when it would have been: not with the change of worker, and not the whole delay after it."""
    first = ships.worker()
    delays = {"soon": SOON_SECONDS, "late": LATE_SECONDS}
    await ships.submit([probe(ticket_id, errors=1, retry_after=delay) for ticket_id, delay in delays.items()])
    due = await due_times(ships, 2)
    first.kill()
    assert_shown(ships, due)

    ships.worker()
    results = await ships.results(2)

    assert {(result["status"], result["attempts"], result["agent_id"]) for result in results} == {
        ("COMPLETED", 2, "worker-2")
    }
    opened, began = await opened_by(ships, "worker-2"), retries_began(ships)
    assert due["soon"] < opened < due["late"]
    # What became due while there was no worker begins as soon as there is one.
    assert opened <= began["soon"] < due["late"]
    assert due["late"] - ROUNDING <= began["late"] < opened + LATE_SECONDS


def assert_shown(ships: Fleet, due: dict[str, float]) -> None:
    """``worker-agents tickets`` says until when each waits, also while no worker is there."""
    shown = json.loads(tickets(ships, "--json"))
    assert {each["ticket_id"]: each["due_at"] / 1000 for each in shown} == due
    assert {(each["progress"], each["attempt"]) for each in shown} == {("WAITING", 2)}
    assert tickets(ships).count(", until 20") == len(due)


def tickets(ships: Fleet, *arguments: str) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "KAFKA_BOOTSTRAP_SERVERS": ships.bootstrap_servers,
        **{f"KAFKA_{kind.upper()}_TOPIC": topic for kind, topic in ships.topics.items()},
    }
    command = [sys.executable, "-m", "worker_agents.cli", "tickets", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout


async def due_times(ships: Fleet, count: int) -> dict[str, float]:
    """When each retry is due, in seconds; waits until so many are durable."""

    def parked(records: list[ConsumerRecord]) -> dict[str, float]:
        states: dict[str, dict[str, Any]] = {record.key.decode(): json.loads(record.value) for record in records}
        return {key: state["due_at"] / 1000 for key, state in states.items() if state.get("phase") == "parked"}

    return parked(await ships.read("state", lambda records: len(parked(records)) >= count, timeout=30))


async def opened_by(ships: Fleet, worker: str) -> float:
    """When a worker first wrote that the partition is its own, in seconds."""
    records = [record for record in await ships.existing("state") if record.key == b"@owner"]
    return min(
        record.timestamp / 1000 for record in records if json.loads(record.value)["worker"].startswith(f"{worker}#")
    )


def retries_began(ships: Fleet) -> dict[str, float]:
    starts = [line[1:] for line in ships.probe_log() if line[0] == "start"]
    assert len(starts) == 4, "each ticket has a first attempt and a second one"
    return {ticket_id: float(at) for ticket_id, attempt, _, at in starts if attempt == "2"}
