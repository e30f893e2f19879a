"""What workers tell to scale by: exactly the tickets that more workers would finish sooner, each of them once."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from tests.support.fleet import Fleet, fleet, probe
from tests.support.waiting import until
from worker_agents.devkit.ports import free_ports

Tickets = Iterable[Mapping[str, Any]]
HOURS = 3 * 3_600_000
# Two run, a few are armed and a few wait: everything else stays where it is.
SMALL = {"MAX_CONCURRENT_TASKS": "2", "MAX_BUFFERED_TICKETS": "4"}


@pytest.fixture
async def ships(kafka: Any, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(kafka.bootstrap_servers, tmp_path, partitions=2) as started:
        yield started


class Watched:
    """Workers of a fleet, and what their metrics say together."""

    def __init__(self, ships: Fleet) -> None:
        self.ships = ships
        self.ports: list[int] = []

    def worker(self, **env: str) -> Any:
        (port,) = free_ports(1)
        self.ports.append(port)
        return self.ships.worker(HTTP_PORT=str(port), **env)

    async def tells(self, wanted: Callable[[dict[str, float]], bool], patience: float = 40.0) -> dict[str, float]:
        """What is told, once it is as wanted, or at the end of patience."""
        told: dict[str, float] = {}

        def is_as_wanted() -> bool:
            told.clear()
            told.update(self.sums())
            return wanted(told)

        await until(is_as_wanted, patience)
        return told

    async def settles_at(self, **wanted: float) -> dict[str, float]:
        """These figures: once they are as wanted, else whatever they are."""
        told = await self.tells(lambda told: all(told.get(name) == value for name, value in wanted.items()))
        return {name: told.get(name, -1) for name in wanted}

    async def greatest_until(self, **wanted: float) -> float:
        """The largest sum of unfinished tickets that is seen until these figures are told."""
        seen: list[float] = []

        def is_as_wanted(told: dict[str, float]) -> bool:
            seen.append(told.get("unfinished_tickets", 0))
            return all(told.get(name) == value for name, value in wanted.items())

        told = await self.tells(is_as_wanted)
        assert is_as_wanted(told)
        return max(seen)

    def sums(self) -> dict[str, float]:
        """Each metric summed over its labels and all workers that answer; tickets in flight also by phase."""
        sums: dict[str, float] = {}
        for port in self.ports:
            for name, value in _scrape(port):
                sums[name] = sums.get(name, 0.0) + value
        return sums


def _scrape(port: int) -> list[tuple[str, float]]:
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    except httpx.TransportError:
        return []
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    named = [(sample.name.removeprefix("worker_agents_"), sample) for sample in samples]
    phases = [(sample.labels["phase"], sample.value) for name, sample in named if name == "tickets_in_flight"]
    return phases + [(name, sample.value) for name, sample in named]


@pytest.fixture
def watched(ships: Fleet) -> Watched:
    return Watched(ships)


@asynccontextmanager
async def transactional(ships: Fleet) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=ships.bootstrap_servers, transactional_id=f"producer-{ships.name}")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def transactions(ships: Fleet, *batches: Tickets, abort: bool = False) -> None:
    """Produce each batch in a transaction of its own, all of it to one partition."""
    async with transactional(ships) as producer:
        for number, batch in enumerate(batches):
            await producer.begin_transaction()
            for ticket in batch:
                await producer.send(ships.topics["tickets"], json.dumps(ticket).encode(), partition=number % 2)
            await (producer.abort_transaction() if abort else producer.commit_transaction())


async def plainly(ships: Fleet, *batches: Tickets) -> None:
    for batch in batches:
        await ships.submit(batch)


async def one_by_one(ships: Fleet, *batches: Tickets) -> None:
    await transactions(ships, *([ticket] for batch in batches for ticket in batch))


PRODUCERS = pytest.mark.parametrize("produce", [plainly, one_by_one, transactions])


def named(name: str, count: int, **parameters: object) -> list[dict[str, Any]]:
    return [probe(f"{name}-{number}", **parameters) for number in range(count)]


@PRODUCERS
async def test_idle_is_zero(watched: Watched, produce: Callable[..., Any]) -> None:
    watched.worker()
    await produce(watched.ships, named("a", 10), named("b", 10))
    assert len(await watched.ships.results(20)) == 20

    assert await watched.settles_at(unfinished_tickets=0, partition_lag=0) == {
        "unfinished_tickets": 0,
        "partition_lag": 0,
    }


async def test_what_was_aborted_is_no_work(watched: Watched) -> None:
    watched.worker()
    await transactions(watched.ships, named("done", 2))
    await transactions(watched.ships, named("never", 20), abort=True)
    assert len(await watched.ships.results(2)) == 2

    assert await watched.settles_at(unfinished_tickets=0, partition_lag=0) == {
        "unfinished_tickets": 0,
        "partition_lag": 0,
    }


async def test_a_transaction_that_is_open_is_lag_but_no_work_yet(watched: Watched) -> None:
    """Nobody may read it, so more workers would have nothing to do; a producer that hangs is seen all the same."""
    watched.worker()
    async with transactional(watched.ships) as producer:
        await producer.begin_transaction()
        for ticket in named("open", 5):
            await producer.send_and_wait(watched.ships.topics["tickets"], json.dumps(ticket).encode(), partition=0)
        assert await watched.settles_at(partition_lag=5) == {"partition_lag": 5}
        await watched.ships.submit([probe("behind-it"), probe("elsewhere")])
        assert [result["ticket_id"] for result in await watched.ships.results(1)] == ["elsewhere"]
        assert await watched.settles_at(partition_lag=6, unfinished_tickets=0) == {
            "partition_lag": 6,
            "unfinished_tickets": 0,
        }
        await producer.commit_transaction()

    assert len(await watched.ships.results(7)) == 7
    assert await watched.settles_at(partition_lag=0) == {"partition_lag": 0}


@PRODUCERS
async def test_what_runs_and_what_is_not_even_read_is_counted(watched: Watched, produce: Callable[..., Any]) -> None:
    watched.worker(**SMALL)
    await produce(watched.ships, named("a", 10, sleep_ms=HOURS), named("b", 10, sleep_ms=HOURS))
    await watched.tells(lambda told: told.get("running") == 2 and told.get("ready", 0) > 0)
    # Nothing of these is fetched: nobody but the broker knows of them.
    await produce(watched.ships, named("c", 10), named("d", 10))

    assert await watched.settles_at(unfinished_tickets=40) == {"unfinished_tickets": 40}
    told = watched.sums()
    assert (told["unfinished_tickets"], told["running"]) == (40, 2)
    assert told["tickets_in_flight"] <= 20


async def test_what_waits_for_something_else_than_a_slot_is_not(watched: Watched) -> None:
    watched.worker()
    await watched.ships.submit(
        [
            probe("runs", sleep_ms=HOURS),
            {**probe("later"), "dependencies": ["runs"]},
            {**probe("again", errors=1, retry_after=600), "max_retries": 2},
            probe("runs", sleep_ms=HOURS),
        ],
        key=lambda _: b"one-plan",
    )
    await watched.tells(lambda told: told.get("parked") == 2)

    assert await watched.settles_at(unfinished_tickets=1, duplicates_total=1) == {
        "unfinished_tickets": 1,
        "duplicates_total": 1,
    }


async def test_a_ticket_counts_once_whoever_has_its_partition(watched: Watched) -> None:
    """One worker, two, and one again after the other was killed: the sum stays what it is, and nobody tells of more."""
    first = watched.worker(**SMALL)
    await watched.ships.submit(named("a", 40, sleep_ms=HOURS))
    assert await watched.settles_at(unfinished_tickets=40, running=2) == {"unfinished_tickets": 40, "running": 2}

    watched.worker(**SMALL)
    assert await watched.settles_at(unfinished_tickets=40, running=4) == {"unfinished_tickets": 40, "running": 4}

    first.kill()
    assert await watched.greatest_until(unfinished_tickets=40, running=2) == 40


async def test_a_worker_that_slept_too_long_does_not_count_what_another_has(watched: Watched) -> None:
    sleeper = watched.worker(**SMALL)
    await watched.ships.submit(named("a", 40, sleep_ms=HOURS))
    assert await watched.settles_at(unfinished_tickets=40) == {"unfinished_tickets": 40}
    sleeper.send(signal.SIGSTOP)
    watched.worker(**SMALL)
    slept_port = watched.ports.pop(0)
    assert await watched.settles_at(unfinished_tickets=40, running=2) == {"unfinished_tickets": 40, "running": 2}

    sleeper.send(signal.SIGCONT)
    watched.ports.append(slept_port)
    assert await watched.greatest_until(unfinished_tickets=40, running=4) == 40


async def test_what_is_settled_or_parked_is_no_work_when_its_log_is_read_again(watched: Watched) -> None:
    """Behind a ticket of hours lie a thousand that are done, and as many that wait for it: whoever takes over does not count them for a moment."""
    first = watched.worker()
    waiting = [{**ticket, "dependencies": ["long"]} for ticket in named("waits", 1_000)]
    await watched.ships.submit(
        [probe("long", sleep_ms=HOURS), *named("short", 1_000), *waiting], key=lambda _: b"one-plan"
    )
    assert await watched.settles_at(tasks_executed_total=1_000, parked=1_000) == {
        "tasks_executed_total": 1_000,
        "parked": 1_000,
    }
    first.kill()

    watched.worker()
    assert await watched.greatest_until(unfinished_tickets=1, running=1, parked=1_000) == 1


async def test_a_worker_without_partitions_has_no_work_and_says_so(watched: Watched) -> None:
    for _ in range(3):
        watched.worker()
    await watched.tells(lambda told: told.get("partitions") == 2 and told.get("ready") == 3)

    counts = [dict(_scrape(port)).get("unfinished_tickets") for port in watched.ports]

    assert counts == [0, 0, 0]
