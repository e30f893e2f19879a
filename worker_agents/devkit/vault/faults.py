"""Failures that the reference Vault can be told to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FaultKind = Literal["status", "raw", "drop", "hang"]


@dataclass(slots=True, kw_only=True)
class Fault:
    """Hits the next ``times`` calls (``None``: every call) whose path begins with ``path``.

    ``status`` answers ``{"errors": [...]}``; ``raw`` answers ``body`` as it stands; ``drop`` resets the connection,
    ``hang`` never answers. ``after_work`` does what was asked first, so that only the answer is lost.
    """

    kind: FaultKind = "status"
    path: str = ""
    times: int | None = 1
    status: int = 503
    errors: tuple[str, ...] = ()
    body: str = "<html>Welcome</html>"
    content_type: str = "text/html"
    after_work: bool = False

    def strikes(self, path: str) -> bool:
        """Whether it hits this call, which then counts."""
        if self.times == 0 or not path.startswith(self.path):
            return False
        if self.times is not None:
            self.times -= 1
        return True
