"""When a breaker opens, for how long, and who may probe."""

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from worker_agents.clients.breaker import PROBE_RECHECK_SECONDS, BreakerPolicy, BreakerState, CircuitBreaker, Permit
from worker_agents.devkit.executor_kit import VirtualClock
from worker_agents.model.errors import BreakerOpen, IntegrationUnavailable
from worker_agents.telemetry.events import BreakerChanged, Event

CLOSED, HALF_OPEN, OPEN = BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN


class Guarded:
    """A breaker on a clock of its own, with everything that it emits."""

    def __init__(self, policy: BreakerPolicy | None = None, seed: int = 1) -> None:
        self.clock = VirtualClock()
        self.events: list[Event] = []
        self.breaker = CircuitBreaker(
            "opa", clock=self.clock, emit=self.events.append, rng=random.Random(seed), policy=policy
        )

    def call(self, *, failed: bool) -> None:
        with self.breaker.admit() as permit:
            report(permit, failed=failed)

    def calls(self, failed: str, every: float = 0.0) -> None:
        """``x`` for a call that fails, ``.`` for one that succeeds, ``every`` seconds apart."""
        for each in failed:
            self.call(failed=each == "x")
            self.clock.advance(every)

    def open(self) -> None:
        self.calls("xxxxx", every=0.5)
        assert self.breaker.state is OPEN

    def wait(self) -> None:
        self.clock.advance(self.breaker.wait_seconds())

    @property
    def changes(self) -> list[str]:
        return [event.state for event in self.events if isinstance(event, BreakerChanged)]


@pytest.fixture
def guarded() -> Guarded:
    return Guarded()


def report(permit: Permit, *, failed: bool) -> None:
    if failed:
        permit.failed("HTTP 503")
    else:
        permit.succeeded()


def test_few_calls_open_it_after_five_failures_in_a_row_however_far_apart(guarded: Guarded) -> None:
    guarded.calls("xxxx", every=30)
    assert guarded.breaker.state is CLOSED

    guarded.call(failed=True)

    assert guarded.breaker.state is OPEN


def test_an_operator_may_have_it_probe_at_once(guarded: Guarded) -> None:
    guarded.open()
    guarded.breaker.probe_now()
    assert guarded.breaker.wait_seconds() == 0.0
    guarded.call(failed=True)
    assert guarded.breaker.state is OPEN
    assert guarded.breaker.wait_seconds() > 5.0, "one probe, no more"


def test_a_success_breaks_the_row(guarded: Guarded) -> None:
    guarded.calls("xxxx.xxxx.xxxx", every=15)

    assert guarded.breaker.state is CLOSED


def test_many_calls_open_it_when_half_of_them_fail_although_some_succeed(guarded: Guarded) -> None:
    guarded.calls("x." * 9, every=0.1)
    assert guarded.breaker.state is CLOSED, "18 calls prove nothing yet"

    guarded.calls("x.x", every=0.1)

    assert guarded.breaker.state is OPEN


def test_many_calls_of_which_fewer_than_half_fail_keep_it_closed(guarded: Guarded) -> None:
    guarded.calls("..x" * 200, every=0.02)

    assert guarded.breaker.state is CLOSED


def test_what_was_before_the_window_counts_no_more(guarded: Guarded) -> None:
    guarded.calls("." * 1000, every=0.001)
    guarded.clock.advance(12)
    guarded.calls("xxxx." * 4 + "x", every=0.2)

    assert guarded.breaker.state is OPEN


@pytest.mark.parametrize("blip", ["x" * 128, "x." * 64])
def test_a_hundred_connections_reset_in_one_moment_are_one_fault(guarded: Guarded, blip: str) -> None:
    guarded.calls(blip)
    assert guarded.breaker.state is CLOSED

    guarded.calls("." * 200, every=0.005)
    guarded.calls("x.", every=1)

    assert guarded.breaker.state is CLOSED


def test_an_open_one_refuses_and_says_for_how_long_and_why(guarded: Guarded) -> None:
    guarded.open()

    with pytest.raises(
        BreakerOpen, match=r"opa is down and not asked again for .* s \(last failure: HTTP 503\)"
    ) as got:
        guarded.breaker.admit()

    assert isinstance(got.value, IntegrationUnavailable)
    assert got.value.integration == "opa"
    assert got.value.retry_after == guarded.breaker.wait_seconds() > 0


def test_after_the_wait_exactly_one_call_probes(guarded: Guarded) -> None:
    guarded.open()
    guarded.wait()
    assert guarded.breaker.wait_seconds() == 0

    with guarded.breaker.admit():
        assert guarded.breaker.state is HALF_OPEN
        assert guarded.breaker.wait_seconds() == PROBE_RECHECK_SECONDS
        for _ in range(10):
            with pytest.raises(BreakerOpen):
                guarded.breaker.admit()


def test_a_probe_that_succeeds_closes_it_for_all(guarded: Guarded) -> None:
    guarded.open()
    guarded.wait()

    guarded.call(failed=False)

    assert guarded.breaker.state is CLOSED
    with guarded.breaker.admit(), guarded.breaker.admit():
        pass
    guarded.calls("xxxx", every=5)
    assert guarded.breaker.state is CLOSED, "earlier failures are forgotten"


