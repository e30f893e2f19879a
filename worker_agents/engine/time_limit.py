"""The time limit of an attempt."""

from __future__ import annotations

import asyncio


class Alarm:
    """Cancels the task that sets it in ``seconds``, unless it is put off before.

    What ``asyncio.timeout`` does, without its context manager: that is a twelfth of what a ticket costs that does nothing.
    """

    __slots__ = ("_handle", "_task", "rang")

    def __init__(self, seconds: float) -> None:
        self.rang = False
        self._task = asyncio.current_task()
        self._handle = asyncio.get_running_loop().call_later(seconds, self._ring)

    def put_off(self) -> None:
        """The attempt is over, in time or not."""
        self._handle.cancel()
        self._take_back()

    def _ring(self) -> None:
        self.rang = True
        if self._task is not None:
            self._task.cancel("time limit")

    def was_alone(self) -> bool:
        """After a cancellation: whether it is the alarm's alone, and taken back with that. Else somebody gave up too."""
        return self.rang and self._take_back() == 0

    def _take_back(self) -> int:
        """Take the alarm's own cancellation back, once; how many are left."""
        task, self._task = self._task, None
        if task is None:
            return 0
        return task.uncancel() if self.rang else task.cancelling()
