"""The pure rules of repeating a call."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_agents.clients.http_retry import MAX_RETRY_AFTER_SECONDS, HttpRetryPolicy, RetryBudget, retry_after_seconds

policies = st.builds(
    HttpRetryPolicy,
    tries=st.integers(1, 10),
    base=st.floats(0.01, 5),
    longest=st.floats(0.01, 30),
    budget=st.floats(0, 60),
)


@given(policies, st.integers(1, 12), st.floats(0, 100), st.none() | st.floats(0, 100), st.integers())
def test_delays_stay_within_their_bounds(
    policy: HttpRetryPolicy, made: int, waited: float, retry_after: float | None, seed: int
) -> None:
    delay = policy.delay(made, waited, retry_after, random.Random(seed))

    if delay is None:
        return
    assert made < policy.tries
    assert waited + delay <= policy.budget
    ceiling = min(policy.longest, policy.base * 2.0 ** (made - 1))
    assert (retry_after or 0) <= delay <= (retry_after or 0) + ceiling


@given(policies, st.integers())
def test_a_call_never_waits_longer_than_its_budget_altogether(policy: HttpRetryPolicy, seed: int) -> None:
    rng, waited, made = random.Random(seed), 0.0, 1

    while (delay := policy.delay(made, waited, None, rng)) is not None:
        waited += delay
        made += 1

    assert made <= policy.tries
    assert waited <= policy.budget


def test_jitter_is_full() -> None:
    policy, rng = HttpRetryPolicy(), random.Random(3)
    delays = [policy.delay(1, 0.0, None, rng) or 0.0 for _ in range(1000)]

    assert min(delays) < 0.05 * policy.base
    assert max(delays) > 0.95 * policy.base


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("120", 120.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("1e300", MAX_RETRY_AFTER_SECONDS),
        ("inf", MAX_RETRY_AFTER_SECONDS),
        ("nan", None),
        ("soon", None),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60.0),
        ("Wed, 31 Dec 2025 23:00:00 GMT", 0.0),
        ("Thu, 01 Jan 9999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_capped(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, now_ms=1_767_225_600_000) == seconds


@given(st.text())
def test_no_retry_after_breaks_the_client(header: str) -> None:
    seconds = retry_after_seconds(header, now_ms=0)

    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_SECONDS


def test_an_outage_is_not_multiplied_by_its_repetitions() -> None:
    budget, repeated = RetryBudget(), 0
    for call in range(20_000):
        now = call / 100
        budget.called(now)
        repeated += sum(budget.take(now) for _ in range(4))

    assert repeated <= 100 + 0.2 * 20_000 + 10 * 200
    assert repeated >= 0.2 * 20_000


def test_a_worker_with_few_calls_may_repeat_each_of_them() -> None:
    budget = RetryBudget()

    for minute in range(100):
        budget.called(minute * 60.0)
        assert all(budget.take(minute * 60.0 + attempt) for attempt in range(4))


def test_what_is_not_used_does_not_pile_up() -> None:
    budget = RetryBudget(share=0.2, per_second=10, capacity=3)
    for _ in range(1000):
        budget.called(0.0)

    assert [budget.take(1000.0) for _ in range(4)] == [True, True, True, False]
