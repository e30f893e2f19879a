"""Dead letters are sent again from the command line, on real Kafka."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import Fleet, fleet, probe
from worker_agents.devkit.code_forge import Behaviour, CodeForgeServer, Progress

FAILS = {"max_retries": 0}


@pytest.fixture
async def ships(kafka: Any, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(kafka.bootstrap_servers, tmp_path, partitions=2) as started:
        yield started


def replay(ships: Fleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "KAFKA_BOOTSTRAP_SERVERS": ships.bootstrap_servers,
        **{f"KAFKA_{kind.upper()}_TOPIC": topic for kind, topic in ships.topics.items()},
    }
    command = [sys.executable, "-m", "worker_agents.cli", "dlq", "replay", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


async def results_of(ships: Fleet, count: int) -> list[dict[str, Any]]:
    """So many final results, of whichever tickets."""
    records = await ships.read("results", lambda found: len(found) >= count, timeout=60)
    return [json.loads(record.value) for record in records]


async def test_replayed_tickets_run_once_more_however_often_they_are_replayed(ships: Fleet) -> None:
    held = Behaviour(progress=Progress(queued=0, processing=0))
    async with CodeForgeServer(held) as forge:
        forge.change(down=True)
        worker = ships.worker(CODE_FORGE_URL=forge.url, CODE_FORGE_FALLBACK="fail", LOG_LEVEL="DEBUG")
        sent = [probe(f"bad-{number}", errors=1) | {"sla": FAILS} for number in range(3)]
        await ships.submit([*sent, b"{ not json", probe("good")])
        assert len(await results_of(ships, 4)) == 4
        await ships.read("dlq", lambda found: len(found) >= 4, timeout=30)

        shown = replay(ships, "--all", "--dry-run")
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.splitlines()[-1] == "4 of 4 dead letters would be replayed"

        first = replay(ships, "--reason", "retries_exhausted", "--rate", "1000", "--json")
        assert first.returncode == 0, first.stderr
        reports = [json.loads(line) for line in first.stdout.splitlines()]
        assert {report["ticket_id"] for report in reports} == {"bad-0", "bad-1", "bad-2"}
        await worker.says("ticket_replayed", 3)
        again = replay(ships, reports[0]["letter"], reports[1]["letter"], "--rate", "1000")
        assert again.returncode == 0, again.stderr
        await worker.says("duplicate_ticket", 2, kind="done")

        results = await results_of(ships, 7)
        by_ticket = {name: [r["status"] for r in results if r["ticket_id"] == name] for name in ("bad-0", "good")}
        assert by_ticket == {"bad-0": ["FAILED", "FAILED"], "good": ["COMPLETED"]}
        assert len(results) == 7


async def test_one_some_and_all_letters_are_replayed_no_faster_than_allowed(ships: Fleet) -> None:
    ships.worker()
    sent = [probe(name, errors=1) | {"sla": FAILS} for name in ("bad-0", "bad-1", "bad-2")]
    await ships.submit([*sent, b"{ not json"])
    await ships.read("dlq", lambda found: len(found) >= 4, timeout=30)
    before = await tickets_sent(ships)

    shown = replay(ships, "--all", "--dry-run", "--json")
    assert {json.loads(line)["sent_to"] for line in shown.stdout.splitlines()} == {None}
    assert await tickets_sent(ships) == before
    one = replay(ships, "--ticket", "bad-1", "--json")
    assert [json.loads(line)["ticket_id"] for line in one.stdout.splitlines()] == ["bad-1"]
    # The replay of bad-1 failed again, and is a letter of its own.
    await ships.read("dlq", lambda found: len(found) >= 5, timeout=30)
    some = replay(ships, "--reason", "undecodable")
    assert some.stdout.splitlines()[-1] == "1 of 1 dead letters replayed"
    await ships.read("dlq", lambda found: len(found) >= 6, timeout=30)

    every = replay(ships, "--all", "--rate", "4")
    assert every.stdout.splitlines()[-1] == "6 of 6 dead letters replayed"
    records = await ships.existing("tickets")
    assert len(records) == before + 1 + 1 + 6
    at = sorted(record.timestamp for record in records)[-6:]
    assert all(later - earlier >= 250 for earlier, later in itertools.pairwise(at))


async def test_each_replay_has_all_its_attempts_and_the_ticket_keeps_their_history(ships: Fleet) -> None:
    worker = ships.worker(RETRY_BACKOFF_BASE_SECONDS="0.01")
    await ships.submit([probe("bad", errors=2) | {"sla": {"max_retries": 1}}])
    replays: list[str] = []
    for count in (1, 2, 3):
        results = await results_of(ships, count)
        letters = await ships.read("dlq", lambda found, count=count: len(found) >= count, timeout=30)  # type: ignore[misc]
        assert [(result["attempts"], result["error_reason"]) for result in results] == [
            (2, "retries_exhausted")
        ] * count
        assert (await known_of(ships, "bad")).get("replays", []) == replays
        replays.append(f"{letters[-1].partition}-{letters[-1].offset}")
        assert replay(ships, replays[-1]).returncode == 0
        await worker.says("ticket_replayed", count, timeout=30)

    assert ships.probe_starts()["bad"] >= 6
    told = [(event["replay"], event["count"]) for event in worker.events("ticket_replayed")]
    assert told == [(replays[0], 1), (replays[1], 2), (replays[2], 3)]


async def tickets_sent(ships: Fleet) -> int:
    return len(await ships.existing("tickets"))


async def known_of(ships: Fleet, ticket_id: str) -> dict[str, Any]:
    """What the state topic says of a ticket last."""
    states = [record.value for record in await ships.existing("state") if record.key == ticket_id.encode()]
    return dict(json.loads(states[-1]))


async def test_a_poison_pill_does_not_loop(ships: Fleet) -> None:
    worker = ships.worker()
    await ships.submit([b"{ not json"])
    (letter,) = await ships.read("dlq", lambda found: len(found) >= 1, timeout=30)

    assert replay(ships, f"{letter.partition}-{letter.offset}").returncode == 0
    letters = await ships.read("dlq", lambda found: len(found) >= 2, timeout=30)

    assert [record.value for record in letters] == [b"{ not json"] * 2
    assert len(worker.events("ticket_dead_lettered")) == 2


async def test_an_order_must_say_which_letters(ships: Fleet) -> None:
    for arguments in ([], ["--all", "--reason", "timeout"], ["0-1", "--all"], ["zero"]):
        refused = replay(ships, *arguments)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert replay(ships, "0-99").returncode == 4
    assert replay(ships, "--all").returncode == 4
