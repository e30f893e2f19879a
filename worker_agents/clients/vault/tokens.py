"""Keeps a valid token at hand."""

from __future__ import annotations

import asyncio
import functools
import random
from dataclasses import dataclass

from worker_agents.clients.http_retry import HttpRetryPolicy
from worker_agents.clients.vault.calls import VaultCalls, VaultConnection
from worker_agents.clients.vault.flights import SingleFlight
from worker_agents.clients.vault.logins import Grant, Login, renew
from worker_agents.clients.vault.troubles import CallFailed
from worker_agents.model.clock import Cancellable, Clock
from worker_agents.telemetry.events import VaultTrouble

# Workers that started together do not renew together.
_RENEW_AFTER = (0.6, 2 / 3)
_SHORTEST_WAIT = 1.0


@dataclass(frozen=True, slots=True)
class _Held:
    grant: Grant
    ends_at: float

    def left(self, now: float) -> float:
        return self.ends_at - now


class TokenKeeper:
    """Logs in when there is no token, and renews it in the background after two thirds of its life.

    In the background and not when it is next needed, because a fixed token that has ended cannot be had again. A
    token that cannot be renewed (any more) is replaced by another login where that makes tokens; where not, the
    operator is told when it ends.
    """

    def __init__(
        self, connection: VaultConnection, login: Login, calls: VaultCalls, clock: Clock, rng: random.Random
    ) -> None:
        self._connection = connection
        self._login = login
        self._calls = calls
        self._clock = clock
        self._rng = rng
        self._held: _Held | None = None
        self._logins: SingleFlight[str] = SingleFlight()
        self._timer: Cancellable | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def token(self) -> str:
        """One that has not ended. Raises :class:`CallFailed`."""
        held = self._held
        if held is None or held.left(self._clock.monotonic()) <= 0:
            return await self.log_in()
        return held.grant.token

    async def replace(self, refused: str) -> str:
        """One after ``refused`` was answered with 403: perhaps somebody has it already. Raises :class:`CallFailed`."""
        held = self._held
        if held is not None and held.grant.token != refused:
            return held.grant.token
        return await self.log_in()

    async def log_in(self, retry: HttpRetryPolicy | None = None) -> str:
        """A token fresh from a login. Raises :class:`CallFailed`."""
        return await self._logins.share("login", functools.partial(self._log_in, retry))

    async def aclose(self) -> None:
        self._cancel_timer()
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._logins.aclose()
        self._held = None

    async def _log_in(self, retry: HttpRetryPolicy | None) -> str:
        try:
            grant = await self._calls.make("login", functools.partial(self._login, self._connection), retry=retry)
        except CallFailed as failed:
            message = f"forbidden: {self._login.hint}" if failed.is_forbidden else failed.trouble.message
            # The same 403 comes when Vault cannot ask Kubernetes whose token it is, and that passes.
            may_pass = failed.is_forbidden and self._login.makes_tokens
            raise failed.worded(f"{self._login.name}: {message}", may_pass=may_pass) from None
        self._hold(grant)
        if grant.ttl and not grant.renewable and not self._login.makes_tokens:
            self._warn("it cannot be renewed", grant)
        else:
            self._renew_in(grant.ttl * self._rng.uniform(*_RENEW_AFTER))
        return grant.token

    def _hold(self, grant: Grant) -> None:
        self._held = _Held(grant, self._clock.monotonic() + grant.ttl if grant.ttl else float("inf"))

    def _renew_in(self, seconds: float) -> None:
        self._cancel_timer()
        if seconds > 0:
            self._timer = self._clock.call_later(seconds, self._begin_keeping)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin_keeping(self) -> None:
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        held = self._held
        assert held is not None
        try:
            await self._prolong(held)
        except CallFailed as failed:
            self._calls.emit(VaultTrouble("keeping the token", str(failed.error("renewal"))))
            left = held.left(self._clock.monotonic())
            if left > _SHORTEST_WAIT:  # after its end the next read logs in
                self._renew_in(max(left / 3, _SHORTEST_WAIT))

    async def _prolong(self, held: _Held) -> None:
        """Renew, or log in again where renewing does not help. Raises :class:`CallFailed`."""
        if held.grant.renewable:
            try:
                grant = await self._calls.make("renew", functools.partial(renew, self._connection, held.grant.token))
            except CallFailed as failed:
                if not (failed.trouble.is_rejection and self._login.makes_tokens):
                    raise
            else:
                if grant.ttl > held.left(self._clock.monotonic()) + 1:
                    self._hold(grant)
                    self._renew_in(grant.ttl * self._rng.uniform(*_RENEW_AFTER))
                    return
                if not self._login.makes_tokens:
                    self._warn("its longest life is reached", grant)
                    return
        await self.log_in()

    def _warn(self, why: str, grant: Grant) -> None:
        problem = f"{why}: it ends in {grant.ttl:.0f} s, and VAULT_TOKEN must be a new one before that"
        self._calls.emit(VaultTrouble("keeping the token", problem))
