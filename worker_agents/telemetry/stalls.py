"""Notices when the event loop stands still, and what it is at: heartbeats, leases and probes all stand still with it.

The loop beats a few times a second; a thread listens. So a stall is told of while it lasts, with the stack of the
loop's thread, also when it never ends.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections import deque

from worker_agents.telemetry.events import Emit, EventLoopResumed, EventLoopStalled

_BEATS_A_STALL = 4
_LONGEST_INTERVAL = 0.25
_WINDOW_SECONDS = 10.0
_WINDOWS = 6


class LoopLag:
    """How late the loop was. Pure: times are monotonic seconds that the caller gives."""

    def __init__(self, now: float, interval: float) -> None:
        self._interval = interval
        self._beat_at = now
        self._windows: deque[float] = deque([0.0], maxlen=_WINDOWS)
        self._window_ends = now + _WINDOW_SECONDS

    def beat(self, now: float) -> float:
        """The loop runs; by how much it was late."""
        late = self.lag(now)
        self._beat_at = now
        while now >= self._window_ends:
            self._windows.append(0.0)
            # After a stall of hours only the windows that are kept need turning.
            self._window_ends = max(self._window_ends + _WINDOW_SECONDS, now - _WINDOWS * _WINDOW_SECONDS)
        self._windows[-1] = max(self._windows[-1], late)
        return late

    def lag(self, now: float) -> float:
        """By how much the next beat is late."""
        return max(now - self._beat_at - self._interval, 0.0)

    def greatest(self, now: float) -> float:
        """The longest delay of about the last minute."""
        return max(*self._windows, self.lag(now))


class LoopWatchdog:
    """Watches the loop that :meth:`start` is called in. ``limit`` is the seconds that count as a stall.

    A stall is told to ``log``, from the watching thread, while it lasts, and its end to ``emit``, in the loop.
    """

    def __init__(self, limit: float, emit: Emit, log: Emit) -> None:
        self._limit = limit
        self._interval = min(limit / _BEATS_A_STALL, _LONGEST_INTERVAL)
        self._emit = emit
        self._log = log
        self._lag = LoopLag(time.monotonic(), self._interval)
        self._told = False
        self._ended = threading.Event()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watch, until :meth:`stop`."""
        self._lag = LoopLag(time.monotonic(), self._interval)
        self._ended.clear()
        self._schedule(asyncio.get_running_loop())
        threading.Thread(
            target=self._watch, args=(threading.get_ident(),), name="event-loop-watchdog", daemon=True
        ).start()

    def stop(self) -> None:
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()

    def greatest_lag(self) -> float:
        """Seconds that the loop was late at most, in about the last minute."""
        return self._lag.greatest(time.monotonic())

    # --- in the loop ---------------------------------------------------------------------------------------------

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._interval, self._beat, loop)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        late = self._lag.beat(time.monotonic())
        told, self._told = self._told, False
        if late >= self._limit or told:
            self._emit(EventLoopResumed(late, seen=told))
        self._schedule(loop)

    # --- in the watching thread ----------------------------------------------------------------------------------

    def _watch(self, loop_thread: int) -> None:
        looked_at = time.monotonic()
        while not self._ended.wait(self._interval):
            now = time.monotonic()
            # One that was late itself saw the whole process stand still: what the loop is at now says nothing.
            was_late = now - looked_at > self._interval + self._limit / 2
            looked_at = now
            lag = self._lag.lag(now)
            if lag >= self._limit and not self._told and not was_late:
                self._told = True
                self._log(EventLoopStalled(lag, _stack_of(loop_thread)))


def _stack_of(thread: int) -> str:
    frame = sys._current_frames().get(thread)  # noqa: SLF001 # the only way to another thread's stack
    return "".join(traceback.format_stack(frame)) if frame is not None else ""
