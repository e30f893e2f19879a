"""Looking for an input that breaks a target, with hypothesis."""

import time
from random import Random

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.harness import Target
from tests.fuzz.mutation import mutated

BOUNDED = settings(
    max_examples=120,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
# Time is looked at after each batch.
_BATCH = settings(BOUNDED, max_examples=200, derandomize=False)


def inputs_for(target: Target) -> st.SearchStrategy[bytes]:
    """Inputs of the corpus after some changes."""
    known, others = target.inputs(), [path.read_bytes() for path in target.corpus()]

    def change(base: bytes, rng: Random) -> bytes:
        return mutated(rng, base, others, target.tokens)

    return st.builds(change, st.sampled_from(known), st.randoms(use_true_random=False))


def search(target: Target, seconds: float, first_seed: int) -> tuple[bytes | None, int]:
    """A failing input as small as hypothesis could make it, ``None`` when time is up first; and how many were tried."""
    strategy, ends_at, tried = inputs_for(target), time.monotonic() + seconds, 0
    failing: bytes | None = None

    def attempt(content: bytes) -> None:
        nonlocal failing, tried
        # Once one was found, time is given to make it smaller.
        if failing is None and time.monotonic() > ends_at:
            return
        tried += 1
        if target.breaks(content):
            failing = content
            raise AssertionError(target.name)

    number = first_seed
    while failing is None and time.monotonic() < ends_at:
        try:
            seed(number)(_BATCH(given(strategy)(attempt)))()
        except AssertionError:
            break
        number += 1
    return failing, tried
