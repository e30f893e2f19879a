"""Transactions that hang, whose answers are lost, and that somebody else has a hand in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.support.fleet import Fleet, WorkerProcess, duplicates, fleet, probe
from tests.support.kafka_proxy import Api, KafkaProxy, Lost, Rule
from worker_agents.devkit.embedded_kafka import EmbeddedKafka
from worker_agents.kafka.codec import OutRecord
from worker_agents.kafka.connection import KafkaConnection
from worker_agents.kafka.producer import COMMIT_LIMIT, CommitFailed, TransactionalProducer

TICKETS = 20


def transactional_id(ships: Fleet, partition: int = 0) -> str:
    return f"{ships.group}-{ships.topics['tickets']}-{partition}"


def proxied_worker(ships: Fleet, proxy: KafkaProxy) -> WorkerProcess:
    """Behind the proxy, and with a lease that outlasts the ledger's limit for a transaction, as by default."""
    return ships.worker(KAFKA_BOOTSTRAP_SERVERS=proxy.bootstrap_servers, KAFKA_SESSION_TIMEOUT_SECONDS="30")


async def answered_once(ships: Fleet, ticket_ids: list[str], timeout: float = 60.0) -> None:
    """Every ticket has one result, and its executor ran once."""
    results = await ships.results(len(ticket_ids), timeout)
    assert {result["ticket_id"] for result in results} == set(ticket_ids), ships.tails()
    assert duplicates(results) == {}
    assert ships.probe_starts() == dict.fromkeys(ticket_ids, 1)


def keeping_back_commits(
    ships: Fleet, proxy: KafkaProxy, what: Lost, times: int | None = None
) -> AbstractContextManager[Rule]:
    return proxy.keeping_back(Api.END_TXN, what, containing=transactional_id(ships).encode(), times=times)


@asynccontextmanager
async def publishing(ships: Fleet, proxy: KafkaProxy, tickets: list[str]) -> AsyncIterator[Callable[[], None]]:
    """The first results of these tickets are about to be written, until the function is called."""
    results = ships.topics["results"].encode()
    with proxy.keeping_back(Api.PRODUCE, Lost.REQUEST, containing=results) as produce:
        await ships.submit([probe(ticket_id, sleep_ms=100) for ticket_id in tickets])
        await produce.met.wait()
        yield produce.release


@asynccontextmanager
async def left_open(ships: Fleet, topic: str, *, timeout_ms: int) -> AsyncIterator[AIOKafkaProducer]:
    """Somebody's transaction with a record in partition 0 of a topic, which nobody ends."""
    producer = AIOKafkaProducer(
        bootstrap_servers=ships.bootstrap_servers,
        transactional_id=f"foreign-{ships.name}",
        transaction_timeout_ms=timeout_ms,
    )
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"{}", b"@foreign", partition=0)
        yield producer
    finally:
        with contextlib.suppress(KafkaError, AssertionError):
            await producer.stop()


async def test_completion_during_a_transaction(ships: Fleet, proxy: KafkaProxy) -> None:
    worker = proxied_worker(ships, proxy)
    tickets = [f"c-{number}" for number in range(TICKETS)]
    await ships.submit([probe(ticket_id, sleep_ms=3_000) for ticket_id in tickets])
    await ships.probe_says("start", TICKETS)

    with keeping_back_commits(ships, proxy, Lost.ANSWER, times=1) as commit:
        await ships.submit([probe("last")])
        await commit.met.wait()
        assert sum(line[0] == "end" for line in ships.probe_log()) < TICKETS
        await ships.probe_says("end", TICKETS)

    await answered_once(ships, [*tickets, "last"])
    assert worker.events("ledger_failed") == []


async def test_commit_response_lost_but_applied(ships: Fleet, proxy: KafkaProxy) -> None:
    """It is not guessed what became of the transaction: the partition is opened again, and its state tells."""
    worker = proxied_worker(ships, proxy)
    tickets = [f"a-{number}" for number in range(TICKETS)]
    async with publishing(ships, proxy, tickets) as go_on:
        with keeping_back_commits(ships, proxy, Lost.ANSWER):
            go_on()
            await worker.says("ledger_failed", timeout=COMMIT_LIMIT + 10)
    await worker.says("partition_opened", 2)
    await answered_once(ships, tickets)


async def test_connection_lost_instead_of_a_commit_response(ships: Fleet, proxy: KafkaProxy) -> None:
    worker = proxied_worker(ships, proxy)
    tickets = [f"l-{number}" for number in range(TICKETS)]
    async with publishing(ships, proxy, tickets) as go_on:
        with keeping_back_commits(ships, proxy, Lost.CONNECTION, times=1) as commit:
            go_on()
            await commit.met.wait()
    await answered_once(ships, tickets)
    assert worker.events("ledger_failed") == []


