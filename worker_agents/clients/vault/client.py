"""The client that executors and settings read secrets with."""

from __future__ import annotations

import functools
import itertools
import random
from typing import Any, Final

import orjson

from worker_agents.clients.http_retry import HttpRetryPolicy
from worker_agents.clients.vault.calls import ONE_TRY, VaultCalls, VaultConnection, VaultLimits
from worker_agents.clients.vault.flights import SingleFlight
from worker_agents.clients.vault.health import condition
from worker_agents.clients.vault.kv import Secret, read_secret
from worker_agents.clients.vault.logins import Login
from worker_agents.clients.vault.tokens import TokenKeeper
from worker_agents.clients.vault.troubles import CallFailed
from worker_agents.model.clock import Clock, SystemClock
from worker_agents.model.errors import IntegrationRejected, VaultUnreachable
from worker_agents.telemetry.events import Emit, VaultTrouble

MAX_CACHED_SECRETS: Final = 256

# A path that stays forbidden with a fresh token is forbidden by policy: for so long no login is spent on it.
_FORBIDDEN_SECONDS: Final = 60.0
_RETRY_DELAYS: Final = (0.5, 1.0, 2.0, 5.0)


class VaultClient:
    """Reads secrets of one key-value mount (version 2) and keeps each until its lease ends.

    That engine gives no leases, so ``cache_seconds`` stands in for them; 0 keeps nothing. ``address`` is the base URL.
    """

    def __init__(
        self,
        address: str,
        *,
        login: Login,
        emit: Emit,
        mount: str = "secret",
        namespace: str = "",
        cache_seconds: float = 300.0,
        limits: VaultLimits | None = None,
        retry: HttpRetryPolicy | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        limits, rng = limits or VaultLimits(), rng or random.Random()
        self._clock = clock or SystemClock()
        self._mount = mount
        self._cache_seconds = cache_seconds
        self._connection = VaultConnection(address, namespace, limits.silence)
        self._calls = VaultCalls(emit, self._clock, limits=limits, retry=retry or HttpRetryPolicy(), rng=rng)
        self._tokens = TokenKeeper(self._connection, login, self._calls, self._clock, rng)
        self._reads: SingleFlight[Secret] = SingleFlight()
        self._kept = _Expiring()
        self._forbidden = _Expiring()

    async def connect(self, timeout: float) -> None:
        """Log in at the start of the service, asking again while Vault is down.

        Raises :class:`VaultUnreachable` after ``timeout`` seconds, and :class:`IntegrationRejected` at once when Vault
        is there and refuses.
        """
        give_up_at = self._clock.monotonic() + timeout
        for delay in itertools.chain(_RETRY_DELAYS, itertools.repeat(_RETRY_DELAYS[-1])):
            try:
                await self._tokens.log_in(ONE_TRY)
                return
            except CallFailed as failed:
                if failed.trouble.is_rejection:
                    raise failed.error("vault") from None
                problem = failed.trouble.message + await self._condition()
            if self._clock.monotonic() + delay > give_up_at:
                raise VaultUnreachable(
                    f"no login at Vault ({self._connection.address}) within {timeout:.0f} s: {problem}; "
                    "check VAULT_ADDRESS, and that Vault is up and unsealed"
                )
            self._calls.emit(VaultTrouble(f"connecting to {self._connection.address}", problem))
            await self._clock.sleep(delay)

    async def log_in(self) -> None:
        """Log in now. Raises as :meth:`get_secret` does."""
        try:
            await self._tokens.log_in()
        except CallFailed as failed:
            raise failed.error("vault") from None

    async def get_secret(self, path: str, key: str) -> str:
        """One value of the secret at ``path`` (without mount); values that are not text come as their JSON.

        Raises :class:`IntegrationRejected` when Vault refuses or has no such secret or key, and
        :class:`IntegrationUnavailable` when it is down, sealed or not reachable.
        """
        path = path.strip("/")
        if not is_plain_path(path):
            raise IntegrationRejected("vault: a secret's path must be names with '/' between them, and no '.' or '..'")
        try:
            secret = self._kept.get(path, self._clock.monotonic()) or await self._reads.share(
                path, functools.partial(self._read, path)
            )
        except CallFailed as failed:
            raise failed.error(f"vault: reading {path}#{key}") from None
        if key not in secret.values:
            raise IntegrationRejected(f"vault: the secret {path} has no key {key!r}")
        value = secret.values[key]
        return value if isinstance(value, str) else orjson.dumps(value).decode()

    def forget(self, path: str) -> None:
        """Ask Vault itself the next time that this path is read."""
        self._kept.drop(path.strip("/"))

    def report_to(self, emit: Emit) -> None:
        """Tell ``emit`` of every call from now on."""
        self._calls.emit = emit

    async def aclose(self) -> None:
        """Forget token and secrets and close the connections. Calls that hang are left to themselves."""
        await self._reads.aclose()
        await self._tokens.aclose()
        self._kept.clear()
        self._connection.close()

    async def _read(self, path: str) -> Secret:
        token = await self._tokens.token()
        try:
            secret = await self._ask(path, token)
        except CallFailed as failed:
            if not failed.is_forbidden:
                raise
            secret = await self._read_with_another_token(path, token, failed)
        self._remember(path, secret)
        return secret

    async def _read_with_another_token(self, path: str, refused: str, failed: CallFailed) -> Secret:
        """A bad or ended token looks like a missing policy: another token tells them apart, and one is enough."""
        if not self._forbidden.get(path, self._clock.monotonic()):
            token = await self._tokens.replace(refused)
            try:
                return await self._ask(path, token)
            except CallFailed as again:
                if not again.is_forbidden:
                    raise
                self._forbidden.put(path, True, self._clock.monotonic() + _FORBIDDEN_SECONDS)
        raise failed.worded(
            f"forbidden, with a fresh token too: its policies must allow to read {self._mount}/data/{path}"
        ) from None

    async def _ask(self, path: str, token: str) -> Secret:
        return await self._calls.make(
            "read", functools.partial(read_secret, self._connection, token, self._mount, path)
        )

    def _remember(self, path: str, secret: Secret) -> None:
        seconds = secret.keep_seconds(self._cache_seconds, self._clock.now_ms())
        if seconds > 0:
            self._kept.put(path, secret, self._clock.monotonic() + seconds)

    async def _condition(self) -> str:
        try:
            known = await self._calls.make("health", functools.partial(condition, self._connection), retry=ONE_TRY)
        except CallFailed:
            return ""
        return f"; Vault says: {known}" if known else ""


class _Expiring:
    """The newest entries, each until its time."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[Any, float]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str, now: float) -> Any:
        """``None`` when there is none, or its time has come."""
        value, until = self._entries.get(key, (None, now))
        return value if now < until else None

    def put(self, key: str, value: Any, until: float) -> None:
        self._entries.pop(key, None)
        if len(self._entries) >= MAX_CACHED_SECRETS:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = value, until

    def drop(self, key: str) -> None:
        self._entries.pop(key, None)

    def clear(self) -> None:
        self._entries.clear()


def is_plain_path(path: str) -> bool:
    """Whether the URL that is made of it stays inside the mount."""
    return path.isprintable() and all(name not in ("", ".", "..") for name in path.split("/"))
