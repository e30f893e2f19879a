"""Renders whole pages."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from worker_agents.web.page.rendering import OVERVIEW_SECTIONS, TICKET_SECTIONS, sections_of, templates
from worker_agents.web.page.sessions import Sessions
from worker_agents.web.views import StatusSource

# Nothing but this server's own files, no inline script or style: text of tickets could do no harm even unescaped.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: forms would be sent with the origin "null" then, as if they came from another site.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Pages:
    """Puts what every page shows around the rest: the worker, and who is signed in."""

    def __init__(self, source: StatusSource, sessions: Sessions) -> None:
        self._environment = templates()
        self._source = source
        self._sessions = sessions
        self._rendered: tuple[object, dict[str, str]] | None = None

    def overview(self) -> dict[str, str]:
        """The sections of the front page, rendered once for all who look at the same moment."""
        status = self._source.status()
        if self._rendered is None or self._rendered[0] is not status:
            self._rendered = (status, sections_of(self._environment, OVERVIEW_SECTIONS, status))
        return self._rendered[1]

    def ticket(self, ticket_id: str) -> dict[str, str] | None:
        """The sections of a ticket's page; ``None`` where this worker knows nothing of it."""
        detail = self._source.ticket(ticket_id)
        return None if detail is None else sections_of(self._environment, TICKET_SECTIONS, detail)

    def page(self, template: str, request: Request, *, status: int = 200, **values: Any) -> Response:
        document, session = self._source.status(), self._sessions.of(request)
        html = self._environment.get_template(template).render(
            worker=document.worker,
            level=document.level,
            session=session,
            notice=session.take_notice() if session else None,
            here=request.url.path,
            **values,
        )
        return Response(html, status_code=status, media_type="text/html", headers=SECURITY_HEADERS)
