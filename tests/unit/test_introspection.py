"""What a worker that was only just built says of itself; what one that serves says is asked in tests/integration."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from worker_agents.application import Application
from worker_agents.devkit.executor_kit import VirtualClock
from worker_agents.kafka.consumer import TicketConsumer
from worker_agents.kafka.ledger import Lease
from worker_agents.kafka.partition import PartitionPhase
from worker_agents.main import build
from worker_agents.settings import load_settings


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        environ = {
            "MAX_CONCURRENT_TASKS": "20",
            "MAX_CONCURRENT_TEST": "3",
            "MAX_CONCURRENT_BUILD": "20",
            "MAX_PARKED_TICKETS": "700",
            "DRAIN_TIMEOUT_SECONDS": "45",
            "CODE_FORGE_ENABLED": "false",
        }
        self.application: Application = build(load_settings(environ), clock=self.clock)

    def gauge(self, name: str) -> dict[tuple[str, ...], float]:
        """Its values by label values."""
        text = self.application.parts.metrics.render().decode()
        families = {family.name: family for family in text_string_to_metric_families(text)}
        return {tuple(sample.labels.values()): sample.value for sample in families[f"worker_agents_{name}"].samples}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.application.parts.close()


def test_slots_are_told_of_types_with_a_limit_of_their_own_and_of_all(world: World) -> None:
    assert world.gauge("task_slots") == {("all",): 20, ("TEST",): 3}
    assert world.gauge("task_slots_used") == {("all",): 0, ("TEST",): 0}


def test_the_park_and_its_limit_are_told(world: World) -> None:
    assert world.gauge("parked_tickets") == {(): 0}
    assert world.gauge("parked_tickets_limit") == {(): 700}


def test_a_worker_that_has_not_joined_is_not_ready_and_does_not_drain(world: World) -> None:
    assert world.gauge("ready") == {(): 0}
    assert world.gauge("draining_seconds") == {(): 0}


async def test_a_drain_is_timed_beside_its_limit(world: World) -> None:
    world.application.drain_began = world.clock.monotonic()
    await world.clock.sleep(12.0)

    assert world.gauge("draining_seconds") == {(): 12}
    assert world.gauge("drain_timeout_seconds") == {(): 45}


@dataclass
class Held:
    """A partition; ``count`` is ``None`` while nobody knows whether it is still this worker's."""

    count: int | None
    number: int = 0
    phase: PartitionPhase = PartitionPhase.OPEN
    lease: Lease = field(default_factory=lambda: Lease(40.0, VirtualClock()))

    def unfinished(self) -> int | None:
        return self.count


@dataclass
class Consumer:
    joined: bool
    partitions: dict[int, Held]

    def lag(self, _: Held) -> None:
        return None


@pytest.mark.parametrize(
    ("joined", "counts", "told"),
    [
        (True, (), {(): 0}),
        (True, (3, 0, 4), {(): 7}),
        (True, (3, None), {(): 3}),
        (True, (None, None), {}),
        (False, (), {}),
    ],
    ids=["idle", "all known", "one in doubt", "all in doubt", "not joined"],
)
def test_work_is_told_only_where_it_is_known(
    world: World, joined: bool, counts: tuple[int | None, ...], told: dict[tuple[()], float]
) -> None:
    """No figure is no 0: whatever scales by it must not take workers away because Kafka is."""
    held = {number: Held(count) for number, count in enumerate(counts)}
    world.application.consumer = cast(TicketConsumer, Consumer(joined, held))

    assert world.gauge("unfinished_tickets") == told


def test_a_worker_that_starts_does_not_know_of_any_work(world: World) -> None:
    assert world.gauge("unfinished_tickets") == {}
