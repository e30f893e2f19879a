"""Who is next. Pure: no I/O, no clock, no tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import Generic, Protocol, TypeVar

from worker_agents.dispatch.job import ISOLATED
from worker_agents.model.structs import struct

_MIN_LOOKAHEAD = 4
_FALL = 0.1
_HEAPS = frozenset({"ready", "armed"})

Urgency = tuple[int, int, int]


class Schedulable(Protocol):
    """What the scheduler needs to know of a ticket: the queue it belongs to and how urgent it is."""

    @property
    def queue(self) -> str: ...

    @property
    def urgency(self) -> Urgency: ...


@struct
class Slots:
    """How many tickets may run, how many do, and how many are ready but do not run yet.

    More may run than the limit says after a suspect was cleared.
    """

    limit: int
    used: int = 0
    waiting: int = 0


T = TypeVar("T", bound=Schedulable)
_Heap = list[tuple[Urgency, int, T]]


@dataclass(slots=True)
class _Queue(Generic[T]):
    """The tickets of one type. ``waiting`` counts those that are ready, ``begun`` those being armed, armed or running."""

    limit: int
    lookahead: bool
    share: float
    ready: _Heap[T] = field(default_factory=list)
    armed: _Heap[T] = field(default_factory=list)
    waiting: int = 0
    begun: int = 0
    running: int = 0
    held: bool = False

    @property
    def surplus(self) -> float:
        return max(self.waiting - self.share, 0)


class Scheduler(Generic[T]):
    """Slots and the order in which tickets get them.

    A ticket is *added*, *taken for arming* (its ``started`` is being written), *armed*, *taken for running*, and
    *finished*. Arming overlaps with running so that no slot stands empty during a commit: as many tickets are armed
    ahead as slots came free while the last one was being armed, twice. That is Little's law without a clock.

    ``max_buffered`` bounds how many are armed ahead, and is shared: where a type has slots of its own, fewer than there
    are in all, ready tickets of it beyond an equal share are *surplus*.

    Suspects start alone at first: nothing else begins beside the first of them, and what runs already has ended before, or is
    *proven*, as it has lived long enough. If the worker dies then, nobody else did it. With each suspect that comes through, one
    more may run beside others, and beside whatever is no suspect, so that a group is followed by one of twice its size:
    hundreds of innocent ones would otherwise wait for one another for hours. If the worker dies, or others are suspected, it
    begins anew with one. While it ``gathers`` suspects none of them begins, so that the most urgent is the first.
    """

    def __init__(self, total: int, limits: Mapping[str, int], max_buffered: int) -> None:
        self._total = total
        self._max_lookahead = max_buffered
        self._limits = {name: limit for name, limit in limits.items() if limit < total} | {ISOLATED: 1}
        # One share is left for all types without a limit of their own.
        self._share = max_buffered // (len(self._limits) + 1)
        self._queues: dict[str, _Queue[T]] = {}
        self._places: dict[int, str] = {}
        self._arming_since: dict[int, int] = {}
        self._sequence = 0
        self._begun = 0
        self._finished = 0
        self._lookahead: float = _MIN_LOOKAHEAD
        self._surplus: float = 0
        self._proven: set[int] = set()
        self._count = {"ready": 0, "arming": 0, "armed": 0, "running": 0}
        self._suspects = self._queue(ISOLATED)
        self.gathers = False

    @property
    def running(self) -> int:
        return self._count["running"]

    @property
    def waiting(self) -> int:
        """Tickets that are ready, but have no slot yet."""
        return len(self._places) - self.running

    @property
    def slots(self) -> Slots:
        """Of all types together."""
        return Slots(self._total, self.running, self.waiting)

    def slots_by_queue(self) -> dict[str, Slots]:
        """Of the suspects, and of each type that has fewer than there are in all, or had tickets so far."""
        slots = {name: Slots(limit) for name, limit in self._limits.items()}
        for name, queue in self._queues.items():
            slots[name] = Slots(queue.limit, queue.running, queue.waiting + queue.begun - queue.running)
        return slots

    @property
    def surplus(self) -> int:
        """How many of these are of types that have more of them than their share."""
        return int(self._surplus)

    @property
    def isolates(self) -> bool:
        """Whether the suspect that has just been given a slot is alone in it."""
        return self._suspects.limit == 1 and self._suspects.running == 1 and not self._unproven

    @property
    def makes_way(self) -> bool:
        """Whether a suspect waits until what runs has ended, or is proven."""
        return self._secludes and not self._suspects.running and self._unproven > 0

    def prove_running(self) -> None:
        """What runs now has lived long enough to be beyond suspicion."""
        self._proven = {key for key, place in self._places.items() if place == "running"}

    def add(self, item: T) -> None:
        self._place(item, "ready")
        self._push(self._queue(item.queue).ready, item)
        if item.queue == ISOLATED:
            self._suspects.limit = 1

    def hold(self, name: str) -> None:
        """Nothing of that queue begins until :meth:`let_go`; what runs goes on."""
        self._queue(name).held = True

    def let_go(self, name: str) -> None:
        self._queue(name).held = False

    def awaits_slot(self, item: T) -> bool:
        """Whether it was added, and has no slot yet."""
        return self._places.get(id(item), "running") != "running"

    def next_to_arm(self) -> T | None:
        """The most urgent ready ticket whose type may begin another; it counts as begun from now on."""
        if not self._count["ready"] or self._begun >= self._total + self._lookahead:
            return None
        queue = self._most_urgent("ready", self._may_begin)
        if queue is None:
            return None
        item = heappop(queue.ready)[2]
        self._place(item, "arming")
        self._arming_since[id(item)] = self._finished
        queue.begun += 1
        self._begun += 1
        return item

    def armed(self, item: T) -> None:
        """Its ``started`` is durable, or not needed before it has a slot."""
        window = self._finished - self._arming_since.pop(id(item))
        # Quick to rise, slow to fall: the next commit may take ten times as long as this one did.
        wanted = max(2 * window, self._lookahead - _FALL, _MIN_LOOKAHEAD)
        self._lookahead = min(wanted, self._max_lookahead)
        self._place(item, "armed")
        self._push(self._queue(item.queue).armed, item)

    def next_to_run(self) -> T | None:
        """The most urgent armed ticket for which there is a slot; it holds the slot from now on."""
        if not self._count["armed"] or self.running >= self._total:
            return None
        queue = self._most_urgent("armed", self._may_run)
        if queue is None:
            return None
        item = heappop(queue.armed)[2]
        self._place(item, "running")
        queue.running += 1
        return item

    def remove(self, item: T) -> None:
        """It is finished, or given up: wherever it was, it is there no more. Again is harmless."""
        place = self._places.pop(id(item), None)
        if place is None:
            return
        self._proven.discard(id(item))
        self._left(item, place)
        if place == "ready":
            return
        queue = self._queue(item.queue)
        queue.begun -= 1
        self._begun -= 1
        self._arming_since.pop(id(item), None)
        if place == "running":
            queue.running -= 1
            self._finished += 1
            self._trust(item.queue)

    def move(self, item: T, rename: Callable[[], None]) -> None:
        """Let a running ticket count towards another queue, which ``rename`` makes its own; no limit holds it back.

        A suspect that is cleared is proven.
        """
        left = item.queue
        old = self._queue(left)
        rename()
        new = self._queue(item.queue)
        if self._places.get(id(item)) == "running":
            for queue, change in ((old, -1), (new, 1)):
                queue.begun += change
                queue.running += change
            if left == ISOLATED:
                self._proven.add(id(item))
            self._trust(left)

    @property
    def _secludes(self) -> bool:
        """Whether a suspect is alone, or is to be: nothing else begins."""
        return self._suspects.limit == 1 and self._suspects.waiting + self._suspects.begun > 0

    @property
    def _unproven(self) -> int:
        """How many run that are no suspects, and have not lived long enough."""
        return self.running - self._suspects.running - len(self._proven)

    def _may_begin(self, queue: _Queue[T]) -> bool:
        if self._secludes and (self.gathers or queue is not self._suspects):
            return False
        return queue.begun < queue.limit + self._lookahead * queue.lookahead

    def _may_run(self, queue: _Queue[T]) -> bool:
        is_held = self._unproven > 0 if queue is self._suspects else True
        return queue.running < queue.limit and not (is_held and self._secludes)

    def _trust(self, left: str) -> None:
        """One that ran has left that queue: if it was a suspect, it did not kill the worker."""
        if left == ISOLATED:
            self._suspects.limit = min(self._suspects.limit + 1, self._total)

    def _place(self, item: T, place: str) -> None:
        before = self._places.get(id(item))
        self._places[id(item)] = place
        self._count[place] += 1
        if place == "ready":
            self._count_waiting(item, 1)
        if before is not None:
            self._left(item, before)

    def _left(self, item: T, place: str) -> None:
        """It left a place. Its entry in a heap is skipped when it comes up; with the last, all that is left goes."""
        self._count[place] -= 1
        if place == "ready":
            self._count_waiting(item, -1)
        if not self._count[place] and place in _HEAPS:
            for queue in self._queues.values():
                getattr(queue, place).clear()

    def _count_waiting(self, item: T, change: int) -> None:
        queue = self._queue(item.queue)
        before = queue.surplus
        queue.waiting += change
        self._surplus += queue.surplus - before

    def _queue(self, name: str) -> _Queue[T]:
        queue = self._queues.get(name)
        if queue is None:
            is_limited = name in self._limits
            limit = self._limits[name] if is_limited else self._total
            share = self._share if is_limited else inf
            queue = self._queues[name] = _Queue(limit, lookahead=name != ISOLATED, share=share)
        return queue

    def _push(self, heap: _Heap[T], item: T) -> None:
        self._sequence += 1
        heappush(heap, (item.urgency, self._sequence, item))

    def _most_urgent(self, heap_name: str, has_capacity: Callable[[_Queue[T]], bool]) -> _Queue[T] | None:
        best: _Queue[T] | None = None
        best_head: tuple[Urgency, int, T] | None = None
        for queue in self._queues.values():
            heap: _Heap[T] = getattr(queue, heap_name)
            if queue.held or not has_capacity(queue):
                continue
            while heap and self._places.get(id(heap[0][2])) != heap_name:
                heappop(heap)
            if heap and (best_head is None or heap[0] < best_head):
                best, best_head = queue, heap[0]
        return best
