"""Partitions, from assignment to loss, and their ledgers."""

from __future__ import annotations

import logging
from typing import ClassVar

from worker_agents.model.structs import struct
from worker_agents.telemetry.events.base import Event


@struct
class Rebalanced(Event):
    """The group gave out its partitions anew; ``partitions`` of them are this worker's now, whatever changed for it."""

    event: ClassVar[str] = "rebalanced"
    partitions: int
    gained: int
    lost: int


@struct
class PartitionEvent(Event):
    partition: int


@struct
class PartitionOpening(PartitionEvent):
    event: ClassVar[str] = "partition_opening"
    level: ClassVar[int] = logging.DEBUG


@struct
class StateReadWaits(PartitionEvent):
    """Opening waits: the state can be read to offset ``position`` of ``end`` only, as a transaction is open there."""

    event: ClassVar[str] = "state_read_waits"
    level: ClassVar[int] = logging.WARNING
    position: int
    end: int


@struct
class PartitionOpened(PartitionEvent):
    event: ClassVar[str] = "partition_opened"
    floor: int
    unsettled: int
    kept: int
    unclean: bool
    duration: float


@struct
class PartitionRetained(PartitionEvent):
    event: ClassVar[str] = "partition_retained"
    running: int


@struct
class PartitionNotOpened(PartitionEvent):
    """Opening failed and will be tried again; ``why`` is a sentence for the operator."""

    event: ClassVar[str] = "partition_not_opened"
    level: ClassVar[int] = logging.ERROR
    why: str


@struct
class PartitionClosed(PartitionEvent):
    event: ClassVar[str] = "partition_closed"
    why: str
    cancelled: int


@struct
class LedgerCommitted(PartitionEvent):
    event: ClassVar[str] = "ledger_committed"
    level: ClassVar[int] = logging.DEBUG
    entries: int
    duration: float


@struct
class LedgerFailed(PartitionEvent):
    """The partition is suspended until its membership is proven and it is opened again."""

    event: ClassVar[str] = "ledger_failed"
    level: ClassVar[int] = logging.WARNING
    error: str


@struct
class LeaseExpired(PartitionEvent):
    """This worker fenced itself: the partition's tasks were stopped."""

    event: ClassVar[str] = "lease_expired"
    level: ClassVar[int] = logging.ERROR
    age: float
    stopped: int


@struct
class OffsetsReset(PartitionEvent):
    """The group's offset was moved past the floor by somebody else; it is obeyed."""

    event: ClassVar[str] = "offsets_reset_forward"
    level: ClassVar[int] = logging.WARNING
    floor: int
    committed: int


@struct
class StateUnreadable(PartitionEvent):
    """A foreign or damaged record in the state topic; it is left alone."""

    event: ClassVar[str] = "state_record_unreadable"
    level: ClassVar[int] = logging.WARNING
    key: str
    problem: str
