"""The pages and what they need."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from worker_agents.web.operator_actions import OperatorActions
from worker_agents.web.page.forms import form_routes
from worker_agents.web.page.live import LiveFeed
from worker_agents.web.page.pages import SECURITY_HEADERS, Pages
from worker_agents.web.page.sessions import Sessions
from worker_agents.web.views import StatusSource

_STATIC = {"style.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}


def page_routes(source: StatusSource, feed: LiveFeed, actions: OperatorActions, sessions: Sessions) -> list[Route]:
    """The front page, a page for each ticket, the streams that keep both live, their files, and what can be clicked."""
    pages = Pages(source, sessions)

    async def front(request: Request) -> Response:
        return pages.page(
            "overview.html", request, sections=pages.overview(), settings=source.configuration(), live="/live"
        )

    async def ticket(request: Request) -> Response:
        ticket_id = request.path_params["ticket_id"]
        sections = pages.ticket(ticket_id)
        if sections is None:
            return pages.page("unknown_ticket.html", request, status=404, ticket_id=ticket_id)
        return pages.page(
            "ticket.html",
            request,
            sections=sections,
            ticket_id=ticket_id,
            live=f"/live?ticket={quote(ticket_id, safe='')}",
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
        *form_routes(pages, actions, sessions),
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
