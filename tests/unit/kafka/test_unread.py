"""What is told to scale by, against a model that knows every record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from worker_agents.dispatch.job import Job, JobPhase
from worker_agents.kafka.offsets import OffsetTracker
from worker_agents.kafka.unread import Density, Unread, unfinished
from worker_agents.model.state import Phase, TicketState


@dataclass
class Ticket:
    """Of a job, what is looked at."""

    receipts: list[int]
    phase: JobPhase = JobPhase.READY


class PartitionMachine(RuleBasedStateMachine):
    """A partition whose every offset is a record: it is produced, read, worked on, parked, settled, and opened anew."""

    def __init__(self) -> None:
        super().__init__()
        self.produced = 0
        self.settled: set[int] = set()
        self.jobs: dict[str, Ticket] = {}
        self.states: dict[str, TicketState] = {}
        self.unread = Unread(Density())
        self.tracker = OffsetTracker()
        self.unread.start(0, 0, 0.0)

    @rule(count=st.integers(1, 20))
    def produce(self, count: int) -> None:
        self.produced += count
        self.unread.ends_at(self.produced, 0.0)

    @precondition(lambda self: self.tracker.next_offset < self.produced)
    @rule(count=st.integers(1, 20))
    def read(self, count: int) -> None:
        """The consumer hands some records on, and stands behind them."""
        begin = self.tracker.next_offset
        end = min(begin + count, self.produced)
        for offset in range(begin, end):
            if self.tracker.begin(offset) and not self._is_held(offset):
                state = self.states.get(str(offset))
                is_parked = state is not None and state.phase is Phase.PARKED
                self.jobs[str(offset)] = Ticket([offset], JobPhase.PARKED if is_parked else JobPhase.READY)
        self.unread.passed(end, end - begin)

    @precondition(lambda self: self.tracker.next_offset < self.produced and self.jobs)
    @rule(data=st.data())
    def read_a_copy(self, data: st.DataObject) -> None:
        offset = self.tracker.next_offset
        job = self.jobs[data.draw(st.sampled_from(sorted(self.jobs)))]
        if self.tracker.begin(offset) and not self._is_held(offset) and str(offset) not in self.states:
            job.receipts.append(offset)
        elif not self._is_held(offset) and offset not in self.settled:
            self.jobs[str(offset)] = Ticket([offset])
        self.unread.passed(offset + 1, 1)

    def _is_held(self, offset: int) -> bool:
        return any(offset in job.receipts for job in self.jobs.values())

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), phase=st.sampled_from(JobPhase))
    def go_on(self, data: st.DataObject, phase: JobPhase) -> None:
        ticket_id = data.draw(st.sampled_from(sorted(self.jobs)))
        self.jobs[ticket_id].phase = phase
        remembered = {JobPhase.PARKED: Phase.PARKED, JobPhase.RUNNING: Phase.STARTED}.get(phase)
        if remembered is not None:
            self.states[ticket_id] = TicketState(remembered, int(ticket_id), "worker")

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        ticket_id = data.draw(st.sampled_from(sorted(self.jobs)))
        self.states.pop(ticket_id, None)
        for receipt in self.jobs.pop(ticket_id).receipts:
            self.tracker.settle(receipt)
            self.settled.add(receipt)

    @rule()
    def suspend(self) -> None:
        """What does not run is forgotten, with its copies."""
        self.jobs = {key: job for key, job in self.jobs.items() if job.phase is JobPhase.RUNNING}

    @rule()
    def open_anew(self) -> None:
        self.suspend()
        floor = self.tracker.watermark()
        self.tracker = OffsetTracker(floor, self.settled)
        self.unread.start(floor, self.produced, 0.0)

    @invariant()
    def every_ticket_that_could_run_counts_once(self) -> None:
        """Those that are parked do not, whether they were read since the latest opening or not."""
        read = {offset for job in self.jobs.values() for offset in job.receipts}
        unread = set(range(self.produced)) - self.settled - read
        on_record = {int(key) for key, state in self.states.items() if state.phase is Phase.PARKED}
        active = [job for job in self.jobs.values() if job.phase is not JobPhase.PARKED]
        assert self.count() == len(active) + len(unread - on_record)

    def count(self) -> int:
        return unfinished(self.tracker, self.unread, cast(dict[str, Job], self.jobs), self.states)


TestPartition = PartitionMachine.TestCase


def test_a_marker_at_the_end_is_no_record_once_the_consumer_has_passed_it() -> None:
    unread = Unread(Density())
    unread.start(0, 4, 0.0)
    assert unread.records(0) == 4
    unread.passed(4, 3)
    assert unread.records(3) == 0


def test_markers_among_what_is_unread_are_taken_off_as_they_lay_in_what_was_read() -> None:
    unread = Unread(Density())
    unread.start(0, 66, 0.0)
    unread.passed(22, 20)
    assert unread.records(20) == 40


def test_partitions_have_the_same_producers_and_so_one_density() -> None:
    density = Density()
    read, unread = Unread(density), Unread(density)
    read.start(0, 20, 0.0)
    unread.start(100, 120, 0.0)
    read.passed(20, 10)
    assert unread.records(100) == 10


@pytest.mark.parametrize(
    ("offsets", "records", "share"), [(0, 0, 1.0), (10, 10, 1.0), (20, 15, 0.75), (1_000_000, 1, 0.5)]
)
def test_density_is_at_least_a_half(offsets: int, records: int, share: float) -> None:
    density = Density()
    density.read(offsets, records)
    assert density.share == share


def test_density_follows_a_producer_that_changes() -> None:
    density = Density()
    for _ in range(1_000):
        density.read(100, 100)
    for _ in range(1_000):
        density.read(100, 50)
    assert density.share == pytest.approx(0.5, abs=0.01)


def test_nothing_that_is_not_known_is_counted() -> None:
    assert unfinished(OffsetTracker(), Unread(Density()), {}, {}) == 0


def test_an_estimate_that_is_too_low_takes_nothing_off_what_runs() -> None:
    unread = Unread(Density())
    unread.start(0, 6, 0.0)
    unread.passed(2, 1)
    tracker = OffsetTracker()
    tracker.begin(0)
    jobs = cast(dict[str, Job], {"runs": Ticket([0], JobPhase.RUNNING)})
    parked = {name: TicketState(Phase.PARKED, 2, "worker") for name in ("a", "b", "c")}

    assert unfinished(tracker, unread, jobs, parked) == 1


def test_an_answer_that_comes_late_does_not_shorten_the_log() -> None:
    unread = Unread(Density())
    unread.start(0, 5, 0.0)
    unread.ends_at(9, 1.0)
    unread.ends_at(7, 2.0)
    assert (unread.end, unread.end_known_at) == (9, 2.0)


def test_a_log_that_was_made_anew_may_be_shorter() -> None:
    unread = Unread(Density())
    unread.start(0, 50, 0.0)
    unread.passed(50, 50)
    unread.start(0, 3, 1.0)
    assert unread.records(0) == 3


def test_a_position_before_what_was_passed_is_that_of_a_partition_given_back() -> None:
    unread = Unread(Density())
    unread.start(0, 4, 0.0)
    unread.passed(4, 3)
    unread.passed(3, 0)
    assert unread.records(3) == 0
