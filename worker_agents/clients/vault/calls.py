"""One call to Vault: in a thread, with time-outs, and again where that promises something."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import hvac

from worker_agents.clients.http_errors import Trouble
from worker_agents.clients.http_retry import HttpRetryPolicy
from worker_agents.clients.vault.threads import CallThreads
from worker_agents.clients.vault.troubles import FOREIGN, CallFailed, trouble_of
from worker_agents.model.clock import Clock
from worker_agents.telemetry.events import Emit, ExternalCall
from worker_agents.telemetry.tracing import new_call_span

T = TypeVar("T")

ONE_TRY = HttpRetryPolicy(tries=1)


@dataclass(frozen=True, slots=True)
class VaultLimits:
    """Seconds for a try: ``silence`` without a byte, or ``whole`` altogether. ``threads`` tries run at once."""

    silence: float = 10.0
    whole: float = 20.0
    threads: int = 8


@dataclass(frozen=True, slots=True)
class _Answer(Generic[T]):
    value: T


class VaultConnection:
    """The connections to one Vault. ``namespace`` is one of Vault Enterprise's, empty for none."""

    def __init__(self, address: str, namespace: str, silence: float) -> None:
        self.address = address
        self._namespace = namespace or None
        self._silence = silence
        # hvac makes the session, with what VAULT_CACERT and its like say: a session of our own would not have it.
        self._session = hvac.Client(url=address, token="").adapter.session

    def client(self, token: str = "") -> hvac.Client:
        """A client with ``token``, or with none: an empty one keeps hvac from looking for somebody else's.

        Each call gets one of its own, because a client's token can be changed while others use it.
        """
        return hvac.Client(
            url=self.address, token=token, timeout=self._silence, namespace=self._namespace, session=self._session
        )

    def close(self) -> None:
        self._session.close()


class VaultCalls:
    """Makes calls. All of Vault's that are used here may be repeated: a second login or renewal harms nobody."""

    def __init__(
        self, emit: Emit, clock: Clock, *, limits: VaultLimits, retry: HttpRetryPolicy, rng: random.Random
    ) -> None:
        self.emit = emit
        self._clock = clock
        self._limits = limits
        self._retry = retry
        self._rng = rng
        self._threads = CallThreads(limits.threads)

    async def make(self, operation: str, call: Callable[[], T], *, retry: HttpRetryPolicy | None = None) -> T:
        """What ``call`` returns, which runs in a thread. Raises :class:`CallFailed`."""
        retry = retry or self._retry
        made, waited = 0, 0.0
        while True:
            outcome = await self._try(operation, call)
            if isinstance(outcome, _Answer):
                return outcome.value
            made += 1
            delay = retry.delay(made, waited, None, self._rng) if made <= outcome.repeats else None
            if delay is None:
                raise CallFailed(outcome, made)
            waited += delay
            await self._clock.sleep(delay)

    async def _try(self, operation: str, call: Callable[[], T]) -> _Answer[T] | Trouble:
        began = self._clock.monotonic()
        outcome: _Answer[T] | Trouble
        try:
            async with asyncio.timeout(self._limits.whole):
                outcome = _Answer(await self._threads.run(call))
        except FOREIGN as error:
            outcome = trouble_of(error)
        label = outcome.outcome if isinstance(outcome, Trouble) else "ok"
        self.emit(ExternalCall("vault", operation, label, self._clock.monotonic() - began, trace=new_call_span()))
        return outcome
