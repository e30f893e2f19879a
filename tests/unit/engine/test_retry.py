"""When to try again, and for how long to wait before it."""

import random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_agents.engine.retry import RetryPolicy
from worker_agents.model.errors import (
    BreakerOpen,
    IntegrationDisabled,
    IntegrationRejected,
    IntegrationUnavailable,
    LeaseLost,
    Postponed,
    Reason,
    TaskError,
    TaskTimedOut,
    UnknownOutcome,
)
from worker_agents.model.result import Finished, RetryLater, Status
from worker_agents.model.ticket import MAX_RETRIES_CAP, Ticket, read_ticket

DOWN = IntegrationUnavailable("no answer")
BREAKER = BreakerOpen("opa is down", integration="opa", retry_after=8.0)


def ticket(max_retries: int | None = None, delivery_mode: str = "AT_LEAST_ONCE") -> Ticket:
    document = {
        "ticket_id": "t",
        "task_type": "EXECUTE",
        "sla": {"max_retries": max_retries},
        "qos": {"delivery_mode": delivery_mode},
    }
    return read_ticket(orjson.dumps(document))


@given(
    attempt=st.integers(1, 10_000),
    base=st.floats(0.0, 3_600.0),
    longest=st.floats(0.0, 86_400.0),
    seed=st.integers(0, 2**32),
)
def test_a_delay_is_jittered_under_the_growing_ceiling(attempt: int, base: float, longest: float, seed: int) -> None:
    policy = RetryPolicy(default_retries=3, base=base, longest=longest, random=random.Random(seed))
    ceiling = min(longest, base * 2.0 ** min(attempt - 1, 1_000) if attempt < 1_000 else longest if base else 0.0)
    assert 0.0 <= policy._delay(attempt) <= ceiling


def test_jitter_uses_the_whole_range() -> None:
    policy = RetryPolicy(base=2.0, longest=60.0, random=random.Random(1))
    delays = [policy._delay(4) for _ in range(500)]
    assert min(delays) < 1.0
    assert 15.0 < max(delays) <= 16.0


@given(
    attempt=st.integers(1, 60),
    max_retries=st.none() | st.integers(0, 10**6),
    default=st.integers(0, 20),
    left=st.none() | st.floats(-10.0, 10_000.0),
    retry_after=st.none() | st.floats(-5.0, 7_200.0),
    at_most_once=st.booleans(),
)
def test_a_retry_stays_within_attempts_and_time(
    attempt: int,
    max_retries: int | None,
    default: int,
    left: float | None,
    retry_after: float | None,
    *,
    at_most_once: bool,
) -> None:
    policy = RetryPolicy(default_retries=default)
    mode = "AT_MOST_ONCE" if at_most_once else "AT_LEAST_ONCE"
    allowed = 1 if at_most_once else 1 + min(default if max_retries is None else max_retries, MAX_RETRIES_CAP)
    assert policy.max_attempts(ticket(max_retries, mode)) == allowed
    error = IntegrationUnavailable("no answer", retry_after=retry_after)
    outcome = policy.decide(ticket(max_retries, mode), attempt, error, left)
    if isinstance(outcome, RetryLater):
        assert attempt < allowed
        assert outcome.delay >= 0
        assert left is None or outcome.delay < left
        assert outcome.reason is Reason.DEPENDENCY_UNAVAILABLE
        if retry_after is not None:
            assert outcome.delay == max(retry_after, 0.0)
    else:
        assert outcome.error_reason is Reason.RETRIES_EXHAUSTED
        assert outcome.dead_letter
        assert outcome.result.metadata["last_reason"] == Reason.DEPENDENCY_UNAVAILABLE
        assert attempt >= allowed or left is not None


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_attempts_are_one_more_than_retries(retries: int) -> None:
    policy = RetryPolicy()
    for attempt in range(1, retries + 1):
        assert isinstance(policy.decide(ticket(retries), attempt, DOWN, None), RetryLater)
    exhausted = policy.decide(ticket(retries), retries + 1, DOWN, None)
    assert isinstance(exhausted, Finished)
    assert exhausted.result.error_message == f"no answer (attempt {retries + 1} of {retries + 1})"


