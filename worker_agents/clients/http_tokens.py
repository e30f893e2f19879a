"""Where a bearer token comes from, and how a new one is had after a 401."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final, Protocol

from pydantic import SecretStr

from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable

MAX_TOKEN_FILE_BYTES: Final = 64 * 1024


class TokenSource(Protocol):
    """Gives the token for each call; one source serves any number of calls at once."""

    async def current(self) -> str:
        """The token, empty for none. Raises :class:`TaskError` when it cannot be had."""
        ...

    async def renew(self, rejected: str) -> None:
        """The service answered 401 to ``rejected``: look for another. Does nothing where it has been replaced since."""
        ...


class SecretReader(Protocol):
    """Reads secrets from Vault; see ``clients.vault``."""

    async def get_secret(self, path: str, key: str) -> str: ...

    def forget(self, path: str) -> None:
        """Do not answer from memory the next time that this path is read."""
        ...


class FixedToken:
    """A token that is what it is: there is no other after a 401."""

    def __init__(self, token: SecretStr) -> None:
        self._token = token

    async def current(self) -> str:
        return self._token.get_secret_value()

    async def renew(self, rejected: str) -> None:
        """There is nothing to look for."""


class FileToken:
    """A token in a file that somebody else rotates, as kubelet does; read again whenever the file has changed.

    Raises :class:`IntegrationUnavailable` while there never was a token to be read. One that was read is kept while
    the file is missing or empty for a moment.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = SecretStr("")
        self._seen: tuple[int, int, int] | None = None

    async def current(self) -> str:
        self._read_if_changed()
        token = self._token.get_secret_value()
        if not token:
            raise IntegrationUnavailable(f"no token in the file {self._path}")
        return token

    async def renew(self, rejected: str) -> None:
        """Read the file even if it does not look changed."""
        if self._token.get_secret_value() == rejected:
            self._seen = None

    def _read_if_changed(self) -> None:
        """Reading blocks for a moment: the file is small and on the worker's own disk, or in memory."""
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen == self._seen or stat.st_size > MAX_TOKEN_FILE_BYTES:
                return
            token = self._path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return
        if token:
            self._token, self._seen = SecretStr(token), seen


class VaultToken:
    """A token in Vault (``vault:path#key``). Vault's client remembers secrets for a while; a 401 makes it ask again.

    Raises what reading the secret raises.
    """

    def __init__(self, secrets: SecretReader, path: str, key: str) -> None:
        self._secrets = secrets
        self._path = path
        self._key = key
        self._renewing = asyncio.Lock()

    async def current(self) -> str:
        return await self._secrets.get_secret(self._path, self._key)

    async def renew(self, rejected: str) -> None:
        """One reading for all calls that were refused together."""
        async with self._renewing:
            if await self.current() == rejected:
                self._secrets.forget(self._path)
                await self.current()


def bearer(integration: str, token: str) -> str | None:
    """The ``Authorization`` header for ``token``; ``None`` without one.

    Raises :class:`IntegrationRejected` for what no header can hold: the HTTP library would refuse it too, and would
    repeat it in its error.
    """
    if not token:
        return None
    if not (token.isascii() and token.isprintable()) or token != token.strip():
        raise IntegrationRejected(
            f"{integration}: the token has blanks around it or characters that no header can hold"
        )
    return f"Bearer {token}"
