"""The tickets of a run, all from its seed, and the producer that sends them."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.chaos.fire.world import STALL_SECONDS

TICK_SECONDS = 0.2
DUPLICATE_SHARE = 0.08
_RETRY_DELAY = 0.5


class Expect(StrEnum):
    """What must come of a record."""

    RESULT = "one result"
    LETTER = "one dead letter and no result"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Sent:
    """A record of the tickets topic. ``key`` decides the partition, and is the same for all copies of a ticket."""

    ticket_id: str
    key: bytes
    value: bytes
    task_type: str = ""
    depends_on: tuple[str, ...] = ()
    at_most_once: bool = False
    expect: Expect = Expect.RESULT


POISON = "poison-"
"""How the ids of tickets begin that kill their workers."""


@dataclass
class Load:
    """Sends ``rate`` tickets a second until it is told to stop; ``sent`` is all that was, by ticket id."""

    bootstrap_servers: str
    topic: str
    rng: random.Random
    rate: float
    sent: dict[str, Sent] = field(default_factory=dict)
    records: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        plans = plan_after_plan(self.rng)
        late: list[Sent] = []
        async with self._producer() as producer:
            while not self.stopping.is_set():
                for ticket in next(plans):
                    await self._send(producer, ticket)
                    if self.rng.random() < DUPLICATE_SHARE:
                        late.append(ticket)
                    await asyncio.sleep(self.rng.expovariate(self.rate))
                if len(late) > 5:
                    await self._send(producer, late.pop(self.rng.randrange(len(late))))
            for ticket in late:
                await self._send(producer, ticket)

    async def send_again(self, rng: random.Random, count: int) -> None:
        """What a producer does that got no answers: the latest tickets once more, in another order."""
        latest = list(self.sent.values())[-count:]
        async with self._producer() as producer:
            for ticket in rng.sample(latest, len(latest)):
                await self._send(producer, ticket)

    async def send(self, ticket: Sent) -> None:
        async with self._producer() as producer:
            await self._send(producer, ticket)

    async def _send(self, producer: AIOKafkaProducer, ticket: Sent) -> None:
        """Until it is acknowledged; a lost acknowledgement makes another copy."""
        self.sent.setdefault(ticket.ticket_id, ticket)
        while True:
            try:
                await producer.send_and_wait(self.topic, ticket.value, ticket.key)
            except KafkaError:
                await asyncio.sleep(_RETRY_DELAY)
            else:
                self.records += 1
                return

    @asynccontextmanager
    async def _producer(self) -> AsyncIterator[AIOKafkaProducer]:
        """Started once there is a broker: another fault may have taken the only one away."""
        while True:
            producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap_servers, acks="all", request_timeout_ms=10_000)
            try:
                await producer.start()
                break
            except KafkaError:
                await producer.stop()
                await asyncio.sleep(_RETRY_DELAY)
        try:
            yield producer
        finally:
            await producer.stop()


def plan_after_plan(rng: random.Random) -> Iterator[list[Sent]]:
    """Plans of one to eight tickets, now and then out of order, with something wrong in between."""
    number = 0
    while True:
        number += 1
        plan = f"plan-{number}"
        tickets: list[Sent] = []
        for place in range(rng.randint(1, 8)):
            tickets.append(_ticket(rng, plan, f"{plan}-{place}", [each.ticket_id for each in tickets]))
        if rng.random() < 0.2:
            tickets.append(_wrong(rng, plan))
        if rng.random() < 0.3:
            rng.shuffle(tickets)
        yield tickets


def poison(rng: random.Random, number: int) -> Sent:
    """A ticket that kills every worker that begins it."""
    return _sent(f"{POISON}{number}", f"plan-{rng.randint(1, 40)}", "PROBE", {"die": True})


def _ticket(rng: random.Random, plan: str, ticket_id: str, earlier: list[str]) -> Sent:
    task_type = rng.choices(list(_PARAMETERS), weights=[each[0] for each in _PARAMETERS.values()])[0]
    parameters = _PARAMETERS[task_type][1](rng, ticket_id)
    depends_on = rng.sample(earlier, min(len(earlier), rng.choice((0, 0, 1, 1, 2))))
    at_most_once = task_type == "PROBE" and rng.random() < 0.2
    extra: dict[str, Any] = {
        "dependencies": depends_on,
        "priority": rng.choice(("LOW", "NORMAL", "HIGH", "CRITICAL", 1, 7)),
        "qos": {"delivery_mode": "AT_MOST_ONCE" if at_most_once else "AT_LEAST_ONCE"},
    }
    return _sent(ticket_id, plan, task_type, parameters, at_most_once=at_most_once, **extra)


def _sent(
    ticket_id: str, plan: str, task_type: str, parameters: dict[str, Any], *, at_most_once: bool = False, **extra: Any
) -> Sent:
    document = {"ticket_id": ticket_id, "plan_id": plan, "task_type": task_type, "parameters": parameters, **extra}
    depends_on = tuple(extra.get("dependencies", ()))
    return Sent(ticket_id, plan.encode(), json.dumps(document).encode(), task_type, depends_on, at_most_once)


def _execute(rng: random.Random, ticket_id: str) -> dict[str, Any]:
    return {"template_id": f"{_script(rng)}:{ticket_id}"}


def _build(rng: random.Random, ticket_id: str) -> dict[str, Any]:
    return {"artifact_id": f"{_script(rng)}:{ticket_id}"}


def _script(rng: random.Random) -> str:
    """A script of the reference Code Forge (``world.SCRIPTS``)."""
    return rng.choices(("quick", "long", "fail", "flaky", "lost-answer"), weights=(60, 20, 5, 8, 7))[0]


def _policy(rng: random.Random, _: str) -> dict[str, Any]:
    return {"policy_path": "policy/allow", "input_data": {"allowed": rng.random() < 0.9}}


def _suite(rng: random.Random, ticket_id: str) -> dict[str, Any]:
    # The long ones outlast a stall of their worker.
    ticks = rng.choices((rng.randint(2, 30), round(STALL_SECONDS / TICK_SECONDS) + 20), weights=(85, 15))[0]
    return {"test_command": "bash suite.sh", "env_vars": {"CHAOS_TICKET": ticket_id, "CHAOS_TICKS": str(ticks)}}


def _deploy(rng: random.Random, ticket_id: str) -> dict[str, Any]:
    return {
        "deployment_name": f"app-{ticket_id}",
        "image": "registry.example/app:1.2",
        "repo_url": "https://git.example/charts.git",
        "annotations": json.dumps({"behaviour": rng.choice(("quick", "quick", "quick", "sync-failed"))}),
        # Argo CD would otherwise sync by itself at once, and ours would have to wait for that.
        "sync_strategy": "manual",
        "poll_interval": "1",
        "timeout_seconds": "600",
    }


def _probe(rng: random.Random, _: str) -> dict[str, Any]:
    return {
        # The longest outlast a session: an heir finds them being worked on, if the lease does not hold.
        "sleep_ms": rng.choices((0, 500, 2_000, 8_000, 25_000), weights=(25, 25, 25, 15, 10))[0],
        "tick_ms": TICK_SECONDS * 1000,
        "fail": rng.random() < 0.05,
        "errors": rng.choices((0, 1, 9), weights=(85, 12, 3))[0],
    }


_PARAMETERS = {
    "EXECUTE": (25, _execute),
    "BUILD": (20, _build),
    "VALIDATE": (20, _policy),
    "TEST": (8, _suite),
    "DEPLOY": (10, _deploy),
    "PROBE": (17, _probe),
}


def _wrong(rng: random.Random, plan: str) -> Sent:
    """A record that is no request for work, or a hopeless one."""
    name, key = f"{plan}-wrong", plan.encode()
    unreadable = b'{"ticket_id": "%s", "task_type":' % name.encode()
    choices = (
        Sent(name, key, unreadable, expect=Expect.LETTER),
        Sent(name, key, json.dumps({"task_type": "TEST", "note": name}).encode(), expect=Expect.LETTER),
        _sent(name, plan, "NO-SUCH-TYPE", {}),
        _sent(name, plan, "VALIDATE", {"validation_type": "no such"}),
        _sent(name, plan, "TEST", {"test_command": "rm -rf /"}),
        Sent(
            name,
            key,
            json.dumps({"ticket_id": name, "task_type": "TEST", "status": "DONE"}).encode(),
            expect=Expect.NOTHING,
        ),
    )
    return rng.choice(choices)
