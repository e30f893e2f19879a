"""One frozen type for each thing that happens, and the bus that hands it on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ClassVar

from worker_agents.model.structs import struct


@struct
class Event:
    event: ClassVar[str]
    level: ClassVar[int] = logging.INFO


Emit = Callable[[Event], None]
"""Publishes an event to all subscribers. Never raises, never blocks."""


class EventBus:
    """Hands every event to every subscriber, in the order of subscription."""

    def __init__(self) -> None:
        self._subscribers: list[Emit] = []

    def subscribe(self, subscriber: Emit) -> None:
        self._subscribers.append(subscriber)

    def emit(self, event: Event) -> None:
        for subscriber in self._subscribers:
            subscriber(event)
