"""The worker as a whole: its life, its event loop, what it stands on."""

from __future__ import annotations

import logging
from typing import ClassVar

from worker_agents.model.structs import struct
from worker_agents.telemetry.events.base import Event


@struct
class WorkerStarted(Event):
    event: ClassVar[str] = "worker_started"
    worker_id: str
    version: str
    task_types: tuple[str, ...]


@struct
class DrainStarted(Event):
    event: ClassVar[str] = "drain_started"
    running: int
    timeout: float


@struct
class DrainEnded(Event):
    """``released`` tickets were left unsettled, with their checkpoints, for the next owner."""

    event: ClassVar[str] = "drain_ended"
    finished: int
    released: int
    duration: float


@struct
class WorkerStopped(Event):
    event: ClassVar[str] = "worker_stopped"
    worker_id: str


@struct
class EventLoopStalled(Event):
    """Nothing has run in the event loop for ``seconds``, and still does not; ``stack`` is what it is at.

    Told by the watchdog's thread, to the log alone: other subscribers live in the loop.
    """

    event: ClassVar[str] = "event_loop_stalled"
    level: ClassVar[int] = logging.ERROR
    seconds: float
    stack: str


@struct
class EventLoopResumed(Event):
    """The event loop runs again, after ``duration``. ``seen``: the stall was told of while it lasted.

    If not, the whole process stood still: it was stopped, or its interpreter was held up.
    """

    event: ClassVar[str] = "event_loop_resumed"
    level: ClassVar[int] = logging.WARNING
    duration: float
    seen: bool


@struct
class SpansAbandoned(Event):
    """The collector did not take the last spans within ``limit`` seconds; the worker stops without."""

    event: ClassVar[str] = "spans_abandoned"
    level: ClassVar[int] = logging.WARNING
    limit: float


@struct
class KafkaTrouble(Event):
    event: ClassVar[str] = "kafka_trouble"
    level: ClassVar[int] = logging.WARNING
    what: str
    error: str


@struct
class TopicCreated(Event):
    event: ClassVar[str] = "topic_created"
    topic: str
    partitions: int


@struct
class PodDeletionCostFailed(Event):
    """The worker's pod could not be told how busy it is: scaling down may take a busy pod. ``kind`` is told once, until it is over."""

    event: ClassVar[str] = "pod_deletion_cost_error"
    level: ClassVar[int] = logging.WARNING
    kind: str
    error: str
    advice: str
