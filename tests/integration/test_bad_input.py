"""Whatever arrives is settled as the table in design §5 says, and the next ticket runs."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import Fleet, fleet, probe

pytestmark = pytest.mark.integration

HOUR_MS = 3_600_000


@pytest.fixture
async def ships(kafka: Any, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(kafka.bootstrap_servers, tmp_path, partitions=1, DEPENDENCY_TIMEOUT_SECONDS="2") as started:
        yield started


def ticket(ticket_id: str, **changes: Any) -> dict[str, Any]:
    return {**probe(ticket_id), **changes}


async def test_every_kind_of_bad_record_is_settled_and_the_line_goes_on(ships: Fleet) -> None:
    now = int(time.time() * 1000)
    # Reason and whether a dead letter is due, by ticket id.
    answered: dict[str, tuple[str, bool]] = {
        "no-such-type": ("unknown_task_type", True),
        "not-ours": ("unsupported_task_type", True),
        "bad-field": ("invalid_ticket", True),
        "absurd": ("invalid_ticket", True),
        "bad-parameters": ("invalid_parameters", True),
        "late": ("deadline_exceeded", False),
        "verdict": ("verdict_failed", False),
        "after-verdict": ("dependency_failed", False),
        "waits-for-nothing": ("dependency_timeout", False),
        "cycle-1": ("dependency_timeout", False),
        "gives-up": ("retries_exhausted", True),
    }
    bad: list[dict[str, Any] | bytes] = [
        b"\x00\xff not even text",
        b"[1, 2, 3]",
        b"",
        json.dumps({"task_type": "PROBE"}).encode(),
        ticket("@reserved"),
        ticket("no-such-type", task_type="NONSENSE"),
        ticket("not-ours", task_type="COMPENSATE"),
        ticket("bad-field", sla={"timeout_ms": "soon"}),
        ticket("absurd", sla={"deadline": 10**30}),
        probe("bad-parameters", sleep_ms="long", filler="x" * 900_000),
        ticket("late", sla={"deadline": now - HOUR_MS}),
        probe("verdict", fail=True),
        ticket("after-verdict", dependencies=["verdict"]),
        ticket("waits-for-nothing", dependencies=["never-sent"]),
        ticket("cycle-1", dependencies=["cycle-2"]),
        ticket("cycle-2", dependencies=["cycle-1"]),
        {**probe("gives-up", errors=9), "sla": {"max_retries": 1}},
        ticket("done-elsewhere", status="RUNNING"),
        probe("good"),
    ]
    worker = ships.worker()
    await ships.submit(bad)
    await ships.send_tombstone()
    results = {result["ticket_id"]: result for result in await ships.results(len(answered) + 2, timeout=30)}

    assert results.pop("good")["status"] == "COMPLETED"
    # Whichever of the two times out first fails the other, unless that times out at the same moment.
    assert results.pop("cycle-2")["error_reason"] in {"dependency_failed", "dependency_timeout"}
    assert {name: (found["status"], found["error_reason"]) for name, found in results.items()} == {
        name: ("FAILED", reason) for name, (reason, _) in answered.items()
    }
    nameless = 5
    expected_letters = nameless + sum(dead_letter for _, dead_letter in answered.values())
    letters = await ships.read("dlq", lambda found: len(found) > expected_letters, timeout=3)
    assert len(letters) == expected_letters
    sent = {record if isinstance(record, bytes) else json.dumps(record).encode() for record in bad}
    assert {letter.value for letter in letters} <= sent, "dead letters are kept byte for byte"
    assert await worker.stop() == 0
    assert await ships.committed_floor() == {0: len(bad) + 1}, "every record is settled"


async def test_retries_happen_and_succeed(ships: Fleet) -> None:
    worker = ships.worker()
    await ships.submit([probe("third-time-lucky", errors=2)])
    (result,) = await ships.results(1)
    assert (result["status"], result["attempts"]) == ("COMPLETED", 3)
    assert len(worker.events("ticket_retry_scheduled")) == 2


async def test_running_is_announced_where_it_is_asked_for(ships: Fleet) -> None:
    ships.worker(PUBLISH_RUNNING="true")
    await ships.submit([probe("announced", sleep_ms=200)])
    records = await ships.read("results", lambda found: len(found) >= 2, timeout=20)
    documents = [json.loads(record.value) for record in records]
    assert [document["status"] for document in documents] == ["RUNNING", "COMPLETED"]
    assert dict(records[0].headers)["status"] == b"RUNNING"


async def test_the_trace_goes_on_in_the_result(ships: Fleet) -> None:
    ships.worker()
    trace = "0af7651916cd43dd8448eb211c80319c"
    await ships.submit([probe("traced")], headers=[("TraceParent", f"00-{trace}-b7ad6b7169203331-01".encode())])
    (record,) = await ships.read("results", lambda found: len(found) >= 1, timeout=20)
    version, trace_id, span_id, _flags = dict(record.headers)["traceparent"].decode().split("-")
    assert (version, trace_id) == ("00", trace)
    assert span_id != "b7ad6b7169203331"
