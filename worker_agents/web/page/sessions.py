"""Who is signed in on the status page: the admin token once, then a cookie.

A form counts only with the session's own ``csrf`` value in it, which pages of other sites cannot read; the cookie is
``SameSite=Strict`` besides. Sessions are kept in memory: they end with the worker, and each worker has its own.
"""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from worker_agents.model.clock import Clock
from worker_agents.web.guards import is_same

COOKIE = "worker_agents_session"
_LASTS_SECONDS = 3_600
_MOST = 100
# Guesses a minute, of all callers together: behind a proxy they look alike.
_GUESSES = 10
_GUESS_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Notice:
    """What became of an action, in a sentence."""

    good: bool
    text: str


@dataclass(slots=True)
class Session:
    """``by`` is the name that its actions are audited under, ``ends_at`` monotonic seconds; ``notice`` is told once, on the next page."""

    by: str
    csrf: str
    ends_at: float
    notice: Notice | None = None

    def take_notice(self) -> Notice | None:
        notice, self.notice = self.notice, None
        return notice

    def is_proven_by(self, csrf: str) -> bool:
        """Whether a form came from a page of this session."""
        return is_same(csrf, self.csrf)


class Sessions:
    """Signs in whoever knows the token, which must not be empty."""

    def __init__(self, token: SecretStr, clock: Clock) -> None:
        self._token = token
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._wrong: deque[float] = deque(maxlen=_GUESSES)

    @property
    def are_possible(self) -> bool:
        return bool(self._token)

    @property
    def are_barred(self) -> bool:
        """Whether there were too many wrong tokens lately."""
        return len(self._wrong) == _GUESSES and self._clock.monotonic() - self._wrong[0] < _GUESS_SECONDS

    def sign_in(self, by: str, token: str) -> str | None:
        """The value of the cookie; ``None`` where the token is wrong, or none is set, or there were too many wrong ones."""
        if not self._token or self.are_barred:
            return None
        if not is_same(token, self._token.get_secret_value()):
            self._wrong.append(self._clock.monotonic())
            return None
        self._forget_ended()
        name = secrets.token_urlsafe(32)
        self._sessions[name] = Session(by, secrets.token_urlsafe(32), self._clock.monotonic() + _LASTS_SECONDS)
        return name

    def of(self, request: Request) -> Session | None:
        session = self._sessions.get(request.cookies.get(COOKIE, ""))
        return session if session is not None and session.ends_at > self._clock.monotonic() else None

    def sign_out(self, request: Request) -> None:
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)

    def _forget_ended(self) -> None:
        now = self._clock.monotonic()
        self._sessions = {name: session for name, session in self._sessions.items() if session.ends_at > now}
        while len(self._sessions) >= _MOST:
            del self._sessions[next(iter(self._sessions))]


def set_cookie(response: Response, name: str) -> None:
    response.set_cookie(COOKIE, name, max_age=_LASTS_SECONDS, httponly=True, samesite="strict")
