"""OffsetTracker against a model that remembers everything."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from worker_agents.kafka.offsets import OffsetTracker


class OffsetTrackerMachine(RuleBasedStateMachine):
    """The model: every offset that was begun, every one that was settled."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[int] = []
        self.settled: set[int] = set()

    @initialize(
        floor=st.integers(0, 1_000), settled_ahead=st.sets(st.integers(0, 12)), below=st.sets(st.integers(0, 9))
    )
    def restore(self, floor: int, settled_ahead: set[int], below: set[int]) -> None:
        known = {floor + step for step in settled_ahead}
        self.tracker = OffsetTracker(floor, known | {floor - 1 - step for step in below})
        self.next = floor
        self.settled |= known

    @rule(gap=st.integers(0, 20))
    def begin_the_next(self, gap: int) -> None:
        """Compaction and retention remove settled records, too: they are passed over."""
        offset = self.next + gap
        expected = offset not in self.settled
        assert self.tracker.begin(offset) is expected
        self.begun.append(offset)
        self.next = offset + 1

    @precondition(lambda self: self.next > 0)
    @rule(data=st.data())
    def begin_an_old_one_again(self, data: st.DataObject) -> None:
        assert self.tracker.begin(data.draw(st.integers(max(self.next - 10, 0), self.next - 1))) is False

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def settle_a_begun_one(self, data: st.DataObject) -> None:
        """Any of them: the second settlement of one is part of the game."""
        offset = data.draw(st.sampled_from(self.begun))
        self.tracker.settle(offset)
        self.settled.add(offset)

    @rule(step=st.integers(0, 6))
    def settle_before_it_is_begun(self, step: int) -> None:
        self.tracker.settle(self.next + step)
        self.settled.add(self.next + step)

    @rule(step=st.integers(1, 20))
    def settle_below_the_watermark(self, step: int) -> None:
        self.tracker.settle(self.tracker.watermark() - step)

    @invariant()
    def watermark_is_the_lowest_unsettled_else_the_next(self) -> None:
        unsettled = [offset for offset in self.begun if offset not in self.settled]
        assert self.tracker.watermark() == min(unsettled, default=self.next)
        assert self.tracker.next_offset == self.next

    @invariant()
    def counts_what_is_begun_and_unsettled(self) -> None:
        assert self.tracker.unsettled == sum(offset not in self.settled for offset in self.begun)

    @invariant()
    def counts_what_is_settled_and_still_to_come(self) -> None:
        assert self.tracker.settled_ahead == sum(offset >= self.next for offset in self.settled)

    def teardown(self) -> None:
        if not hasattr(self, "tracker"):
            return
        for offset in self.begun:
            self.tracker.settle(offset)
        assert self.tracker.watermark() == self.next
        assert self.tracker.unsettled == 0
        assert self.tracker._settled == {offset for offset in self.settled if offset >= self.next}


TestOffsetTracker = OffsetTrackerMachine.TestCase


def test_offsets_that_never_arrive_are_no_gap() -> None:
    tracker = OffsetTracker(10)
    tracker.begin(14)
    assert tracker.watermark() == 14
    tracker.settle(14)
    assert tracker.watermark() == 15


def test_a_settled_offset_that_never_arrives_holds_nothing_back() -> None:
    tracker = OffsetTracker(0, settled=[2])
    tracker.begin(1)
    tracker.begin(5)
    tracker.settle(5)
    assert tracker.watermark() == 1
    tracker.settle(1)
    assert tracker.watermark() == 6


def test_what_is_settled_behind_the_head_stays_so_while_others_are_known_ahead() -> None:
    tracker = OffsetTracker(0, settled=[5])
    for offset in (0, 1):
        tracker.begin(offset)
    tracker.settle(1)
    tracker.begin(2)
    assert (tracker.unsettled, tracker.settled_ahead) == (2, 1)
    tracker.settle(0)
    assert tracker.watermark() == 2


def test_a_log_that_is_cut_off_before_what_is_settled_takes_that_with_it() -> None:
    tracker = OffsetTracker(0, settled=[3, 10**12])
    tracker.begin(10**12 + 1)
    assert (tracker.unsettled, tracker.settled_ahead) == (1, 0)


def test_the_watermark_waits_for_the_slowest() -> None:
    tracker = OffsetTracker()
    for offset in range(5):
        tracker.begin(offset)
    for offset in (4, 2, 1, 3):
        tracker.settle(offset)
        assert tracker.watermark() == 0
    tracker.settle(0)
    assert tracker.watermark() == 5
