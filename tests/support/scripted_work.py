"""A service with remote work that does what each test says, and an executor that is told to use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from worker_agents.telemetry.events import Event, FallbackUsed

S = TypeVar("S")


class ScriptedWork(Generic[S]):
    """Answers starts and polls from a script; the last poll repeats for ever. ``starting`` is what starts fail with."""

    def __init__(self, polls: Iterable[S | Exception] = (), *, starting: Exception | None = None) -> None:
        self.begun: list[dict[str, Any]] = []
        """What each start was called with."""
        self.polls = 0
        self._script = list(polls)
        self._starting = starting

    def begin(self, start: dict[str, Any]) -> None:
        self.begun.append(start)
        if self._starting is not None:
            raise self._starting

    def poll(self, headers: Mapping[str, str], within: float | None) -> S:
        assert within is not None
        assert "traceparent" in headers
        self.polls += 1
        answer = self._script[min(self.polls, len(self._script)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Emitted:
    """What an executor told its telemetry."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    @property
    def fallbacks(self) -> list[FallbackUsed]:
        return [event for event in self.events if isinstance(event, FallbackUsed)]
