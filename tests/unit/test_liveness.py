"""A worker is alive as long as it goes on by itself, whatever becomes of those that it depends on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from tests.unit.dispatch.fakes import FakeClock
from worker_agents.application import Application, Stage
from worker_agents.introspection import WorkerStatus
from worker_agents.kafka.ledger import Lease
from worker_agents.kafka.partition import PartitionPhase

LIMIT = 60.0


class Watchdog:
    def greatest_lag(self) -> float:
        return 0.1234


@dataclass
class Partition:
    phase: PartitionPhase
    lease: Lease


@dataclass
class Consumer:
    polled_at: float
    partitions: dict[int, Partition] = field(default_factory=dict)


@dataclass
class Parts:
    watchdog: Watchdog = field(default_factory=Watchdog)


@dataclass
class Service:
    """What of an application liveness looks at."""

    consumer: Consumer | None
    stage: Stage = Stage.SERVING
    parts: Parts = field(default_factory=Parts)


class Worker:
    def __init__(self, **phases: PartitionPhase) -> None:
        self.clock = FakeClock()
        self.partitions = {
            number: Partition(phase, Lease(40.0, self.clock)) for number, phase in enumerate(phases.values())
        }
        for partition in self.partitions.values():
            partition.lease.renew(0.0)
        self.consumer = Consumer(0.0, self.partitions)
        self.status = WorkerStatus(self.clock, LIMIT)
        self.status.observe(cast(Application, Service(self.consumer)))

    def after(self, seconds: float, *, polled: bool = True) -> Any:
        self.clock.advance(seconds)
        if polled:
            self.consumer.polled_at = self.clock.monotonic()
        return self.status.liveness()


def test_a_worker_that_starts_is_alive() -> None:
    assert WorkerStatus(FakeClock(), LIMIT).liveness().ok


def test_progress_is_told_and_explained() -> None:
    alive = Worker(a=PartitionPhase.OPEN).after(12.0)

    assert alive.ok
    told = {name: value for name, value in alive.details.items() if name not in ("stage", "explanation")}
    assert told == {
        "event_loop_lag_seconds": 0.123,
        "seconds_since_last_poll": 0.0,
        "seconds_since_last_ledger_write": 12.0,
        "limit_seconds": LIMIT,
    }
    assert alive.details["explanation"].keys() == told.keys() - {"limit_seconds"}


def test_a_consumer_that_does_not_poll_is_stuck() -> None:
    stuck = Worker().after(LIMIT + 1, polled=False)

    assert (stuck.ok, stuck.reasons) == (False, ("the consumer has not polled for 61 s",))


def test_an_open_ledger_that_writes_nothing_is_stuck() -> None:
    worker = Worker(a=PartitionPhase.OPEN, b=PartitionPhase.OPEN)
    worker.clock.advance(30)
    worker.partitions[0].lease.renew(30.0)

    stuck = worker.after(LIMIT - 29)

    assert (stuck.ok, stuck.reasons) == (False, ("the ledger of an open partition has written nothing for 61 s",))


@pytest.mark.parametrize("phase", [PartitionPhase.SUSPENDED, PartitionPhase.OPENING, PartitionPhase.CLOSED])
def test_a_ledger_that_kafka_keeps_from_writing_is_no_reason_to_restart(phase: PartitionPhase) -> None:
    assert Worker(a=phase).after(3_600.0).ok
