"""A circuit breaker: once a service is clearly down, its calls fail at once until one of them gets through.

Own code: the libraries (purgatory, circuitbreaker, aiobreaker) count failures in a row only, let any number of calls
probe at once, and give no answer to "for how long?", which is what tickets wait by.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Final, Self

from worker_agents.model.clock import Clock
from worker_agents.model.errors import BreakerOpen
from worker_agents.telemetry.events import BreakerChanged, Emit

# While a probe is under way nobody knows how long it takes: ask again soon.
PROBE_RECHECK_SECONDS: Final = 1.0
_BUCKET_SECONDS: Final = 1.0
_JITTER: Final = 0.2


class BreakerState(IntEnum):
    """The number is the value of the gauge ``breaker_state``."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to open, and for how long. Times are seconds.

    Two rules, because either alone is blind on one side:

    - ``failures`` in a row. A worker with few tickets makes a call every half minute, which no window gathers in time;
      and where nothing at all succeeds, five tries are proof enough.
    - ``share`` of at least ``calls`` in the last ``window``. Among thousands of polls a few succeed even at a service
      that fails most of them, and break every row.

    Both look at tries, not at calls with all their repetitions, and both want the failures spread over at least
    ``spread``: a proxy that restarts resets a hundred connections in the same moment, and their first repetition
    succeeds.

    An open breaker lets its first probe through after ``first_wait``, and after twice as long for each probe that
    fails, up to ``longest_wait``; each wait is shortened by up to a fifth so that workers do not probe together.
    """

    failures: int = 5
    window: float = 10.0
    calls: int = 20
    share: float = 0.5
    spread: float = 1.0
    first_wait: float = 5.0
    longest_wait: float = 60.0


class CircuitBreaker:
    """Guards the calls of one integration, for all who make them in this process.

        closed --(too many failures)--> open --(wait is over, next call)--> half open --(it succeeds)--> closed
                                         ^----------------------------------(it fails)------|

    What is a failure is for the caller to say: no connection, no answer in time and 5xx are, a 4xx is an answer.
    Outcomes of calls that were let through before the latest change count for nothing.
    """

    def __init__(
        self,
        integration: str,
        *,
        clock: Clock,
        emit: Emit,
        rng: random.Random | None = None,
        policy: BreakerPolicy | None = None,
    ) -> None:
        """Begin closed."""
        self.integration = integration
        self._clock = clock
        self._emit = emit
        self._rng = rng or random.Random()
        self._policy = policy or BreakerPolicy()
        self._state = BreakerState.CLOSED
        self._since_ms = clock.now_ms()
        self._epoch = 0
        self._recent = _Recent(self._policy.window)
        self._row = _Row()
        self._why = ""
        self._wait = 0.0
        self._probe_at = 0.0
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """Open until a call was let through as a probe, however long that takes."""
        return self._state

    @property
    def since(self) -> int:
        """Epoch milliseconds of the latest change of ``state``; of the beginning where there was none."""
        return self._since_ms

    @property
    def why(self) -> str:
        """The latest failure, in words; empty while there was none."""
        return self._why

    def wait_seconds(self) -> float:
        """Seconds until a call may be let through; 0 when one would be let through now."""
        match self._state:
            case BreakerState.CLOSED:
                return 0.0
            case BreakerState.HALF_OPEN:
                return PROBE_RECHECK_SECONDS if self._probing else 0.0
            case BreakerState.OPEN:
                return max(self._probe_at - self._clock.monotonic(), 0.0)

    def probe_now(self) -> None:
        """Let the next call through as a probe, however long the wait would be: somebody knows more than the breaker."""
        self._probe_at = min(self._probe_at, self._clock.monotonic())

    def check(self) -> None:
        """Raise :class:`BreakerOpen` where a call would not be let through now; takes nothing."""
        if (wait := self.wait_seconds()) > 0:
            raise self.refusal(wait)

    def admit(self) -> Permit:
        """Let one call through: ``with breaker.admit() as permit``. Raises :class:`BreakerOpen`."""
        self.check()
        if self._state is BreakerState.OPEN:
            self._change(BreakerState.HALF_OPEN)
        self._probing = self._state is BreakerState.HALF_OPEN
        return Permit(self, self._epoch)

    def refusal(self, wait: float) -> BreakerOpen:
        """What a call gets that must not be made for ``wait`` more seconds."""
        message = f"{self.integration} is down and not asked again for {wait:.1f} s (last failure: {self._why})"
        return BreakerOpen(message, integration=self.integration, retry_after=wait)

    # --- reports of permits --------------------------------------------------------------------------------------

    def _succeeded(self, epoch: int) -> None:
        if epoch != self._epoch:
            return
        if self._state is BreakerState.HALF_OPEN:
            self._close()
            return
        self._row.end()
        self._recent.add(self._clock.monotonic(), failed=False)

    def _failed(self, epoch: int, why: str) -> None:
        if epoch != self._epoch:
            return
        self._why = why
        if self._state is BreakerState.HALF_OPEN:
            self._open(self._wait * 2)
            return
        now = self._clock.monotonic()
        self._row.add(now)
        self._recent.add(now, failed=True)
        if self._is_down(now):
            self._open(self._policy.first_wait)

    def _released(self, epoch: int) -> None:
        """The call ended. If it was a probe that came to nothing, the next call is one."""
        if epoch == self._epoch:
            self._probing = False

    # --- changes -------------------------------------------------------------------------------------------------

    def _is_down(self, now: float) -> bool:
        policy = self._policy
        if self._row.length >= policy.failures and now - self._row.began >= policy.spread:
            return True
        calls, failures, first_failure = self._recent.totals(now)
        enough = calls >= policy.calls and failures >= policy.share * calls
        return enough and now - first_failure >= policy.spread

    def _open(self, wait: float) -> None:
        self._wait = min(wait, self._policy.longest_wait)
        shortened = self._wait * self._rng.uniform(1.0 - _JITTER, 1.0)
        self._probe_at = self._clock.monotonic() + shortened
        self._change(BreakerState.OPEN, shortened)

    def _close(self) -> None:
        self._row.end()
        self._recent.clear()
        self._change(BreakerState.CLOSED)

    def _change(self, state: BreakerState, wait: float = 0.0) -> None:
        self._state, self._since_ms = state, self._clock.now_ms()
        self._epoch += 1
        self._probing = False
        self._emit(
            BreakerChanged(self.integration, state.label, wait, "" if state is BreakerState.CLOSED else self._why)
        )


class Permit:
    """One call that was let through.

    Leaving the block without a report, as a cancelled call does, says nothing of the service and gives a probe's place
    back.
    """

    __slots__ = ("_breaker", "_epoch")

    def __init__(self, breaker: CircuitBreaker, epoch: int) -> None:
        self._breaker = breaker
        self._epoch = epoch

    def succeeded(self) -> None:
        """The service answered."""
        self._breaker._succeeded(self._epoch)  # noqa: SLF001 # the other half of one class

    def failed(self, why: str) -> None:
        """The service did not answer, or only that it cannot; ``why`` is told to operators."""
        self._breaker._failed(self._epoch, why)  # noqa: SLF001

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._breaker._released(self._epoch)  # noqa: SLF001


class _Row:
    """Failures since the latest success."""

    def __init__(self) -> None:
        self.length = 0
        self.began = 0.0

    def add(self, now: float) -> None:
        if not self.length:
            self.began = now
        self.length += 1

    def end(self) -> None:
        self.length = 0


@dataclass(slots=True)
class _Bucket:
    began: float
    calls: int = 0
    failures: int = 0
    first_failure: float = 0.0


class _Recent:
    """Calls and failures of the last ``window`` seconds, to a second."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._buckets: deque[_Bucket] = deque()

    def add(self, now: float, *, failed: bool) -> None:
        if not self._buckets or now - self._buckets[-1].began >= _BUCKET_SECONDS:
            self._forget(now)
            self._buckets.append(_Bucket(now))
        bucket = self._buckets[-1]
        bucket.calls += 1
        if failed:
            bucket.first_failure = bucket.first_failure if bucket.failures else now
            bucket.failures += 1

    def totals(self, now: float) -> tuple[int, int, float]:
        """Calls, failures, and when the first of those failures was (``now`` without any)."""
        self._forget(now)
        failing = [bucket for bucket in self._buckets if bucket.failures]
        first = failing[0].first_failure if failing else now
        return sum(b.calls for b in self._buckets), sum(b.failures for b in failing), first

    def clear(self) -> None:
        self._buckets.clear()

    def _forget(self, now: float) -> None:
        while self._buckets and now - self._buckets[0].began > self._window:
            self._buckets.popleft()
