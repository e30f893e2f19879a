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
        self._ahead = len(self._settled)

    @property
    def next_offset(self) -> int:
        """The lowest offset that was not begun: where reading goes on."""
        return self._next

    @property
    def unsettled(self) -> int:
        """How many offsets were begun and are not settled."""
        return len(self._open) - (len(self._settled) - self._ahead)

    @property
    def settled_ahead(self) -> int:
        """How many offsets are settled that were not begun yet."""
        return self._ahead

    def begin(self, offset: int) -> bool:
        """Take note of an arrived record; ``False`` when it is settled already or was begun before."""
        if offset < self._next:
            return False
        is_settled = self._ahead > 0 and self._arrives_settled(offset)
        self._next = offset + 1
        if is_settled and not self._open:
            self._settled.discard(offset)
            return False
        self._open.append(offset)
        return not is_settled

    def settle(self, offset: int) -> None:
        """Mark an offset as finished; again is harmless."""
        if offset >= self._next:
            self._ahead += offset not in self._settled
            self._settled.add(offset)
        elif self._open and offset >= self._open[0]:
            self._settled.add(offset)
            self._advance()

    def watermark(self) -> int:
        """Everything below is settled: the lowest unsettled offset, else the next after the highest begun."""
        return self._open[0] if self._open else self._next

    def _advance(self) -> None:
        while self._open and self._open[0] in self._settled:
            self._settled.discard(self._open.popleft())

    def _arrives_settled(self, offset: int) -> bool:
        """Whether it is settled already. Those ahead of it that it passes over never arrive any more."""
        passed = range(self._next, offset)
        # Two records may lie far apart, and many may be settled ahead, but seldom both.
        candidates = passed if len(passed) < len(self._settled) else tuple(self._settled)
        gone = [other for other in candidates if other in self._settled and other in passed]
        self._settled.difference_update(gone)
        is_settled = offset in self._settled
        self._ahead -= len(gone) + is_settled
        return is_settled
