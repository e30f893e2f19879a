"""Which repositories may be checked out: prefixes that are compared part by part, never as text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

_DEFAULT_PORTS: Final = {"https": 443, "http": 80, "ssh": 22, "file": None}
_MAX_LENGTH = 2_000
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
# A leading hyphen would be an option of ssh.
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_VISIBLE_ASCII = re.compile(r"[!-~]+")
_IN_NO_NAME = re.compile(r"[/\\%?#\x00-\x1f\x7f\ufffd]")


@dataclass(frozen=True, slots=True)
class GitUrl:
    """An address in its one normal form. ``path`` holds the decoded segments; a default ``port`` is ``None``."""

    scheme: str
    user: str
    host: str
    port: int | None
    path: tuple[str, ...]
    text: str

    @property
    def origin(self) -> str:
        """Scheme, host and port: as far as a credential may travel."""
        return f"{self.scheme}://{self.host}{_port(self.port)}/"

    def covers(self, other: GitUrl) -> bool:
        """Whether ``other`` is this address or lies below it; ``repo`` and ``repo.git`` are the same."""
        mine = (self.scheme, self.user, self.host, self.port)
        if mine != (other.scheme, other.user, other.host, other.port):
            return False
        if len(self.path) == len(other.path):
            return _repository(self.path) == _repository(other.path)
        return other.path[: len(self.path)] == self.path


class AllowedGitUrls:
    """The operator's list. Empty: nothing may be checked out."""

    def __init__(self, prefixes: Iterable[str]) -> None:
        """Raises ``ValueError`` with the number of the prefix (from 1) and its problem."""
        self._prefixes = tuple(_read_prefix(number, prefix) for number, prefix in enumerate(prefixes, start=1))

    def __bool__(self) -> bool:
        return bool(self._prefixes)

    def check(self, text: str) -> GitUrl:
        """The normal form of ``text``, which is what git is to be given.

        Raises ``ValueError`` with the problem, without repeating the address: it may hold a password.
        """
        url = read_git_url(text)
        if not any(prefix.covers(url) for prefix in self._prefixes):
            raise ValueError("is not below any of ALLOWED_GIT_URLS")
        return url


def read_git_url(text: str) -> GitUrl:
    """Take an address apart, strictly: what two programs could read differently is refused.

    Raises ``ValueError`` with the problem, without repeating the address.
    """
    if len(text) > _MAX_LENGTH or not _VISIBLE_ASCII.fullmatch(text) or "\\" in text:
        raise ValueError(f"must be up to {_MAX_LENGTH} visible ASCII characters without a backslash")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:  # its own message would repeat the address
        raise ValueError("is not an address") from error
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("must start with https://, ssh://, http:// or file:// (not the short form host:path)")
    if "?" in text or "#" in text:
        raise ValueError("must end with its path, without '?' or '#'")
    user, host, path = _user(parts), _host(parts), _segments(parts.path)
    if port == _DEFAULT_PORTS[parts.scheme]:
        port = None
    # As it was written, percent signs and all; the parts are only compared.
    written = "/".join(segment for segment in parts.path.split("/") if segment)
    address = f"{parts.scheme}://{user and user + '@'}{host}{_port(port)}/{written}"
    return GitUrl(parts.scheme, user, host, port, path, address)


def _read_prefix(number: int, prefix: str) -> GitUrl:
    try:
        return read_git_url(prefix)
    except ValueError as error:
        raise ValueError(f"entry {number} {error}") from error


def _user(parts: SplitResult) -> str:
    if "@" not in parts.netloc:
        return ""
    user = parts.username or ""
    if parts.scheme != "ssh" or parts.password is not None or not _USER.fullmatch(user):
        raise ValueError("must not contain a user name or password (ssh:// may name a user)")
    return user


def _host(parts: SplitResult) -> str:
    if parts.scheme == "file":
        if parts.netloc:
            raise ValueError("must be file:/// with an absolute path")
        return ""
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    if not _HOST.fullmatch(host) or parts.netloc.endswith(":"):
        raise ValueError("must name a host")
    return host


def _segments(path: str) -> tuple[str, ...]:
    segments = path.removeprefix("/").removesuffix("/").split("/") if path.strip("/") else []
    # What is no UTF-8 becomes U+FFFD, and is refused with the rest.
    names = tuple(unquote(segment) for segment in segments)
    if any(name in {"", ".", ".."} or _IN_NO_NAME.search(name) for name in names):
        raise ValueError("must have a plain path: no empty parts, no '.' or '..', no encoded '/', '\\' or '%'")
    return names


def _repository(path: tuple[str, ...]) -> tuple[str, ...]:
    return (*path[:-1], path[-1].removesuffix(".git")) if path else path


def _port(port: int | None) -> str:
    return "" if port is None else f":{port}"
