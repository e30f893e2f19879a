"""Work that outlasts its workers, and their sessions."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from tests.support.fleet import Fleet, WorkerProcess
from worker_agents.devkit.code_forge import Behaviour, CodeForgeServer, Progress
from worker_agents.executors.polling import poll_delays

HELD = Behaviour(progress=Progress(queued=1, processing=None))
LET_GO = Progress(queued=0, processing=0)
SESSION_SECONDS = 6.0
# So rare that beginning anew with frequent polls at each hand-over would show.
POLL_SECONDS = 6.0
HAND_OVERS = 4
SESSIONS = 4
LONG = {
    "ticket_id": "long",
    "task_type": "BUILD",
    "parameters": {"artifact_id": "a-1", "poll_interval_seconds": POLL_SECONDS},
}


@pytest.mark.timeout(240)
async def test_a_long_ticket_across_rolling_restarts_of_every_worker(ships: Fleet) -> None:
    async with CodeForgeServer(HELD) as forge:
        crew = Crew(ships, forge.url)
        await crew.arrive()
        await ships.submit([LONG])
        for _ in range(HAND_OVERS):
            await crew.restart_owner()
        await crew.owner_works()
        forge.change(progress=LET_GO)
        (result,) = await ships.results(1)

        assert (result["status"], result["attempts"]) == ("COMPLETED", 1), ships.tails()
        assert not result["result"]["metadata"]["simulated"]
        await crew.leave()
        assert len(await ships.existing("results")) == 1
        assert len(forge.log.find(method="POST")) == 1
        polls = forge.log.find(method="GET")
        # Each new owner looks at once.
        assert len(polls) <= most_polls(polls[-1].at - polls[0].at) + HAND_OVERS
        assert_one_attempt(await ships.existing("state"), owners=HAND_OVERS + 1)


async def test_a_worker_with_nothing_but_a_long_ticket_stays_in_its_group(ships: Fleet) -> None:
    """For several sessions no record arrives, and none is written but the lease."""
    async with CodeForgeServer(HELD) as forge:
        worker = ships.worker(CODE_FORGE_URL=forge.url, LOG_LEVEL="DEBUG")
        await ships.submit([LONG])
        await leased(ships, "worker-1", SESSIONS * SESSION_SECONDS)
        forge.change(progress=LET_GO)
        (result,) = await ships.results(1)

        assert result["status"] == "COMPLETED"
        assert len(worker.events("attempt_started")) == len(worker.events("partition_opened")) == 1
        for trouble in ("partition_retained", "partition_closed", "ledger_failed", "lease_expired"):
            assert worker.events(trouble) == []
        assert_one_attempt(await ships.existing("state"), owners=1)


@dataclass
class Crew:
    """Two workers on one partition; each is restarted as often as it owns it."""

    ships: Fleet
    forge_url: str
    owner: WorkerProcess = field(init=False)
    other: WorkerProcess = field(init=False)

    async def arrive(self) -> None:
        self.owner = self._hire()
        await self.owner.says("partition_opened")
        await self._hire_other()

    async def restart_owner(self) -> None:
        """SIGTERM once it has been at it for a while; a new one comes, and is there before the next one goes."""
        await self.owner_works()
        assert await self.owner.stop() == 0
        self.owner = self.other
        await self.owner.says("attempt_started", resumed=True)
        await self._hire_other()

    async def owner_works(self) -> None:
        await self.owner.says("attempt_started")
        await leased(self.ships, self.owner.name, SESSION_SECONDS)

    async def leave(self) -> None:
        """Those that are left end well, and nobody ever lost the partition."""
        assert [await worker.stop() for worker in (self.other, self.owner)] == [0, 0]
        for trouble in ("ledger_failed", "lease_expired", "partition_not_opened"):
            assert [worker.events(trouble) for worker in self.ships.workers if worker.events(trouble)] == []

    async def _hire_other(self) -> None:
        retained = len(self.owner.events("partition_retained"))
        self.other = self._hire()
        # The owner keeps its partition in the re-distribution that a new member causes.
        await self.owner.says("partition_retained", retained + 1)

    def _hire(self) -> WorkerProcess:
        return self.ships.worker(CODE_FORGE_URL=self.forge_url, DRAIN_TIMEOUT_SECONDS="0", LOG_LEVEL="DEBUG")


async def leased(ships: Fleet, worker: str, seconds: float) -> None:
    """Return when a worker has held the partition for so long; its lease says so."""

    def held(records: list[ConsumerRecord]) -> bool:
        ours = [at for at, owner in leases(records) if owner.partition("#")[0] == worker]
        return bool(ours) and ours[-1] - ours[0] >= seconds

    records = await ships.read("state", held, timeout=3 * seconds)
    assert held(records), ships.tails()


def leases(records: Iterable[ConsumerRecord]) -> list[tuple[float, str]]:
    """When ``@owner`` was written, in seconds, and by which process."""
    return [
        (record.timestamp / 1000, json.loads(record.value)["worker"]) for record in records if record.key == b"@owner"
    ]


def assert_one_attempt(records: list[ConsumerRecord], *, owners: int) -> None:
    """One attempt, begun once, by so many workers one after the other; the partition was never without a lease."""
    states: list[dict[str, Any]] = [json.loads(record.value) for record in records if record.key == b"long"]
    begun = [state for state in states if state["phase"] != "done"]
    assert len({state["owner"] for state in begun}) == owners
    assert {(state["attempt"], state["delivery"]) for state in begun} == {(1, 1)}
    assert len({state["began_at"] for state in begun}) == 1
    # Its time limit counts from there.
    assert len({state["checkpoint_at"] for state in begun if state["phase"] == "checkpoint"}) == 1
    renewed = [at for at, _ in leases(records)]
    assert max(after - before for before, after in itertools.pairwise(renewed)) < SESSION_SECONDS


class Hurried(random.Random):
    """Makes every delay as short as it may be."""

    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002 # as the real one
        return a


def most_polls(seconds: float) -> int:
    """How often one worker may ask within so many seconds from its first poll on, that one included."""
    after_first = itertools.islice(poll_delays(longest=POLL_SECONDS, rng=Hurried()), 1, None)
    return 1 + sum(1 for _ in itertools.takewhile(lambda passed: passed <= seconds, itertools.accumulate(after_first)))
