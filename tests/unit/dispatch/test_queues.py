"""Who waits for whom: dependents of a ticket, and turns of a record key."""

import pytest

from tests.unit.dispatch.fakes import World
from worker_agents.dispatch.job import Job
from worker_agents.dispatch.queues import Dependents, Turns
from worker_agents.model.ticket import Envelope

# --- dependents --------------------------------------------------------------------------------------------------


def test_those_that_wait_for_a_ticket_are_named_in_a_stable_order() -> None:
    dependents = Dependents()
    for ticket_id in ("c", "a", "b"):
        dependents.add(ticket_id, ["x", "y"])
    assert dependents.of("x") == dependents.of("y") == ["a", "b", "c"]


def test_nobody_waits_for_an_unknown_ticket() -> None:
    assert Dependents().of("x") == []


def test_one_that_is_removed_leaves_the_others_waiting() -> None:
    dependents = Dependents()
    dependents.add("a", ["x", "y"])
    dependents.add("b", ["x"])
    dependents.remove("a", ["x", "y"])
    assert dependents.of("x") == ["b"]
    assert dependents.of("y") == []


def test_only_tickets_that_somebody_waits_for_are_kept() -> None:
    dependents = Dependents()
    dependents.add("a", ["x", "y"])
    dependents.add("b", ["x"])
    assert len(dependents) == 2
    dependents.remove("a", ["x", "y"])
    assert len(dependents) == 1
    dependents.remove("b", ["x"])
    assert len(dependents) == 0


# --- turns -------------------------------------------------------------------------------------------------------


@pytest.fixture
def jobs() -> "Jobs":
    return Jobs()


class Jobs:
    """Makes jobs of one lane, told apart by nothing but their keys and themselves."""

    def __init__(self) -> None:
        self._lane = World().lane

    def with_key(self, key: bytes | None) -> Job:
        return Job(self._lane, "t", "EXECUTE", Envelope(0, b"{}", key), [0], None, None)


def test_equal_keys_go_one_after_another_in_the_order_of_arrival(jobs: Jobs) -> None:
    turns = Turns()
    first, second, third = (jobs.with_key(b"k") for _ in range(3))
    assert turns.take(first)
    assert not turns.take(second)
    assert not turns.take(third)
    assert turns.leave(first) is second
    assert turns.leave(second) is third
    assert turns.leave(third) is None


def test_different_keys_do_not_wait_for_each_other(jobs: Jobs) -> None:
    turns = Turns()
    a, b = jobs.with_key(b"a"), jobs.with_key(b"b")
    assert turns.take(a)
    assert turns.take(b)
    assert turns.leave(a) is None
    assert turns.leave(b) is None


def test_jobs_without_a_key_never_wait(jobs: Jobs) -> None:
    turns = Turns()
    first, second = jobs.with_key(None), jobs.with_key(None)
    assert turns.take(first)
    assert turns.take(second)
    assert turns.leave(first) is None
    assert len(turns) == 0


def test_an_empty_key_is_a_key_and_none_is_none(jobs: Jobs) -> None:
    turns = Turns()
    keyed, keyless = jobs.with_key(b""), jobs.with_key(None)
    assert turns.take(keyed)
    assert turns.take(keyless)
    assert not turns.take(jobs.with_key(b""))
    assert turns.leave(keyless) is None


def test_one_that_gives_up_while_it_waits_wakes_nobody(jobs: Jobs) -> None:
    turns = Turns()
    first, second, third = (jobs.with_key(b"k") for _ in range(3))
    for job in (first, second, third):
        turns.take(job)
    assert turns.leave(second) is None
    assert turns.leave(first) is third


def test_one_that_is_not_in_the_line_cannot_leave_it(jobs: Jobs) -> None:
    turns = Turns()
    first, second, stranger = (jobs.with_key(b"k") for _ in range(3))
    turns.take(first)
    turns.take(second)
    assert turns.leave(stranger) is None
    assert turns.leave(first) is second
    assert turns.leave(first) is None, "again is harmless"


def test_a_key_without_jobs_is_not_kept(jobs: Jobs) -> None:
    turns = Turns()
    first, second = jobs.with_key(b"k"), jobs.with_key(b"k")
    turns.take(first)
    turns.take(second)
    assert len(turns) == 1
    turns.leave(first)
    assert len(turns) == 1
    turns.leave(second)
    assert len(turns) == 0