async def test_commit_request_that_arrives_after_its_partition_was_opened_again(
    ships: Fleet, proxy: KafkaProxy
) -> None:
    """The new opening has aborted that transaction: the late commit is fenced, and everything is published anew."""
    worker = proxied_worker(ships, proxy)
    tickets = [f"h-{number}" for number in range(TICKETS)]
    async with publishing(ships, proxy, tickets) as go_on:
        with keeping_back_commits(ships, proxy, Lost.REQUEST):
            go_on()
            await worker.says("ledger_failed", timeout=COMMIT_LIMIT + 10)
    await worker.says("partition_opened", 2)
    await answered_once(ships, tickets)


async def test_transaction_left_hanging_until_its_time_out(ships: Fleet) -> None:
    """Somebody else's, on the results: it hides ours for as long, and changes nothing about them."""
    worker = ships.worker()
    await worker.says("partition_opened")
    async with left_open(ships, ships.topics["results"], timeout_ms=3_000):
        tickets = [f"t-{number}" for number in range(TICKETS)]
        await ships.submit([probe(ticket_id) for ticket_id in tickets])
        await ships.probe_says("end", TICKETS)
        await answered_once(ships, tickets)
    assert worker.events("ledger_failed") == []


async def test_foreign_open_transaction_on_the_state_topic_during_a_restore(ships: Fleet) -> None:
    """What was committed behind it cannot be read yet, and is waited for: else its tickets would run again."""
    first = ships.worker()
    await first.says("partition_opened")
    async with left_open(ships, ships.topics["state"], timeout_ms=60_000) as foreign:
        await ships.submit([probe("behind")])
        await ships.probe_says("end", 1)
        await ships.results(1)
        first.kill()

        second = ships.worker()
        await ships.submit([probe("behind"), probe("new")])
        await second.says("state_read_waits")
        assert second.events("partition_opened") == []
        await foreign.abort_transaction()
        await second.says("partition_opened")
    await answered_once(ships, ["behind", "new"])


async def test_revoked_before_restore_ends(wide: Fleet) -> None:
    first = wide.worker()
    await first.says("partition_opened", wide.partitions)
    await wide.submit([probe(f"r-{number}") for number in range(8)])
    await wide.results(8)
    async with left_open(wide, wide.topics["state"], timeout_ms=60_000) as foreign:
        # Now partition 0 can be read only up to what is not decided; the others can be opened.
        assert await first.stop() == 0
        second = wide.worker()
        await second.says("partition_opened", wide.partitions - 1)
        third = wide.worker()
        await third.says("partition_opened")
        await second.says("partition_closed", why="partition_revoked")
        await foreign.abort_transaction()
        opened = [second.says("partition_opened", partition=0), third.says("partition_opened", partition=0)]
        done, pending = await asyncio.wait(map(asyncio.ensure_future, opened), return_when=asyncio.FIRST_COMPLETED)
        assert all(each.exception() is None for each in done), wide.tails()
        for each in pending:
            each.cancel()
    await wide.submit([probe(f"r-{number}") for number in range(12)])
    await answered_once(wide, [f"r-{number}" for number in range(12)])


async def test_two_workers_starting_with_one_transactional_id(ships: Fleet) -> None:
    connection = KafkaConnection(ships.bootstrap_servers)
    twins = [TransactionalProducer(connection, transactional_id(ships), ships.group) for _ in range(2)]
    record = OutRecord(ships.topics["state"], None, b"@nothing", partition=0)
    try:
        await asyncio.gather(*(twin.start() for twin in twins))
        outcomes = await asyncio.gather(*(twin.commit([record], {}) for twin in twins), return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, CommitFailed)]
        assert len(refused) == 1, outcomes
        assert refused[0].is_fenced
    finally:
        for twin in twins:
            await twin.discard()


async def test_a_worker_that_is_fenced_by_nobody_in_its_group_takes_its_partition_back(ships: Fleet) -> None:
    worker = ships.worker()
    await worker.says("partition_opened")
    await ships.submit([probe("running", sleep_ms=6_000)])
    await ships.probe_says("start", 1)
    intruder = TransactionalProducer(KafkaConnection(ships.bootstrap_servers), transactional_id(ships), ships.group)
    await intruder.start()
    try:
        await worker.says("ledger_failed")
        await worker.says("partition_opened", 2)
        with pytest.raises(CommitFailed) as caught:
            await intruder.commit([OutRecord(ships.topics["state"], None, b"@nothing", partition=0)], {})
        assert caught.value.is_fenced
    finally:
        await intruder.discard()
    await answered_once(ships, ["running"])


async def test_producer_idle_past_transactional_id_expiration(tmp_path: Path) -> None:
    forgetful = {
        "transactional.id.expiration.ms": "1500",
        "transaction.remove.expired.transaction.cleanup.interval.ms": "200",
    }
    async with (
        EmbeddedKafka(properties=forgetful) as broker,
        # @owner is written every 2 s: longer than the broker remembers.
        fleet(broker.bootstrap_servers, tmp_path, partitions=1) as ships,
    ):
        worker = ships.worker()
        await worker.says("partition_opened")
        await ships.submit([probe("before", sleep_ms=3_000)])
        failed = await worker.says("ledger_failed")
        assert "InvalidProducerIdMapping" in failed[0]["error"]
        await worker.says("partition_opened", 2)
        await ships.submit([probe("after")])
        await answered_once(ships, ["before", "after"])