def test_each_probe_that_fails_doubles_the_wait_up_to_a_minute_and_success_resets_it(guarded: Guarded) -> None:
    guarded.open()
    waits = []
    for _ in range(7):
        guarded.wait()
        guarded.call(failed=True)
        waits.append(guarded.breaker.wait_seconds())

    for wait, nominal in zip(waits, [10, 20, 40, 60, 60, 60, 60], strict=True):
        assert 0.8 * nominal <= wait <= nominal

    guarded.wait()
    guarded.call(failed=False)
    guarded.open()
    assert guarded.breaker.wait_seconds() <= 5


def test_workers_do_not_probe_in_step() -> None:
    waits = set()
    for seed in range(20):
        guarded = Guarded(seed=seed)
        guarded.open()
        waits.add(guarded.breaker.wait_seconds())

    assert len(waits) == 20


async def test_a_probe_that_is_cancelled_gives_its_place_to_the_next_call(guarded: Guarded) -> None:
    guarded.open()
    guarded.wait()
    probing = asyncio.Event()

    async def probe() -> None:
        with guarded.breaker.admit():
            probing.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(probe())
    await probing.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert guarded.breaker.state is HALF_OPEN
    assert guarded.breaker.wait_seconds() == 0
    guarded.call(failed=False)
    assert guarded.breaker.state is CLOSED


def test_a_probe_that_says_nothing_gives_its_place_back(guarded: Guarded) -> None:
    guarded.open()
    guarded.wait()

    with guarded.breaker.admit():
        pass

    guarded.call(failed=True)
    assert guarded.breaker.state is OPEN


def test_calls_from_before_the_change_count_for_nothing(guarded: Guarded) -> None:
    slow, slower = guarded.breaker.admit(), guarded.breaker.admit()
    guarded.open()
    with slow:
        slow.succeeded()
    assert guarded.breaker.state is OPEN

    guarded.wait()
    with guarded.breaker.admit() as probe:
        with slower:
            slower.failed("no answer in time")
        assert guarded.breaker.state is HALF_OPEN
        with pytest.raises(BreakerOpen):
            guarded.breaker.admit()
        probe.succeeded()
    assert guarded.breaker.state is CLOSED


def test_changes_are_told_once_each_with_their_reason_and_time(guarded: Guarded) -> None:
    began = guarded.breaker.since
    assert began == guarded.clock.now_ms()
    guarded.open()
    guarded.wait()
    guarded.call(failed=False)

    opened, half, closed = (event for event in guarded.events if isinstance(event, BreakerChanged))
    assert (opened.integration, opened.state, opened.why) == ("opa", "open", "HTTP 503")
    assert 4 <= opened.wait <= 5
    assert (half.state, half.wait) == ("half_open", 0)
    assert (closed.state, closed.why) == ("closed", "")
    assert guarded.breaker.since == guarded.clock.now_ms() > began


def test_the_numbers_of_the_states_are_those_of_the_gauge() -> None:
    assert [(int(state), state.label) for state in BreakerState] == [(0, "closed"), (1, "half_open"), (2, "open")]


class AnyOrder(RuleBasedStateMachine):
    """Calls begin and end in any order, reported or not, while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.guarded = Guarded()
        self.under_way: list[tuple[Permit, int]] = []
        self.probes: Counter[int] = Counter()

    @property
    def period(self) -> int:
        """Counts the changes of state."""
        return len(self.guarded.changes)

    @rule()
    def begin(self) -> None:
        if (expected := self.guarded.breaker.wait_seconds()) > 0:
            with pytest.raises(BreakerOpen) as refused:
                self.guarded.breaker.admit()
            assert refused.value.retry_after == expected
            return
        permit = self.guarded.breaker.admit()
        if self.guarded.breaker.state is HALF_OPEN:
            self.probes[self.period] += 1
        self.under_way.append((permit, self.period))

    @rule(data=st.data(), outcome=st.sampled_from(["failed", "succeeded", "cancelled"]))
    def end(self, data: st.DataObject, outcome: str) -> None:
        if not self.under_way:
            return
        permit, period = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        probes = self.guarded.breaker.state is HALF_OPEN and period == self.period
        with permit:
            if outcome != "cancelled":
                report(permit, failed=outcome == "failed")
        if probes:
            self.probes[period] -= 1
            expected = {"failed": OPEN, "succeeded": CLOSED, "cancelled": HALF_OPEN}
            assert self.guarded.breaker.state is expected[outcome]

    @rule(seconds=st.floats(0, 30))
    def pass_time(self, seconds: float) -> None:
        self.guarded.clock.advance(seconds)

    @invariant()
    def never_two_probes_and_never_a_lost_place(self) -> None:
        if self.guarded.breaker.state is HALF_OPEN:
            probing = self.probes[self.period]
            assert probing in (0, 1)
            assert (self.guarded.breaker.wait_seconds() > 0) == (probing == 1)

    @invariant()
    def it_always_lets_somebody_through_in_the_end(self) -> None:
        assert 0 <= self.guarded.breaker.wait_seconds() <= 60


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