@pytest.mark.parametrize("error", [DOWN, TaskTimedOut("slow"), LeaseLost("stale"), TaskError("odd", retryable=True)])
def test_what_another_attempt_may_mend_is_retried(error: TaskError) -> None:
    outcome = RetryPolicy().decide(ticket(), 1, error, None)
    assert isinstance(outcome, RetryLater)
    assert outcome.reason is error.reason
    assert outcome.message == str(error)


@pytest.mark.parametrize(
    "error",
    [
        IntegrationRejected("422"),
        IntegrationDisabled("off"),
        UnknownOutcome("perhaps"),
        TaskError("wrong", reason=Reason.COMMAND_REFUSED),
        IntegrationUnavailable("gone for good", retryable=False),
    ],
)
def test_what_no_attempt_mends_fails_at_once_with_its_own_reason(error: TaskError) -> None:
    outcome = RetryPolicy().decide(ticket(), 1, error, None)
    assert isinstance(outcome, Finished)
    assert (outcome.status, outcome.error_reason) == (Status.FAILED, error.reason)
    assert outcome.result.error_message == str(error)
    assert outcome.dead_letter is True


def test_a_delay_that_would_pass_the_deadline_is_not_begun() -> None:
    policy = RetryPolicy()
    error = IntegrationUnavailable("busy", retry_after=30.0)
    assert isinstance(policy.decide(ticket(), 1, error, 30.1), RetryLater)
    outcome = policy.decide(ticket(), 1, error, 30.0)
    assert isinstance(outcome, Finished)
    assert outcome.error_reason is Reason.RETRIES_EXHAUSTED
    assert "deadline" in (outcome.result.error_message or "")


@given(attempt=st.integers(1, 60), left=st.none() | st.floats(-10.0, 10_000.0), seed=st.integers(0, 2**32))
def test_a_ticket_that_meets_an_open_breaker_waits_whatever_its_attempts_and_its_time(
    attempt: int, left: float | None, seed: int
) -> None:
    policy = RetryPolicy(random=random.Random(seed))

    outcome = policy.decide(ticket(max_retries=0), attempt, BREAKER, left)

    assert isinstance(outcome, RetryLater)
    assert not outcome.costs_attempt
    assert outcome.reason is Reason.DEPENDENCY_UNAVAILABLE
    assert 8.0 <= outcome.delay <= 10.0


@pytest.mark.parametrize("delivery_mode", ["AT_LEAST_ONCE", "AT_MOST_ONCE"])
def test_what_could_not_begin_for_lack_of_room_is_tried_again_at_no_cost(delivery_mode: str) -> None:
    error = Postponed("no room", retry_after=30.0)

    outcome = RetryPolicy().decide(ticket(max_retries=0, delivery_mode=delivery_mode), 1, error, 5.0)

    assert isinstance(outcome, RetryLater)
    assert outcome.costs_attempt is False
    assert outcome.message == "no room"
    assert 30.0 <= outcome.delay <= 37.5


def test_those_that_wait_for_the_same_do_not_come_back_at_once() -> None:
    policy = RetryPolicy(random=random.Random(1))
    delays = [policy._spread(BREAKER) for _ in range(500)]
    assert min(delays) < 8.1
    assert max(delays) > 9.9


def test_a_wait_of_no_given_length_takes_the_shortest_back_off() -> None:
    outcome = RetryPolicy(base=0.4).decide(ticket(), 1, Postponed("no room", retry_after=None), None)

    assert isinstance(outcome, RetryLater)
    assert 0.4 <= outcome.delay <= 0.5


def test_one_that_may_start_but_once_does_not_wait_for_a_breaker() -> None:
    outcome = RetryPolicy().decide(ticket(delivery_mode="AT_MOST_ONCE"), 1, BREAKER, None)

    assert isinstance(outcome, Finished)
    assert outcome.error_reason is Reason.RETRIES_EXHAUSTED
