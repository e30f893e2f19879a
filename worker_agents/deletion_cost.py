"""Busy pods last: tells Kubernetes, on the worker's own pod, what would be lost with it.

Where a ReplicaSet is to have fewer pods, its controller takes those with the lowest ``pod-deletion-cost`` first. It is a hint, and
Kubernetes asks not to renew it all the time. So the cost is told in powers of two, follows the busier of two looks, and is written only
where it has changed.
"""

from __future__ import annotations

from typing import Final, Protocol

from worker_agents.clients.kubernetes import POD_DELETION_COST, KubernetesClient, PodNotPatched
from worker_agents.dispatch.stakes import Stakes
from worker_agents.model.clock import Clock
from worker_agents.telemetry.events import Emit, PodDeletionCostFailed

# Scaling down is decided over minutes: by default the HPA looks back five. A hundred pods make three patches a second at most.
LOOK_SECONDS = 30.0
_LONGEST_BACKOFF = 600.0
_DOUBLINGS = 5

LOWEST_COST: Final = -2_147_483_647
# A few hand-overs are cheaper than a suite of tests that begins anew, and that is cheaper than tickets that fail.
_WEIGHT_LOST, _WEIGHT_REPEATED, _WEIGHT_RESUMED = 64, 8, 1


class Work(Protocol):
    """The dispatcher, as it is seen from here."""

    @property
    def is_quiet(self) -> bool:
        """Whether it starts nothing any more: the worker drains."""
        ...

    def at_stake(self) -> Stakes: ...


class PodDeletionCost:
    """Looks every half minute and patches the pod where that is due. Trouble is told once of each kind, until it is over."""

    def __init__(self, pod: KubernetesClient, work: Work, clock: Clock, emit: Emit) -> None:
        self._pod = pod
        self._work = work
        self._clock = clock
        self._emit = emit
        self._seen = 0
        # Not known at first: a container that is started again finds what the one before it has left.
        self._written: int | None = None
        self._failures = 0
        self._told: set[str] = set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._look()
            await self._clock.sleep(min(LOOK_SECONDS * 2 ** min(self._failures, _DOUBLINGS), _LONGEST_BACKOFF))

    async def _look(self) -> None:
        seen, before = cost_of(self._work.at_stake()), self._seen
        self._seen = seen
        cost = LOWEST_COST if self._work.is_quiet else max(seen, before)
        if cost != self._written:
            await self._write(cost)

    async def _write(self, cost: int) -> None:
        # Not known again until it is there: the call may have come to its effect and its answer not to us.
        self._written = None
        try:
            await self._pod.annotate({POD_DELETION_COST: str(cost)})
        except PodNotPatched as trouble:
            self._failures += 1
            if trouble.kind not in self._told:
                self._told.add(trouble.kind)
                self._emit(PodDeletionCostFailed(trouble.kind, str(trouble), trouble.advice))
            return
        self._written, self._failures = cost, 0
        self._told.clear()


def cost_of(stakes: Stakes) -> int:
    """0 where nothing runs, else a power of two: it changes with the magnitude of what is at stake only."""
    load = stakes.lost * _WEIGHT_LOST + stakes.repeated * _WEIGHT_REPEATED + stakes.resumed * _WEIGHT_RESUMED
    return 1 << (load.bit_length() - 1) if load else 0
