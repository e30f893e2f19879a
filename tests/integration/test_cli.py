"""The command line against a real broker and a real worker."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import KafkaServer
from tests.support.fleet import ROOT, Fleet, fleet, probe

pytestmark = pytest.mark.integration


@dataclass
class Ended:
    code: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


@dataclass
class CommandLine:
    environment: dict[str, str]

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "worker_agents.cli", *arguments),
            cwd=ROOT,
            env=inherited | self.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def __call__(self, *arguments: str, stdin: bytes = b"") -> Ended:
        process = await self.start(*arguments)
        out, err = await process.communicate(stdin)
        assert process.returncode is not None
        assert b"Traceback" not in err, err.decode()
        return Ended(process.returncode, out, err.decode())


def topic_settings(servers: str, topics: dict[str, str]) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        **{f"KAFKA_{kind.upper()}_TOPIC": name for kind, name in topics.items()},
    }


@pytest.fixture
async def ships(kafka: KafkaServer, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(kafka.bootstrap_servers, tmp_path) as ships:
        yield ships


@pytest.fixture
def cli(ships: Fleet) -> CommandLine:
    return CommandLine(topic_settings(ships.bootstrap_servers, ships.topics))


async def test_topics_are_created_described_and_checked(kafka: KafkaServer) -> None:
    name = uuid4().hex[:8]
    topics = {kind: f"c-{name}.{kind}" for kind in ("tickets", "results", "dlq", "state")}
    cli = CommandLine(topic_settings(kafka.bootstrap_servers, topics))

    missing = await cli("topics", "describe")
    assert missing.code == 2
    assert "missing topics" in missing.err
    lost = await cli("results")
    assert (lost.code, lost.out) == (4, b"")
    assert "there is no topic" in lost.err
    assert (await cli("submit", "--type", "PROBE")).code == 4

    created = (await cli("topics", "create", "--json")).json
    assert sorted(created["created"]) == sorted(topics.values())
    described = (await cli("topics", "describe", "--json")).json
    assert described["problem"] is None
    assert {row["for"]: (row["partitions"], row["compacted"]) for row in described["topics"]} == {
        "tickets": (12, False),
        "results": (6, False),
        "dlq": (3, False),
        "state": (12, True),
    }
    again = await cli("topics", "create")
    assert (again.code, again.out.splitlines()[0]) == (0, b"nothing to create")
    assert (await cli("results")).out.startswith(b"no results in")
    assert (await cli("dlq", "list", "--json")).json == []


async def test_a_ticket_from_submission_to_result(ships: Fleet, cli: CommandLine) -> None:
    worker = ships.worker()
    await worker.says("partition_opened", 4)

    done = await cli("submit", "--type", "PROBE", "--id", "cli-1", "--plan", "p-1", "--wait", "--timeout", "30")
    assert done.code == 0, done.err
    first, _, result = done.out.partition(b"\n")
    assert first.startswith(f"sent cli-1 to {ships.topics['tickets']}, partition ".encode())
    assert json.loads(result)["status"] == "COMPLETED"

    lines = b"\n".join(json.dumps(probe(name, fail=name == "cli-3")).encode() for name in ("cli-2", "cli-3"))
    both = await cli("submit", "-", "--wait", "--json", stdin=lines)
    document = json.loads(both.out)
    assert both.code == 1
    assert {r["ticket_id"]: r["status"] for r in document["results"]} == {"cli-2": "COMPLETED", "cli-3": "FAILED"}
    assert [each["key"] for each in document["sent"]] == ["cli-2", "cli-3"]

    copy = await cli("submit", "--type", "PROBE", "--id", "cli-1", "--plan", "p-1", "--wait", "--timeout", "2")
    assert copy.code == 1
    assert "no result for cli-1 within 2 s" in copy.err

    newest = (await cli("results", "--json")).json
    assert sorted(result["ticket_id"] for result in newest) == ["cli-1", "cli-2", "cli-3"]
    assert len((await cli("results", "--json", "--limit", "1")).json) == 1
    (failed,) = (await cli("results", "--json", "--status", "failed", "--type", "probe")).json
    assert failed["ticket_id"] == "cli-3"
    assert (await cli("results", "--ticket", "cli-9")).code == 4
    assert b"cli-3" in (await cli("results", "--plan", "p-1")).out + (await cli("results")).out

    listed = (await cli("tickets", "--json")).json
    assert sorted((each["ticket_id"], each["progress"]) for each in listed) == [
        ("cli-1", "COMPLETED"),
        ("cli-1", "DUPLICATE"),
        ("cli-2", "COMPLETED"),
        ("cli-3", "FAILED"),
    ]
    (waiting,) = (await cli("tickets", "--json", "--status", "duplicate", "--plan", "p-1")).json
    assert waiting["detail"].startswith("of ")
    assert b"cli-2" in (await cli("tickets", "--type", "probe")).out
    assert (await cli("tickets", "--ticket", "cli-9")).code == 4


async def test_dead_letters_byte_for_byte(ships: Fleet, cli: CommandLine) -> None:
    worker = ships.worker()
    value = b'{"ticket_id": "x", \xff\x00\x1b[2J'
    await ships.submit([value])
    await worker.says("ticket_dead_lettered")

    (letter,) = (await cli("dlq", "list", "--json")).json
    assert letter["reason"] == "undecodable"
    assert letter["original"] == {"topic": ships.topics["tickets"], "partition": 0, "offset": 0}
    place = letter["letter"]
    assert (await cli("dlq", "list", "--json", "--reason", "internal")).json == []
    assert (await cli("dlq", "list", "--ticket", "x")).code == 4
    assert b"undecodable" in (await cli("dlq", "list")).out

    assert (await cli("dlq", "show", place, "--raw")).out == value
    shown = await cli("dlq", "show", place)
    assert shown.code == 0
    assert b"__dlq.errors.offset: 0" in shown.out
    assert b"\x1b" not in shown.out
    whole = (await cli("dlq", "show", place, "--json")).json
    assert "base64" in whole["value"]
    assert {"name": "worker-agents.reason", "text": "undecodable"} in whole["headers"]

    assert (await cli("dlq", "show", "0-999")).code == 4
    assert (await cli("dlq", "show", "99-0")).code == 4


async def test_following_goes_on_until_it_is_interrupted(ships: Fleet, cli: CommandLine) -> None:
    following = [await cli.start(command, "--follow", "--json") for command in ("results", "tickets")]
    results, tickets = following
    try:
        ships.worker()
        await ships.submit([probe("f-1")])
        async with asyncio.timeout(60):
            assert results.stdout is not None
            assert tickets.stdout is not None
            assert json.loads(await results.stdout.readline())["ticket_id"] == "f-1"
            seen = ""
            while seen != "COMPLETED":
                document = json.loads(await tickets.stdout.readline())
                assert document["ticket_id"] == "f-1"
                seen = document["progress"]
    finally:
        for process in following:
            process.send_signal(signal.SIGINT)
        ended = [await process.communicate() for process in following]
    assert [process.returncode for process in following] == [130, 130]
    assert [err for _, err in ended] == [b"", b""]


async def test_a_real_worker_ends_well_when_it_is_told_to(ships: Fleet, cli: CommandLine) -> None:
    cli.environment |= {"HTTP_PORT": "0", "HTTP_HOST": "127.0.0.1", "KAFKA_CONSUMER_GROUP_ID": ships.group}
    worker = await cli.start("run")
    assert worker.stderr is not None
    async with asyncio.timeout(60):
        while b"partition_opened" not in await worker.stderr.readline():
            assert worker.returncode is None
    worker.terminate()
    _, err = await worker.communicate()

    assert worker.returncode == 0
    assert b'"event":"worker_stopped"' in err
