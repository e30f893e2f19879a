"""How often remote work is asked after."""

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from worker_agents.executors.polling import JITTER, LONGEST_HINT_SECONDS, Streak, heeding, poll_delays


@given(st.floats(0.01, 5), st.floats(1, 5), st.floats(0.01, 120), st.integers())
def test_delays_grow_to_the_longest_and_stay_within_their_jitter(
    first: float, factor: float, longest: float, seed: int
) -> None:
    delays = itertools.islice(poll_delays(first, factor, longest, random.Random(seed)), 60)

    nominal = min(first, longest)
    for delay in delays:
        assert nominal * (1 - JITTER) <= delay <= nominal <= longest
        nominal = min(nominal * factor, longest)


def test_work_is_first_looked_at_after_half_a_second_and_never_less_often_than_every_half_minute() -> None:
    delays = list(itertools.islice(poll_delays(rng=random.Random(1)), 20))

    assert 0.4 <= delays[0] <= 0.5
    assert all(24 <= delay <= 30 for delay in delays[11:])


def test_who_takes_over_looks_at_once_and_then_as_rarely_as_the_one_before() -> None:
    class Unshaken(random.Random):
        def uniform(self, a: float, b: float) -> float:  # noqa: ARG002 # as the real one
            return b

    whole = list(itertools.islice(poll_delays(rng=Unshaken()), 20))
    for polls in range(20):
        first, second = itertools.islice(poll_delays(rng=Unshaken(), age=sum(whole[:polls])), 2)

        assert first == 0.5
        # Half a second has gone by meanwhile, which counts too.
        assert whole[polls] - 1e-9 <= second <= whole[polls] + 0.25 + 1e-9


def test_tickets_that_began_together_do_not_ask_together() -> None:
    schedules = [
        tuple(itertools.accumulate(itertools.islice(poll_delays(rng=random.Random(seed)), 20))) for seed in range(50)
    ]

    last = sorted(schedule[-1] for schedule in schedules)
    assert last[-1] - last[0] > 10


@given(st.floats(0, 60), st.none() | st.floats(0, 1e9))
def test_a_hint_makes_polls_rarer_within_reason_and_never_more_frequent(delay: float, hint: float | None) -> None:
    heeded = heeding(delay, hint)

    assert heeded >= delay
    assert heeded in (delay, hint, LONGEST_HINT_SECONDS)


def test_a_streak_ends_where_it_is_broken() -> None:
    streak = Streak()

    assert streak.observe(10) == 0
    assert streak.observe(15) == 5
    streak.end()
    assert streak.observe(20) == 0
