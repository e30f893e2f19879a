"""The pages and what they need."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from worker_agents.web.page.live import LiveFeed
from worker_agents.web.page.rendering import OVERVIEW_SECTIONS, TICKET_SECTIONS, sections_of, templates
from worker_agents.web.views import StatusSource

# Nothing but this server's own files, no inline script or style: text of tickets could not do harm even unescaped.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_STATIC = {"style.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}


class Pages:
    """Renders pages. ``common`` gives every template what all of them show."""

    def __init__(self, source: StatusSource) -> None:
        self.environment = templates()
        self._source = source
        self._rendered: tuple[object, dict[str, str]] | None = None

    def overview(self) -> dict[str, str]:
        """The sections of the front page, rendered once for all who look at the same moment."""
        status = self._source.status()
        if self._rendered is None or self._rendered[0] is not status:
            self._rendered = (status, sections_of(self.environment, OVERVIEW_SECTIONS, status))
        return self._rendered[1]

    def ticket(self, ticket_id: str) -> dict[str, str] | None:
        detail = self._source.ticket(ticket_id)
        return None if detail is None else sections_of(self.environment, TICKET_SECTIONS, detail)

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        document = self._source.status()
        html = self.environment.get_template(template).render(worker=document.worker, level=document.level, **values)
        return Response(html, status_code=status, media_type="text/html", headers=SECURITY_HEADERS)


def page_routes(source: StatusSource, feed: LiveFeed) -> list[Route]:
    """The front page, a page for each ticket, the streams that keep both live, and their files."""
    pages = Pages(source)

    async def front(_: Request) -> Response:
        return pages.page("overview.html", sections=pages.overview(), settings=source.configuration(), live="/live")

    async def ticket(request: Request) -> Response:
        ticket_id = request.path_params["ticket_id"]
        sections = pages.ticket(ticket_id)
        if sections is None:
            return pages.page("unknown_ticket.html", status=404, ticket_id=ticket_id)
        return pages.page(
            "ticket.html", sections=sections, ticket_id=ticket_id, live=f"/live?ticket={quote(ticket_id, safe='')}"
        )

    async def search(request: Request) -> Response:
        wanted = request.query_params.get("id", "").strip()
        return RedirectResponse(f"/tickets/{quote(wanted, safe='')}" if wanted else "/", 303, headers=SECURITY_HEADERS)

    async def live(request: Request) -> Response:
        return feed.stream(_renderer(pages, request.query_params.get("ticket")))

    return [
        Route("/", front),
        Route("/tickets", search),
        Route("/tickets/{ticket_id:path}", ticket, name="ticket"),
        Route("/live", live),
        *(_static_route(name, media_type) for name, media_type in _STATIC.items()),
    ]


def _renderer(pages: Pages, ticket_id: str | None) -> Callable[[], dict[str, str]]:
    if ticket_id is None:
        return pages.overview
    return lambda: pages.ticket(ticket_id) or {}


def _static_route(name: str, media_type: str) -> Route:
    content = files("worker_agents.web.page").joinpath("static", name).read_bytes()

    async def static(_: Request) -> Response:
        headers = {**SECURITY_HEADERS, "Cache-Control": "max-age=300"}
        return Response(content, media_type=media_type, headers=headers)

    return Route(f"/static/{name}", static)
