"""The scheduler against a model that knows where every ticket is."""

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from worker_agents.dispatch.job import ISOLATED
from worker_agents.dispatch.scheduler import Scheduler, Slots


@dataclass(eq=False, slots=True)
class Item:
    queue: str
    urgency: tuple[int, int, int]
    order: int = 0
    place: str = "ready"
    proven: bool = False


QUEUES = ["BUILD", "TEST", "EXECUTE", ISOLATED]
URGENCIES = st.tuples(st.integers(-3, 0), st.sampled_from([5, 2**63]), st.integers(0, 5))


class SchedulerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.items: list[Item] = []
        self.orders = 0

    @initialize(
        total=st.integers(1, 6),
        limits=st.dictionaries(st.sampled_from(["BUILD", "TEST"]), st.integers(1, 4)),
        max_lookahead=st.integers(1, 20),
    )
    def open(self, total: int, limits: dict[str, int], max_lookahead: int) -> None:
        self.total = total
        self.limits = {name: limits.get(name, total) for name in QUEUES} | {ISOLATED: 1}
        self.scheduler: Scheduler[Item] = Scheduler(total, limits, max_lookahead)
        self.most_begun = total + max(4, max_lookahead)
        self.limits_exceeded_by_moves = False
        limited = {name for name, limit in self.limits.items() if limit < total} | {ISOLATED}
        self.shares = dict.fromkeys(limited, max_lookahead // (len(limited) + 1))

    def at(self, *places: str, queue: str | None = None) -> list[Item]:
        return [item for item in self.items if item.place in places and queue in (None, item.queue)]

    def begun(self, queue: str | None = None) -> int:
        return len(self.at("arming", "armed", "running", queue=queue))

    def ordered(self, item: Item, place: str) -> None:
        self.orders += 1
        item.place, item.order = place, self.orders

    @rule(queue=st.sampled_from(QUEUES), urgency=URGENCIES)
    def add(self, queue: str, urgency: tuple[int, int, int]) -> None:
        item = Item(queue, urgency)
        self.items.append(item)
        if queue == ISOLATED:
            self.limits[ISOLATED] = 1
        self.ordered(item, "ready")
        self.scheduler.add(item)

    @rule()
    def arm_the_next(self) -> None:
        lookahead = self.scheduler._lookahead
        allowed = [
            item
            for item in self.at("ready")
            if (item.queue == ISOLATED or not self.secludes)
            and self.begun(item.queue) < self.limits[item.queue] + lookahead * (item.queue != ISOLATED)
        ]
        if self.begun() >= self.total + lookahead:
            allowed = []
        expected = min(allowed, key=lambda item: (item.urgency, item.order), default=None)
        assert self.scheduler.next_to_arm() is expected
        if expected is not None:
            expected.place = "arming"
            assert self.begun() <= self.most_begun

    @precondition(lambda self: self.at("arming"))
    @rule(data=st.data())
    def armed(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.at("arming")))
        self.scheduler.armed(item)
        self.ordered(item, "armed")

    @rule()
    def run_the_next(self) -> None:
        allowed = [
            item
            for item in self.at("armed")
            if len(self.at("running", queue=item.queue)) < self.limits[item.queue]
            and not (self.secludes and (item.queue != ISOLATED or self.unproven))
        ]
        if len(self.at("running")) >= self.total:
            allowed = []
        expected = min(allowed, key=lambda item: (item.urgency, item.order), default=None)
        assert self.scheduler.next_to_run() is expected
        if expected is not None:
            expected.place = "running"

    @property
    def secludes(self) -> bool:
        return self.limits[ISOLATED] == 1 and bool([item for item in self.items if item.queue == ISOLATED])

    @property
    def unproven(self) -> list[Item]:
        return [item for item in self.at("running") if item.queue != ISOLATED and not item.proven]

    @precondition(lambda self: hasattr(self, "scheduler") and self.scheduler.makes_way)
    @rule()
    def time_passes_while_a_suspect_waits(self) -> None:
        for item in self.at("running"):
            item.proven = True
        self.scheduler.prove_running()

    def trust(self) -> None:
        self.limits[ISOLATED] = min(self.limits[ISOLATED] + 1, self.total)

    @precondition(lambda self: self.items)
    @rule(data=st.data(), again=st.booleans())
    def remove_one_wherever_it_is(self, data: st.DataObject, *, again: bool) -> None:
        item = data.draw(st.sampled_from(self.items))
        self.items.remove(item)
        self.scheduler.remove(item)
        if (item.queue, item.place) == (ISOLATED, "running"):
            self.trust()
        if again:
            self.scheduler.remove(item)

    @precondition(lambda self: self.at("running", queue=ISOLATED))
    @rule(queue=st.sampled_from(QUEUES[:3]))
    def clear_a_suspect(self, queue: str) -> None:
        """It may exceed its type's limit: what runs is not stopped for it."""
        item = self.at("running", queue=ISOLATED)[0]
        self.scheduler.move(item, lambda: setattr(item, "queue", queue))
        item.proven = True
        self.limits_exceeded_by_moves = True
        self.trust()

    @invariant()
    def limits_hold(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        assert self.scheduler.running == len(self.at("running")) <= self.total
        suspects = self.at("running", queue=ISOLATED)
        assert self.scheduler.isolates == (self.limits[ISOLATED] == 1 and len(suspects) == 1 and not self.unproven)
        assert self.scheduler.makes_way == (self.secludes and not suspects and bool(self.unproven))
        if not self.limits_exceeded_by_moves:
            for name in QUEUES[:3]:
                assert len(self.at("running", queue=name)) <= self.limits[name]

    @invariant()
    def counters_agree_with_where_everything_is(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        assert self.scheduler.waiting == len(self.at("ready", "arming", "armed"))
        beyond = (len(self.at("ready", queue=name)) - share for name, share in self.shares.items())
        assert self.scheduler.surplus == sum(max(0, count) for count in beyond)
        assert self.scheduler._begun == self.begun()
        for name, queue in self.scheduler._queues.items():
            assert queue.running == len(self.at("running", queue=name))
            assert queue.begun == self.begun(name)

    @invariant()
    def slots_agree_with_who_runs(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        assert self.scheduler.slots == Slots(self.total, len(self.at("running")), self.scheduler.waiting)
        slots = self.scheduler.slots_by_queue()
        assert slots.keys() >= self.shares.keys() | {item.queue for item in self.items}
        for name, told in slots.items():
            limit = self.limits[name] if name in self.shares else self.total
            waiting = self.at("ready", "arming", "armed", queue=name)
            assert told == Slots(limit, len(self.at("running", queue=name)), len(waiting))

    def teardown(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        for item in self.items:
            self.scheduler.remove(item)
        assert self.scheduler.next_to_run() is None
        assert self.scheduler.next_to_arm() is None
        assert_empty(self.scheduler)


def assert_empty(scheduler: Scheduler[Item]) -> None:
    assert scheduler.running == scheduler.waiting == scheduler.surplus == scheduler._begun == 0
    assert not any(scheduler._count.values())
    assert not scheduler._proven
    assert not scheduler._places
    assert not scheduler._arming_since
    for queue in scheduler._queues.values():
        assert not queue.ready
        assert not queue.armed
        assert queue.running == queue.begun == 0


TestScheduler = SchedulerMachine.TestCase


def started(scheduler: Scheduler[Item]) -> list[Item]:
    """Arm and start whatever may be."""
    while (item := scheduler.next_to_arm()) is not None:
        scheduler.armed(item)
    items = []
    while (item := scheduler.next_to_run()) is not None:
        items.append(item)
    return items


def test_a_type_whose_limit_is_full_does_not_block_others() -> None:
    scheduler: Scheduler[Item] = Scheduler(3, {"TEST": 1}, 100)
    urgent = [Item("TEST", (-3, 0, number)) for number in range(20)]
    other = Item("BUILD", (0, 0, 99))
    for item in (*urgent, other):
        scheduler.add(item)
    assert started(scheduler) == [urgent[0], other]


def test_a_type_with_slots_of_its_own_has_no_more_than_its_share_of_the_buffer() -> None:
    scheduler: Scheduler[Item] = Scheduler(10, {"TEST": 2, "BUILD": 10}, 90)
    for number in range(100):
        scheduler.add(Item("TEST", (0, 0, number)))
        scheduler.add(Item("BUILD", (0, 0, number)))
    # Three equal shares: for TEST, for suspects, and for all others.
    assert (scheduler.waiting, scheduler.surplus) == (200, 70)
    for item in started(scheduler):
        scheduler.remove(item)
    assert scheduler.surplus == 64, "two of them ran, and four are armed ahead"


def test_all_types_together_get_no_more_than_all_slots() -> None:
    scheduler: Scheduler[Item] = Scheduler(3, {"A": 2, "B": 2}, 100)
    items = [Item(queue, (0, 0, number)) for number, queue in enumerate(["A", "B", "A", "B"])]
    for item in items:
        scheduler.add(item)
    assert started(scheduler) == items[:3]
    scheduler.remove(items[0])
    assert started(scheduler) == items[3:]


def test_the_most_urgent_runs_first_then_the_earlier_deadline_then_the_older() -> None:
    scheduler: Scheduler[Item] = Scheduler(1, {}, 100)
    old, new, due, high = (
        Item("A", urgency) for urgency in [(0, 2**63, 1), (0, 2**63, 2), (0, 100, 3), (-2, 2**63, 4)]
    )
    for item in (new, old, due, high):
        scheduler.add(item)
    order = []
    for _ in range(4):
        (item,) = started(scheduler)
        order.append(item)
        scheduler.remove(item)
    assert order == [high, due, old, new]


def test_arming_runs_ahead_as_far_as_slots_come_free_meanwhile() -> None:
    """With slow commits and quick tasks, more tickets must be armed ahead, or slots stand empty."""
    scheduler: Scheduler[Item] = Scheduler(50, {}, 100)
    for number in range(500):
        scheduler.add(Item("A", (0, 0, number)))
    running = started(scheduler)
    scheduler.remove(running.pop())
    arming = scheduler.next_to_arm()
    assert arming is not None
    for item in running[:20]:
        scheduler.remove(item)
    scheduler.armed(arming)
    while scheduler.next_to_arm() is not None:
        pass
    assert scheduler._begun == 50 + 2 * 20


def test_arming_falls_back_slowly_when_slots_come_free_slowly_again() -> None:
    """One quick commit among slow ones must not leave slots empty at the next."""
    scheduler: Scheduler[Item] = Scheduler(50, {}, 100)
    scheduler._lookahead = 40.0
    for number in range(2_000):
        scheduler.add(Item("A", (0, 0, number)))

    def begun_after_quick_commits(count: int) -> int:
        for _ in range(count):
            item = scheduler.next_to_arm()
            assert item is not None
            scheduler.armed(item)
            scheduler.remove(item)
        arming = []
        while (item := scheduler.next_to_arm()) is not None:
            arming.append(item)
        begun = scheduler._begun
        for item in arming:
            scheduler.remove(item)
        return begun

    assert begun_after_quick_commits(15) == 50 + 39
    assert begun_after_quick_commits(800) == 50 + 4, "as many as at the beginning are always armed ahead"


def test_arming_does_not_run_ahead_without_bounds() -> None:
    scheduler: Scheduler[Item] = Scheduler(50, {}, 7)
    for number in range(500):
        scheduler.add(Item("A", (0, 0, number)))
    running = started(scheduler)
    scheduler.remove(running.pop())
    arming = scheduler.next_to_arm()
    assert arming is not None
    for item in running:
        scheduler.remove(item)
    scheduler.armed(arming)
    while scheduler.next_to_arm() is not None:
        pass
    assert scheduler._begun == 50 + 7


def test_suspects_start_alone_and_are_not_armed_ahead() -> None:
    scheduler: Scheduler[Item] = Scheduler(10, {}, 100)
    suspects = [Item(ISOLATED, (0, 0, number)) for number in range(3)]
    for item in suspects:
        scheduler.add(item)
    assert started(scheduler) == [suspects[0]]
    scheduler.move(suspects[0], lambda: setattr(suspects[0], "queue", "A"))
    assert started(scheduler) == suspects[1:]


def test_a_group_of_suspects_that_comes_through_is_followed_by_one_of_twice_its_size() -> None:
    scheduler: Scheduler[Item] = Scheduler(10, {}, 100)
    for number in range(40):
        scheduler.add(Item(ISOLATED, (0, 0, number)))
    sizes, alone = [], []
    for _ in range(5):
        group = started(scheduler)
        sizes.append(len(group))
        alone.append(scheduler.isolates)
        for item in group:
            scheduler.remove(item)
    assert sizes == [1, 2, 4, 8, 10], "never more than there are slots"
    assert alone == [True, False, False, False, False]


def test_a_new_suspect_makes_the_next_start_alone_again() -> None:
    scheduler: Scheduler[Item] = Scheduler(10, {}, 100)
    for number in range(6):
        scheduler.add(Item(ISOLATED, (0, 0, number)))
    scheduler.remove(started(scheduler).pop())
    running = started(scheduler)
    assert len(running) == 2
    scheduler.remove(running.pop())
    scheduler.add(Item(ISOLATED, (0, 0, 9)))
    assert started(scheduler) == [], "three might run by now, but for the new one"
    scheduler.add(Item("A", (0, 0, 8)))
    assert started(scheduler) == []
    scheduler.remove(running.pop())
    assert len(started(scheduler)) == 3, "what is no suspect, and two that are"


def test_what_was_armed_before_a_suspect_came_waits_until_that_has_come_through() -> None:
    scheduler: Scheduler[Item] = Scheduler(1, {}, 100)
    first, armed = Item("A", (0, 0, 0)), Item("A", (0, 0, 1))
    scheduler.add(first)
    scheduler.add(armed)
    assert started(scheduler) == [first]
    suspect = Item(ISOLATED, (0, 0, 2))
    scheduler.add(suspect)
    scheduler.remove(first)
    assert started(scheduler) == [suspect]
    assert started(scheduler) == []
    scheduler.remove(suspect)
    assert started(scheduler) == [armed]


def test_what_is_armed_does_not_run_beside_a_suspect_although_there_are_slots() -> None:
    scheduler: Scheduler[Item] = Scheduler(2, {}, 100)
    armed = Item("A", (0, 0, 1))
    scheduler.add(armed)
    assert scheduler.next_to_arm() is armed
    suspect = Item(ISOLATED, (0, 0, 2))
    scheduler.add(suspect)
    assert started(scheduler) == [suspect]
    scheduler.armed(armed)
    assert scheduler.next_to_run() is None
    scheduler.remove(suspect)
    assert scheduler.next_to_run() is armed


def test_all_types_together_are_armed_ahead_within_bounds() -> None:
    scheduler: Scheduler[Item] = Scheduler(2, {}, 100)
    for number in range(40):
        scheduler.add(Item("AB"[number % 2], (0, 0, number)))
    arming = []
    while (item := scheduler.next_to_arm()) is not None:
        arming.append(item)
    assert len(arming) == 2 + 4


def test_equally_urgent_ones_are_armed_and_run_in_the_order_in_which_they_came() -> None:
    scheduler: Scheduler[Item] = Scheduler(10, {}, 100)
    items = [Item("A", (0, 0, 0)) for _ in range(8)]
    for item in items:
        scheduler.add(item)
    assert [scheduler.next_to_arm() for _ in items] == items
    for item in items:
        scheduler.armed(item)
    assert started(scheduler) == items


def test_slots_tell_what_runs_and_what_is_ready_of_each_type() -> None:
    scheduler: Scheduler[Item] = Scheduler(3, {"TEST": 2}, 100)
    for number in range(4):
        scheduler.add(Item("TEST", (0, 0, number)))
        scheduler.add(Item("BUILD", (1, 0, number)))
    assert len(started(scheduler)) == 3
    assert scheduler.slots_by_queue() == {"TEST": Slots(2, 2, 2), "BUILD": Slots(3, 1, 3), ISOLATED: Slots(1)}
    assert scheduler.slots == Slots(3, 3, 5)


def test_a_suspect_that_never_ran_earns_no_trust() -> None:
    scheduler: Scheduler[Item] = Scheduler(10, {}, 100)
    suspects = [Item(ISOLATED, (0, 0, number)) for number in range(3)]
    for item in suspects:
        scheduler.add(item)
    scheduler.remove(suspects[0])
    assert len(started(scheduler)) == 1
    assert scheduler.isolates


def test_a_suspect_is_alone_until_it_has_come_through() -> None:
    """Whatever began beside it could have killed the worker, and it would have been convicted."""
    scheduler: Scheduler[Item] = Scheduler(10, {}, 100)
    suspects = [Item(ISOLATED, (0, 0, number)) for number in range(2)]
    others = [Item("A", (-3, 0, number)) for number in range(2)]
    scheduler.add(others[0])
    assert started(scheduler) == [others[0]]
    for item in (*suspects, others[1]):
        scheduler.add(item)
    assert started(scheduler) == []
    assert scheduler.makes_way
    scheduler.remove(others[0])
    assert started(scheduler) == [suspects[0]]
    assert scheduler.isolates
    assert not scheduler.makes_way
    scheduler.remove(suspects[0])
    assert started(scheduler) == [others[1], suspects[1]]
    assert not scheduler.isolates


def test_what_has_lived_long_enough_may_go_on_beside_a_suspect() -> None:
    scheduler: Scheduler[Item] = Scheduler(10, {}, 100)
    build, suspect, late = Item("BUILD", (0, 0, 0)), Item(ISOLATED, (0, 0, 1)), Item("BUILD", (0, 0, 2))
    scheduler.add(build)
    assert started(scheduler) == [build]
    scheduler.add(suspect)
    scheduler.add(late)
    assert started(scheduler) == []
    scheduler.prove_running()
    assert started(scheduler) == [suspect]
    assert scheduler.isolates
    scheduler.remove(suspect)
    assert started(scheduler) == [late]


def test_a_cleared_suspect_counts_towards_its_type_and_no_longer_towards_the_suspects() -> None:
    scheduler: Scheduler[Item] = Scheduler(10, {"A": 3}, 100)
    suspect = Item(ISOLATED, (0, 0, 1))
    scheduler.add(suspect)
    assert started(scheduler) == [suspect]
    scheduler.move(suspect, lambda: setattr(suspect, "queue", "A"))

    next_suspect = Item(ISOLATED, (0, 0, 2))
    others = [Item("A", (0, 0, 3 + number)) for number in range(3)]
    for item in (next_suspect, *others):
        scheduler.add(item)
    assert started(scheduler) == [next_suspect], "the cleared one is beyond suspicion"
    assert scheduler.isolates
    scheduler.remove(next_suspect)
    assert started(scheduler) == others[:2], "the type has room for two more"
    scheduler.remove(suspect)
    assert started(scheduler) == [others[2]]
    for item in others:
        scheduler.remove(item)
    assert_empty(scheduler)


def test_a_suspect_that_does_not_run_may_be_renamed_without_a_slot() -> None:
    scheduler: Scheduler[Item] = Scheduler(1, {}, 100)
    suspect = Item(ISOLATED, (0, 0, 0))
    scheduler.move(suspect, lambda: setattr(suspect, "queue", "A"))
    assert suspect.queue == "A"
    assert_empty(scheduler)


@pytest.mark.parametrize("place", ["ready", "armed"])
def test_what_was_given_up_is_let_go_of_at_once(place: str) -> None:
    """A heap entry outlives its ticket only while others wait in the same place: an idle worker holds nothing."""
    scheduler: Scheduler[Item] = Scheduler(10, {}, 100)
    items = [Item(queue, (0, 0, 0)) for queue in ("A", "B")]
    for item in items:
        scheduler.add(item)
    if place == "armed":
        while (item := scheduler.next_to_arm()) is not None:
            scheduler.armed(item)
    for item in items:
        scheduler.remove(item)
    assert_empty(scheduler)


# --- queues that are held ----------------------------------------------------------------------------------------


def test_nothing_of_a_held_queue_begins_and_what_runs_goes_on() -> None:
    scheduler: Scheduler[Item] = Scheduler(2, {}, 100)
    running, armed, ready = (Item("A", (0, 0, number)) for number in range(3))
    scheduler.add(running)
    assert started(scheduler) == [running]
    scheduler.add(armed)
    assert scheduler.next_to_arm() is armed
    scheduler.armed(armed)
    scheduler.add(ready)
    scheduler.hold("A")
    other = Item("B", (0, 0, 9))
    scheduler.add(other)
    assert started(scheduler) == [other]
    assert scheduler.running == 2
    scheduler.remove(other)
    assert started(scheduler) == []
    scheduler.let_go("A")
    assert started(scheduler) == [armed]


def test_a_ticket_awaits_a_slot_from_its_arrival_until_it_has_one() -> None:
    scheduler: Scheduler[Item] = Scheduler(1, {}, 100)
    item = Item("A", (0, 0, 0))
    seen = [scheduler.awaits_slot(item)]
    scheduler.add(item)
    seen.append(scheduler.awaits_slot(item))
    scheduler.next_to_arm()
    seen.append(scheduler.awaits_slot(item))
    scheduler.armed(item)
    seen.append(scheduler.awaits_slot(item))
    scheduler.next_to_run()
    seen.append(scheduler.awaits_slot(item))
    scheduler.remove(item)
    seen.append(scheduler.awaits_slot(item))
    assert seen == [False, True, True, True, False, False]
