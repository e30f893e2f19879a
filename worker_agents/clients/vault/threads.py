"""Threads for blocking calls that may hang."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class CallThreads:
    """Runs blocking calls, at most ``limit`` at once; further ones wait for a place.

    Whoever gives up waiting leaves a thread behind. It keeps its place until the call has ended, so that calls that
    hang take up nothing but their own places. The threads are daemons: asyncio's and ``concurrent.futures``' own
    would hold up the end of the process for as long as a call hangs.
    """

    def __init__(self, limit: int) -> None:
        self._places = asyncio.Semaphore(limit)

    async def run(self, call: Callable[[], T]) -> T:
        """What ``call`` returns or raises."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                finish = _settling(answer, result=call())
            except BaseException as error:  # noqa: BLE001 # a thread's outermost frame: the caller is told
                finish = _settling(answer, error=error)
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(finish)
                loop.call_soon_threadsafe(self._places.release)

        threading.Thread(target=work, name="vault", daemon=True).start()
        return await answer


def _settling(
    answer: asyncio.Future[T], *, result: T | None = None, error: BaseException | None = None
) -> Callable[[], None]:
    def settle() -> None:
        if answer.done():  # nobody waits any more
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type] # T may be None itself

    return settle
