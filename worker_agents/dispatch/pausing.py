"""Task types that an operator has paused on this worker, in memory only: another worker, or this one restarted, starts them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum

from worker_agents.model.clock import Cancellable, Clock
from worker_agents.model.structs import struct
from worker_agents.telemetry.events import Emit, TaskTypePaused, TaskTypeResumed

DEFAULT_PAUSE_SECONDS = 3_600.0
LONGEST_PAUSE_SECONDS = 86_400.0


class Paused(StrEnum):
    """What came of asking. ``CHANGED``: it was paused before, and the new note and end hold from now on."""

    PAUSED = "paused"
    CHANGED = "changed"
    UNKNOWN = "unknown_task_type"


class Resumed(StrEnum):
    """What came of asking."""

    RESUMED = "resumed"
    NOT_PAUSED = "not_paused"
    UNKNOWN = "unknown_task_type"


@struct
class PauseRequest:
    """``by`` names who asks, ``why`` is their note; the pause ends by itself after ``seconds``."""

    task_type: str
    by: str = "operator"
    why: str = ""
    seconds: float = DEFAULT_PAUSE_SECONDS


@struct
class ResumeRequest:
    task_type: str
    by: str = "operator"
    why: str = ""


@struct
class Pause:
    """``since`` and ``until`` are epoch milliseconds."""

    task_type: str
    by: str
    why: str
    since: int
    until: int


class Pauses:
    """Who paused which type, why, and until when. ``ended`` is told of each type whose pause is over."""

    def __init__(self, clock: Clock, emit: Emit, ended: Callable[[str], None]) -> None:
        self._clock = clock
        self._emit = emit
        self._ended = ended
        self._pauses: dict[str, Pause] = {}
        self._timers: dict[str, Cancellable] = {}

    def __contains__(self, task_type: str) -> bool:
        return task_type in self._pauses

    def __iter__(self) -> Iterator[Pause]:
        return iter(tuple(self._pauses.values()))

    def get(self, task_type: str) -> Pause | None:
        return self._pauses.get(task_type)

    def remaining(self, task_type: str) -> float:
        """Seconds until the pause ends by itself; 0 without one."""
        pause = self._pauses.get(task_type)
        return max((pause.until - self._clock.now_ms()) / 1000, 0.0) if pause else 0.0

    def begin(self, request: PauseRequest) -> Paused:
        seconds, now_ms = min(request.seconds, LONGEST_PAUSE_SECONDS), self._clock.now_ms()
        before = self._pauses.get(request.task_type)
        until = now_ms + int(seconds * 1000)
        self._forget(request.task_type)
        self._pauses[request.task_type] = Pause(
            request.task_type, request.by, request.why, before.since if before else now_ms, until
        )
        self._timers[request.task_type] = self._clock.call_later(seconds, lambda: self._expire(request.task_type))
        self._emit(TaskTypePaused(request.task_type, request.by, request.why, until))
        return Paused.CHANGED if before else Paused.PAUSED

    def end(self, request: ResumeRequest) -> Resumed:
        if self._forget(request.task_type) is None:
            return Resumed.NOT_PAUSED
        self._emit(TaskTypeResumed(request.task_type, request.by, request.why, expired=False))
        self._ended(request.task_type)
        return Resumed.RESUMED

    def _expire(self, task_type: str) -> None:
        pause = self._forget(task_type)
        assert pause is not None
        self._emit(TaskTypeResumed(task_type, pause.by, pause.why, expired=True))
        self._ended(task_type)

    def _forget(self, task_type: str) -> Pause | None:
        timer = self._timers.pop(task_type, None)
        if timer is not None:
            timer.cancel()
        return self._pauses.pop(task_type, None)
