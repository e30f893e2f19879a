"""Secrets from HashiCorp Vault, through ``hvac`` in threads (``contracts.md`` 6).

Neither Vault's own words nor its URLs are ever repeated in an error: they may hold tokens.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeVar

import hvac
import hvac.exceptions
import orjson
import requests
from pydantic import SecretStr

from worker_agents.model.clock import Clock, SystemClock
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable, TaskError
from worker_agents.telemetry.events import Emit, ExternalCall

SERVICE_ACCOUNT_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
MAX_CACHED_SECRETS: Final = 256

T = TypeVar("T")


class Login(Protocol):
    """Obtains a token for ``client``. Runs in a thread; may be called again at any time."""

    def __call__(self, client: hvac.Client) -> None: ...


@dataclass(frozen=True, slots=True)
class TokenLogin:
    """A fixed token."""

    token: SecretStr

    def __call__(self, client: hvac.Client) -> None:
        client.token = self.token.get_secret_value()


@dataclass(frozen=True, slots=True)
class KubernetesLogin:
    """The pod's service account. Its JWT is read at every login, because the kubelet rotates the file."""

    role: str
    jwt_file: Path = SERVICE_ACCOUNT_TOKEN
    mount: str = "kubernetes"

    def __call__(self, client: hvac.Client) -> None:
        jwt = self.jwt_file.read_text(encoding="utf-8").strip()
        client.auth.kubernetes.login(role=self.role, jwt=jwt, mount_point=self.mount)


@dataclass(frozen=True, slots=True)
class _Cached:
    values: dict[str, Any]
    until: float


class VaultClient:
    """Reads secrets of one key-value mount and keeps each for ``cache_seconds``.

    Vault is asked one thing at a time: the cache makes reads rare, and those who wait for a secret find it there.
    """

    def __init__(
        self,
        address: str,
        *,
        login: Login,
        emit: Emit,
        mount: str = "secret",
        kv_version: Literal[1, 2] = 2,
        namespace: str | None = None,
        timeout_seconds: float = 10.0,
        cache_seconds: float = 300.0,
        clock: Clock | None = None,
        session: requests.Session | None = None,
    ) -> None:
        # An empty token, or hvac would look for one in the environment and in ~/.vault-token.
        self._client = hvac.Client(url=address, token="", timeout=timeout_seconds, namespace=namespace, session=session)
        self._login = login
        self._emit = emit
        self._mount = mount
        self._kv_version = kv_version
        self._cache_seconds = cache_seconds
        self._clock = clock or SystemClock()
        self._cache: dict[str, _Cached] = {}
        self._turn = asyncio.Lock()

    async def get_secret(self, path: str, key: str) -> str:
        """One value of the secret at ``path`` (without mount); values that are not text come as their JSON.

        Raises :class:`IntegrationRejected` when Vault refuses or has no such secret or key, and
        :class:`IntegrationUnavailable` when it is down, sealed or not reachable.
        """
        values = await self._secret(path.strip("/"))
        if key not in values:
            raise IntegrationRejected(f"vault: the secret {path} has no key {key!r}")
        value = values[key]
        return value if isinstance(value, str) else orjson.dumps(value).decode()

    async def log_in(self) -> None:
        """Log in now, so that a wrong set-up shows at start. Raises as :meth:`get_secret` does."""
        async with self._turn:
            await self._log_in()

    async def aclose(self) -> None:
        """Close the connections and forget every secret."""
        self._cache.clear()
        await asyncio.to_thread(self._client.adapter.close)

    async def _secret(self, path: str) -> dict[str, Any]:
        async with self._turn:
            cached = self._cache.get(path)
            if cached is not None and self._clock.monotonic() < cached.until:
                return cached.values
            values = await self._read(path)
            self._remember(path, values)
            return values

    async def _read(self, path: str) -> dict[str, Any]:
        if not self._client.token:
            await self._log_in()
        read = functools.partial(self._ask, "read", f"reading {path}", functools.partial(self._values, path))
        try:
            return await read()
        except _Forbidden:
            # A bad or expired token looks like a missing policy: a fresh token tells them apart.
            await self._log_in()
            return await read()

    async def _log_in(self) -> None:
        await self._ask("login", "login", functools.partial(self._login, self._client))

    def _values(self, path: str) -> dict[str, Any]:
        kv = self._client.secrets.kv
        if self._kv_version == 1:
            values = kv.v1.read_secret(path, mount_point=self._mount)["data"]
        else:
            answer = kv.v2.read_secret_version(path, mount_point=self._mount, raise_on_deleted_version=True)
            values = answer["data"]["data"]
        if not isinstance(values, dict):
            raise TypeError("the secret is not an object")
        return values

    async def _ask(self, operation: str, what: str, question: Callable[[], T]) -> T:
        began = self._clock.monotonic()
        try:
            answer = await asyncio.to_thread(question)
        except _FOREIGN as error:
            trouble = _error_of(error, what)
            self._emit(ExternalCall("vault", operation, _outcome(error, trouble), self._clock.monotonic() - began))
            raise trouble from None
        self._emit(ExternalCall("vault", operation, "ok", self._clock.monotonic() - began))
        return answer

    def _remember(self, path: str, values: dict[str, Any]) -> None:
        self._cache.pop(path, None)
        if len(self._cache) >= MAX_CACHED_SECRETS:
            del self._cache[next(iter(self._cache))]
        self._cache[path] = _Cached(values, self._clock.monotonic() + self._cache_seconds)


class _Forbidden(IntegrationRejected):
    """403: the token or the policy."""


# requests' errors are OSErrors, as is a JWT file that cannot be read; the last three are answers of another shape.
_FOREIGN: Final = (hvac.exceptions.VaultError, OSError, KeyError, TypeError, ValueError)


def _error_of(error: Exception, what: str) -> TaskError:
    """The one place where the exceptions of hvac and requests become ours."""
    match error:
        case hvac.exceptions.Forbidden():
            ours: TaskError = _Forbidden(f"vault: {what} is forbidden: check the role and its policies")
        case hvac.exceptions.InvalidPath():
            ours = IntegrationRejected(f"vault: {what} found nothing: check the path, the mount and its version")
        case hvac.exceptions.Unauthorized() | hvac.exceptions.InvalidRequest() | hvac.exceptions.ParamValidationError():
            ours = IntegrationRejected(f"vault: {what} was refused ({type(error).__name__})")
        case hvac.exceptions.VaultError():
            ours = IntegrationUnavailable(f"vault: {what} failed ({type(error).__name__})")
        case requests.exceptions.RequestException():
            ours = IntegrationUnavailable(f"vault: {what} got no answer ({type(error).__name__})")
        case OSError():
            ours = IntegrationUnavailable(f"vault: {what} could not read the service account token: {error.strerror}")
        case _:
            ours = IntegrationUnavailable(f"vault: {what} was answered with something else than a secret")
    return ours


def _outcome(error: Exception, trouble: TaskError) -> str:
    if isinstance(error, requests.exceptions.Timeout):
        return "timeout"
    return "rejected" if isinstance(trouble, IntegrationRejected) else "unavailable"
