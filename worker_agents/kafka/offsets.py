"""Which offsets are finished, and so what may be committed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class OffsetTracker:
    """Derives a partition's watermark from what was begun and what was settled. Pure: no I/O, no clock.

    Offsets are begun in rising order; those that never arrive (compaction, transaction markers) are no gap.
    They are settled in any order, also before they are begun: after a re-opening the log is read again from the
    floor, and offsets further up may be known as settled already.
    """

    def __init__(self, floor: int = 0, settled: Iterable[int] = ()) -> None:
        self._next = floor
        self._open: deque[int] = deque()
        self._settled = {offset for offset in settled if offset >= floor}

    @property
    def next_offset(self) -> int:
        """The lowest offset that was not begun: where reading goes on."""
        return self._next

    @property
    def unsettled(self) -> int:
        """How many begun offsets are not behind the watermark yet."""
        return len(self._open)

    def begin(self, offset: int) -> bool:
        """Take note of an arrived record; ``False`` when it is settled already or was begun before."""
        if offset < self._next:
            return False
        self._next = offset + 1
        if offset in self._settled and not self._open:
            self._settled.discard(offset)
            return False
        self._open.append(offset)
        return offset not in self._settled

    def settle(self, offset: int) -> None:
        """Mark an offset as finished; again is harmless."""
        if offset >= self._next or (self._open and offset >= self._open[0]):
            self._settled.add(offset)
            self._advance()

    def watermark(self) -> int:
        """Everything below is settled: the lowest unsettled offset, else the next after the highest begun."""
        return self._open[0] if self._open else self._next

    def _advance(self) -> None:
        while self._open and self._open[0] in self._settled:
            self._settled.discard(self._open.popleft())
